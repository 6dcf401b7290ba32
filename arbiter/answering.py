"""A decision that answers in this process: its run's arms over a running engine.

with open_answerer(pipeline) as ask:
    answer = ask("When does the loan desk open?")           the decided arm
    other = ask("When does the loan desk open?", arm="rag")
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anyio.from_thread import BlockingPortal, start_blocking_portal

from arbiter.build import index_home
from arbiter.home import home_database
from arbiter.served_runs import ServedRuns, served_decision
from rag.home import OpenIndexes
from serving.decisions.ledger import Ledger
from serving.http.served import AUTO, Served

if TYPE_CHECKING:
    from arbiter.pipeline import Pipeline
    from router.answering.answerer import Answer


@dataclass(frozen=True)
class OpenAnswerer:
    """Answers as `arbiter serve` would, until its `with` block ends. Safe to call from several threads."""

    served: Served
    portal: BlockingPortal

    @property
    def arms(self) -> tuple[str, ...]:
        """The names that can be asked, `auto` first: the decided arm."""
        return (AUTO, *self.served.arms)

    def __call__(self, question: str | Sequence[Mapping[str, str]], *, arm: str = AUTO) -> Answer:
        """The answer of an arm to a question, or to the last message of a conversation in OpenAI's form.

        Raises ServingError for an unknown arm, EngineUnavailable, and EngineRejected.
        """
        messages = [{"role": "user", "content": question}] if isinstance(question, str) else list(question)

        async def answer() -> Answer:
            prepared = await self.served.answerer.prepare(self.served.arm(arm), messages)
            return await self.served.answerer.answer(prepared)

        return self.portal.call(answer)


@contextlib.contextmanager
def open_answerer(pipeline: Pipeline) -> Iterator[OpenAnswerer]:
    """The decision that holds for the pipeline's config, as something to ask; starts the engine, and stops it. The
    engine of another arm's own adapter starts with the first question to that arm.

    Raises ArbiterError when the config has no decision, or its run cannot be served any more.
    """
    config, home, console = pipeline.config, pipeline.home, pipeline.console
    with home_database(home) as database:
        decision = served_decision(Ledger(database), config, home, console)
    with contextlib.closing(OpenIndexes(index_home(config, home), pipeline.embedder)) as indexes:
        runs = ServedRuns(config=config, home=home, open_indexes=indexes, base=pipeline.base, data_version=lambda _: "")
        with runs.served(decision, console) as (_, served, http), start_blocking_portal() as portal:
            try:
                yield OpenAnswerer(served, portal)
            finally:
                portal.call(http.close)
