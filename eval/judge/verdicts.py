"""The verdicts of one judge, kept as they come, so that a certification that was stopped goes on where it stopped.

with VerdictCache(home / "judges" / "3f9c.db") as cache:
    verdicts = asyncio.run(collect_verdicts(endpoint, probes, cache))
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from eval.errors import EvalError
from eval.judge.asking import GIVE_UP_AFTER, Judge, Outcome, open_judge
from eval.judge.endpoint import JudgeEndpoint
from eval.judge.probes import Probe
from eval.scorer import Progress
from eval.tasks import run_all
from storage.records import from_json
from storage.row_cache import RowCache


class VerdictCache(RowCache):
    """A table of outcomes in SQLite, one file a judge; every `put` is committed at once.

    Failures are kept too: a resumed certification must count them. When it is finished, those that were the
    connection's and not the judge's are forgotten, so that the next one asks again.
    """

    def __init__(self, path: Path) -> None:
        """Opens or creates the file. Raises EvalError when it is no cache of verdicts."""
        table = (
            "CREATE TABLE IF NOT EXISTS verdicts "
            "(key TEXT PRIMARY KEY, is_unreachable INTEGER NOT NULL, outcome TEXT NOT NULL)"
        )
        super().__init__(path, (table,), called="cache of verdicts", row="a verdict")

    def get(self, probe: Probe) -> Outcome | None:
        """What this ask came to, or None when it was not made yet."""
        statement = "SELECT outcome FROM verdicts WHERE key = ?"
        return self.find(statement, probe.key, lambda row: from_json(Outcome, row))

    def put(self, probe: Probe, outcome: Outcome) -> None:
        """Keep what an ask came to. Raises StorageError when the disk is full."""
        row = (probe.key, int(outcome.is_unreachable), json.dumps(asdict(outcome)))
        self.write("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?)", row)

    def forget_unreachable(self) -> None:
        """Drop the outcomes of asks that did not reach the judge."""
        self.write("DELETE FROM verdicts WHERE is_unreachable")


async def collect_verdicts(
    endpoint: JudgeEndpoint, probes: Sequence[Probe], cache: VerdictCache, progress: Progress | None = None
) -> dict[Probe, Outcome]:
    """What every ask came to, from the cache or the judge; `progress(done, total)` counts both.

    Raises EvalError when the judge cannot be reached `GIVE_UP_AFTER` times in a row; what it said until then is kept,
    those last failures are not.
    """
    outcomes = {probe: kept for probe in probes if (kept := cache.get(probe)) is not None}
    open_probes = [probe for probe in probes if probe not in outcomes]
    if progress is not None:
        progress(len(outcomes), len(probes))
    # Failures in a row are held back until the judge is heard again: a judge that is away is no judge that fails.
    unheard: dict[Probe, Outcome] = {}
    slots = asyncio.Semaphore(endpoint.concurrency)

    async def ask_one(judge: Judge, probe: Probe) -> None:
        async with slots:
            outcome = await judge.ask(probe.name, probe.inputs, repeat=probe.repeat)
        unheard[probe] = outcome
        if not outcome.is_unreachable:
            for heard, result in unheard.items():
                cache.put(heard, result)
            outcomes.update(unheard)
            unheard.clear()
        if len(unheard) >= GIVE_UP_AFTER:
            raise _away(endpoint, outcome)
        if progress is not None:
            progress(len(outcomes) + len(unheard), len(probes))

    async with open_judge(endpoint) as judge:
        await run_all(ask_one(judge, probe) for probe in open_probes)
    if unheard and not outcomes:
        raise _away(endpoint, next(iter(unheard.values())))
    for probe, outcome in unheard.items():
        cache.put(probe, outcome)
    return outcomes | unheard


def _away(endpoint: JudgeEndpoint, outcome: Outcome) -> EvalError:
    return EvalError(
        f"the judge {endpoint.model!r} at {endpoint.url} cannot be reached: {outcome.failure} ({outcome.reason}); "
        "correct eval.judge or start the judge, and run the same command again: it goes on where it stopped"
    )
