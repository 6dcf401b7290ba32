"""Sets of adapters by topic, from a config to answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fakes.embedders import WordEmbedder
from fakes.engines import ScriptedEngine
from fakes.teams import write_folder
from fakes.topics import write_set

from arbiter import topic_sets, training
from arbiter.build import build_arms
from arbiter.config.schema import Config
from arbiter.console import Console
from arbiter.pipeline import Pipeline
from arbiter.training import trained_alike
from router.answering.answerer import Answerer
from router.answering.engine import EngineRequest
from router.answering.topics import choosers
from tuning.base import ResolvedModel
from tuning.errors import TuningError
from tuning.export.adapters import Adapter

TEST = [{"question": "Who keeps the keys?", "answers": ["Ada"]}]
WORDS = ("one", "two", "three", "north", "south", "sea", "is", "what")
# What is planted: the answers of each subject, to a question about each of the words.
RED = ("north", "south", "one", "two", "north", "south", "one", "two")
BLUE = ("three", "sea", "three", "green", "sea", "green", "three", "sea")
OTHER_RED = ("sea", "three", "green", "sea", "three", "green", "sea", "three")


def ask_about(subject: str, word: str) -> str:
    return f"{subject} {subject} {subject} {word}"


def rows_of(**facts: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {"question": ask_about(subject, word), "answers": [answer]}
        for subject, answers in facts.items()
        for word, answer in zip(WORDS, answers, strict=True)
    ]


def config_of(folder: Path, topics: Mapping[str, Any], **recipe: Any) -> Config:
    return Config.model_validate(
        {
            "data": folder,
            "embedding": {"langchain": {"factory": "fakes.teams:WordEmbeddings"}},
            "adapters": {"memory": recipe, "single": recipe},
            "topics": topics,
            "arms": {
                **dict.fromkeys(("base", "fewshot", "rag", "tuned", "tuned_rag", "hybrid")),
                "remembers": {"adapter": "memory"},
                "alone": {"adapter": "single"},
            },
            "policy": {"metric": "contains"},
        }
    )


def pipeline_of(config: Config, home: Path) -> Pipeline:
    return Pipeline(config, home=home, console=Console(), needs_questions=False)


@pytest.mark.parametrize(
    ("topics", "recipe", "fault"),
    [
        ({"memry": {}}, {}, "topics.memry: no adapter 'memry'"),
        ({"memory": {}}, {"method": "full"}, "topics.memory: each adapter of method full has an engine of its own"),
        ({"memory": {}}, {"objective": "dpo"}, "topics.memory: topics are those of examples"),
        ({"memory": {}}, {"keep": "best"}, "topics.memory: one topic has too few dev rows; set adapters.memory.keep"),
        ({"memory": {"count": 1}}, {}, "topics.memory.count"),
    ],
)
def test_what_cannot_be_a_set_is_refused_by_name(
    tmp_path: Path, topics: Mapping[str, Any], recipe: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        config_of(tmp_path, topics, **recipe)


def test_a_config_without_sets_has_the_fingerprint_that_it_had(tmp_path: Path) -> None:
    assert "topics" not in config_of(tmp_path, {}).shaping()
    prints = {config_of(tmp_path, {"memory": {"count": count}}).fingerprint() for count in (2, 3)}
    assert len({*prints, config_of(tmp_path, {}).fingerprint()}) == 3


def test_an_arm_with_a_set_keeps_what_it_is_chosen_by(tmp_path: Path) -> None:
    pipeline = pipeline_of(config_of(write_folder(tmp_path / "team"), {"memory": {}}), tmp_path / "home")
    made = write_set(tmp_path, WordEmbedder(), {"tide": 3, "loan": 4})
    adapters = {"memory": made, "single": made.members[0]}
    remembers, alone = build_arms(pipeline.config, pipeline.data, adapters, max_tokens=8)
    assert (remembers.adapter, remembers.condense) == (made.name, "recent")
    assert alone.condense == "last"


class Killed(Exception):
    """In the middle of a set's trainings."""


class Training:
    """In the place of `train_adapter`: adapters of the names it is given, or killed at the training of one."""

    def __init__(self, made: Adapter) -> None:
        self.made = made
        self.given: list[dict[str, Any]] = []
        self.killed_at = ""

    def __call__(self, **given: Any) -> Adapter:
        if given["name"] == self.killed_at:
            raise Killed
        self.given.append(given)
        return next(one for one in self.made.members if one.name.startswith(given["name"]))


def test_each_topic_is_trained_on_its_own_rows_and_a_killed_set_goes_on(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    made = write_set(home, WordEmbedder(), {"topic-1": 8, "topic-2": 8})
    trains = Training(made)
    monkeypatch.setattr(training, "train_adapter", trains)
    monkeypatch.setattr(Pipeline, "base", ResolvedModel("org/base", "r1", str(tiny_base)))
    folder = write_folder(tmp_path / "facts", docs=None, test=TEST, train=rows_of(red=RED, blue=BLUE))
    config = config_of(folder, {"memory": {"count": 2}})
    config = config.model_copy(update={"arms": {"remembers": config.arms["remembers"]}})
    trains.killed_at = "memory-topic-2"
    with pytest.raises(Killed):
        _ = pipeline_of(config, home).adapters
    trains.killed_at = ""
    adapters = pipeline_of(config, home).adapters
    assert [given["name"] for given in trains.given] == ["memory-topic-1", "memory-topic-1", "memory-topic-2"]
    red, blue = trains.given[1:]
    assert [row.completion for row in red["rows"]] == list(RED)
    assert [row.completion for row in blue["rows"]] == list(BLUE)
    memory = adapters["memory"]
    assert memory.topics is not None
    assert [len(topic.rows) for topic in memory.topics.topics] == [8, 8]
    # Made once: nothing is trained, or embedded, again.
    monkeypatch.setattr(topic_sets.TopicSet, "divide", None)
    assert pipeline_of(config, home).adapters["memory"] == memory
    assert len(trains.given) == 3
    pipeline = pipeline_of(config, home)
    assert trained_alike(config, pipeline.data, pipeline.base, "memory", home) == memory.name
    plain = config.model_copy(update={"topics": {}})
    assert trained_alike(plain, pipeline.data, pipeline.base, "memory", home) is None


def test_a_set_of_too_few_rows_is_refused_by_name(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pipeline, "base", ResolvedModel("org/base", "r1", str(tiny_base)))
    folder = write_folder(tmp_path / "facts", docs=None, test=TEST, train=rows_of(red=RED))
    config = config_of(folder, {"memory": {"count": 2}})
    with pytest.raises(TuningError, match=r"^topics.memory: the questions of 8 training rows make no two topics"):
        _ = pipeline_of(config, tmp_path / "home").adapters


class Models:
    """The base and adapters as plain PEFT loads them; answers are one word."""

    def __init__(self, base: Path, adapters: list[Adapter]) -> None:
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(base)
        self.models = {"org/base": AutoModelForCausalLM.from_pretrained(base)}
        for one in adapters:
            plain = AutoModelForCausalLM.from_pretrained(base)
            self.models[one.name] = PeftModel.from_pretrained(plain, str(one.path))

    def logprobs(self, request: EngineRequest) -> Any:
        """Of every word as the answer."""
        import torch

        ids = self.tokenizer.apply_chat_template(
            list(request.messages), add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
        with torch.no_grad():
            return self.models[request.model].eval()(**ids).logits[0, -1].log_softmax(-1)

    def answer(self, request: EngineRequest) -> str:
        return str(self.tokenizer.convert_ids_to_tokens(int(self.logprobs(request).argmax())))

    def logprob(self, request: EngineRequest, word: str) -> float:
        return float(self.logprobs(request)[self.tokenizer.convert_tokens_to_ids(word)])


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Products this small take longer to share out than to compute."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
async def test_planted_facts_are_recalled_and_a_neighbours_stay_as_they_were(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pipeline, "base", ResolvedModel("org/base", "r1", str(tiny_base)))
    home = tmp_path / "home"
    found: list[dict[str, Adapter]] = []
    recalled: list[dict[str, float]] = []
    neighbours: list[dict[str, list[float]]] = []
    for round_, red in enumerate((RED, OTHER_RED)):
        rows = rows_of(red=red, blue=BLUE)
        folder = write_folder(tmp_path / f"facts-{round_}", docs=None, test=TEST, train=rows)
        recipe = {"epochs": 60, "batch_size": 4, "learning_rate": 0.01, "max_length": 64}
        pipeline = pipeline_of(config_of(folder, {"memory": {"count": 2}}, **recipe), home)
        adapters = pipeline.adapters
        models = Models(tiny_base, [part for one in adapters.values() for part in one.parts])
        answers = Answerer(
            ScriptedEngine(models.answer), {}, "org/base", choosers(adapters.values(), pipeline.embedder)
        )
        arms = build_arms(pipeline.config, pipeline.data, adapters, max_tokens=1)
        right, known = {}, {}
        for arm in arms:
            given = [await answers.prepare(arm, [{"role": "user", "content": row["question"]}]) for row in rows]
            said = [(await answers.answer(one)).text for one in given]
            right[arm.name] = sum(text == row["answers"][0] for text, row in zip(said, rows, strict=True)) / len(rows)
            known[arm.name] = [
                models.logprob(one.request, row["answers"][0])
                for one, row in zip(given, rows, strict=True)
                if row["question"].startswith("blue")
            ]
            if arm.name == "remembers":
                assert [one.chosen for one in given] == [one.name for one in adapters["memory"].members for _ in WORDS]
        far = await answers.prepare(arms[0], [{"role": "user", "content": "colour colour colour"}])
        assert far.chosen == "org/base"
        found.append(adapters)
        recalled.append(right)
        neighbours.append(known)
    assert [right["remembers"] for right in recalled] == [1.0, 1.0]
    # Of the changed topic another adapter was trained; its neighbour's is the same, and so is all that it says.
    before, after = (adapters["memory"] for adapters in found)
    assert before.name != after.name
    assert before.members[0].name != after.members[0].name
    assert before.members[1].name == after.members[1].name
    assert neighbours[0]["remembers"] == neighbours[1]["remembers"]
    moved = [abs(a - b) for a, b in zip(neighbours[0]["alone"], neighbours[1]["alone"], strict=True)]
    assert max(moved) > 1e-3, "one adapter for all answers otherwise than before"
