"""A set of adapters by topic: which trainings it is made of, and the set that they make.

one = TopicSet.of(config, "memory", data, given, embedder)
one.find() or one.publish(topics := one.divide(), [train_adapter(**own) for own in one.trainings(topics)])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arbiter import build
from arbiter.config.schema import Config
from arbiter.data import Data
from rag.embedding.embedder import Embedder
from router.answering.condense import query_without_engine
from tuning.data.topics import TopicRows, TopicSettings, find_topics
from tuning.errors import TuningError
from tuning.export.adapters import Adapter, find_adapter
from tuning.export.topics import Topic, Topics
from tuning.recipe import Recipe
from tuning.training.start import settle
from tuning.training.topics import publish_set, set_hash


@dataclass(frozen=True, slots=True)
class TopicSet:
    """One that a config asks for. `given` is what `train_adapter` would be given for one adapter of all rows, `recipe`
    with the numbers that follow from the rows left open; `ids` and `questions` are those of its rows, in their order.
    """

    key: str
    given: Mapping[str, Any]
    recipe: Recipe
    numbers: TopicSettings
    ids: Sequence[str]
    questions: Sequence[str]
    embedder: Embedder
    seed: int

    @classmethod
    def of(cls, config: Config, key: str, data: Data, given: Mapping[str, Any], embedder: Embedder) -> TopicSet:
        """That of the adapter of this key. A question within a conversation is the one that its arm would search."""
        condense = build.arms_of(config, key)[0].condense
        examples = (*data.examples, *data.mixed.get(key, ()))
        assert len(examples) == len(given["rows"]), "an example is a row"
        return cls(
            key=key,
            given=given,
            recipe=config.adapters[key],
            numbers=config.topics[key],
            ids=[example.id for example in examples],
            questions=[query_without_engine(example.messages, condense) for example in examples],
            embedder=embedder,
            seed=config.seed,
        )

    @property
    def digest(self) -> str:
        """What a set is found by."""
        return set_hash(
            base=self.given["base"],
            rows=self.given["rows"],
            recipe=self.given["recipe"],
            numbers=self.numbers,
            embedder=self.embedder.name,
            seed=self.seed,
        )

    def find(self) -> Adapter | None:
        """The set, if the same was made before; nothing is embedded. Raises TuningError for a damaged one."""
        return find_adapter(self.given["adapters_dir"], self.given["name"], self.digest)

    def divide(self, progress: Callable[[int, int], None] | None = None) -> list[TopicRows]:
        """The topics of the questions; `progress(done, total)` while they are embedded. Raises TuningError."""
        try:
            return find_topics(self.embedder.embed(self.questions, progress=progress), self.numbers, seed=self.seed)
        except TuningError as error:
            raise TuningError(f"topics.{self.key}: {error}") from error

    def trainings(self, topics: Sequence[TopicRows]) -> list[dict[str, Any]]:
        """What `train_adapter` is given for each topic."""
        return [
            {
                **self.given,
                "name": f"{self.given['name']}-topic-{number}",
                "rows": [self.given["rows"][place] for place in topic.rows],
                "recipe": settle(self.recipe, len(topic.rows), self.given["adapters_dir"]),
            }
            for number, topic in enumerate(topics, start=1)
        ]

    def publish(self, topics: Sequence[TopicRows], members: Sequence[Adapter]) -> Adapter:
        """The set of the adapters that were trained, in the order of their topics."""
        record = Topics(
            embedder=self.embedder.name,
            threshold=self.numbers.threshold,
            topics=tuple(
                Topic(member.name, tuple(self.ids[place] for place in topic.rows), topic.centroid)
                for topic, member in zip(topics, members, strict=True)
            ),
        )
        return publish_set(
            members,
            record,
            name=self.given["name"],
            digest=self.digest,
            rows=self.given["rows"],
            recipe=self.given["recipe"],
            numbers=self.numbers,
        )
