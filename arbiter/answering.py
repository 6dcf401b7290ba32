"""A decision that answers in this process: its run's arms over a running engine.

with open_answerer(pipeline) as ask:
    answer = ask("When does the loan desk open?")           the decided arm
    other = ask("When does the loan desk open?", arm="rag")
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from anyio.from_thread import BlockingPortal, start_blocking_portal

from arbiter.build import index_home, open_engine
from arbiter.database import home_database
from arbiter.served_runs import RunOpener, ServedRuns, served_decision
from rag.open_indexes import OpenIndexes
from router.answering.engine import HttpEngine
from serving.decisions.ledger import Ledger
from serving.http.served import AUTO, Served

if TYPE_CHECKING:
    from arbiter.pipeline import Pipeline
    from router.answering.answerer import Answer


class OpenAnswerer:
    """Answers as `arbiter serve` would, until its `with` block ends. Safe to call from several threads."""

    def __init__(self, served: Served, portal: BlockingPortal) -> None:
        self._served = served
        self._portal = portal

    @property
    def arms(self) -> tuple[str, ...]:
        """The names that can be asked, `auto` first: the decided arm."""
        return (AUTO, *self._served.arms)

    def __call__(self, question: str | Sequence[Mapping[str, str]], *, arm: str = AUTO) -> Answer:
        """The answer of an arm to a question, or to the last message of a conversation in OpenAI's form.

        Raises ServingError for an unknown arm, EngineUnavailable, and EngineRejected.
        """
        messages = [{"role": "user", "content": question}] if isinstance(question, str) else list(question)

        async def answer() -> Answer:
            prepared = await self._served.answerer.prepare(self._served.arm(arm), messages)
            return await self._served.answerer.answer(prepared)

        return self._portal.call(answer)


@contextlib.contextmanager
def open_answerer(pipeline: Pipeline) -> Iterator[OpenAnswerer]:
    """The decision that holds for the pipeline's config, as something to ask; starts the engine, and stops it.

    Raises ArbiterError when the config has no decision, or its run cannot be served any more.
    """
    config, home, console = pipeline.config, pipeline.home, pipeline.console
    with home_database(home) as database:
        decision = served_decision(Ledger(database), config.fingerprint(), pipeline.last_run, console)
    open_indexes = OpenIndexes(index_home(config, home), pipeline.embedder)
    with contextlib.closing(open_indexes):
        runs = ServedRuns(
            config, home=home, open_indexes=open_indexes, base=pipeline.models.base, data_version=lambda _: ""
        )
        parts = runs.servable_parts(decision)
        with (
            open_engine(config, pipeline.models.base, parts.adapters, home=home, console=console) as engine,
            start_blocking_portal() as portal,
        ):
            http = HttpEngine(engine.url, api_key=engine.api_key, timeout_s=config.engine.request_timeout_s)
            try:
                yield OpenAnswerer(RunOpener(runs, engine, http).serve(decision, parts), portal)
            finally:
                portal.call(http.close)
