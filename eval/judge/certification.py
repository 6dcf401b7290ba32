"""Certifying a judge: ask it about rows that people labelled, and measure what its verdicts are worth.

certificate = certify(JudgeEndpoint(url, model), load_labelled(labels), load_pairs(pairs), cache=home / "verdicts.db")

Verdicts are kept as they come, so that a certification that was stopped goes on where it stopped.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from eval.errors import EvalError
from eval.judge.asking import PROMPT_VERSION, Ask, Outcome, ask_all
from eval.judge.certificate import NUM_EACH, NUM_PAIRS, Certificate
from eval.judge.labels import LabelledAnswer, LabelledPair
from eval.judge.measures import (
    measure_agreement,
    measure_calls,
    measure_length,
    measure_leniency,
    measure_position,
    measure_repeatability,
)
from eval.scorer import Progress
from eval.settings import JudgeEndpoint
from eval.tasks import run_anywhere
from router.deciding.policy import Prices
from storage.hashes import content_hash
from storage.records import from_json
from storage.row_cache import RowCache
from tuning.data.examples import sample

REPEATS = 3
REPEAT_ROWS = 30
_TABLE = "CREATE TABLE IF NOT EXISTS outcomes (key TEXT PRIMARY KEY, outcome TEXT NOT NULL)"


def certify(
    endpoint: JudgeEndpoint,
    labelled: Sequence[LabelledAnswer],
    pairs: Sequence[LabelledPair] = (),
    *,
    cache: Path,
    repeats: int = REPEATS,
    repeat_rows: int = REPEAT_ROWS,
    prices: Prices | None = None,
    progress: Progress = lambda *_: None,
    clock: Callable[[], float] = time.time,
) -> Certificate:
    """Ask the judge once about every labelled answer, `repeats` times about `repeat_rows` of them, twice a pair.

    `cache` is the file of this judge's verdicts: a stopped certification goes on from it, and the same rows are never
    asked again. `progress(done, total)` counts asks, kept ones too. It runs an event loop of its own. Raises EvalError
    when the judge cannot be reached.
    """
    asked, asked_both_ways = plan_asks(labelled, pairs, repeats, repeat_rows)
    asks = tuple(dict.fromkeys(itertools.chain(*asked, *asked_both_ways)))
    with RowCache(cache, (_TABLE,), called="cache of verdicts", row="a verdict") as kept:
        outcomes = _collect(endpoint, asks, kept, progress)
    verdicts = [[outcomes[ask].value for ask in row] for row in asked]
    orders = [(outcomes[first].value, outcomes[second].value) for first, second in asked_both_ways]
    first = [row[0] for row in verdicts]
    labels = [row.is_correct for row in labelled]
    position, length = measure_position(orders), measure_length(pairs, orders)
    return Certificate(
        url=endpoint.url,
        model=endpoint.model,
        prompt_version=PROMPT_VERSION,
        labels=content_hash(*(repr(row) for row in (*labelled, *pairs))),
        issued_at=clock(),
        agreement=measure_agreement(labels, first),
        arms=measure_leniency([row.arm for row in labelled], labels, first, NUM_EACH),
        repeats=measure_repeatability(verdicts),
        position=position if position is not None and position.num_pairs >= NUM_PAIRS else None,
        length=length if length is not None and length.num_pairs >= NUM_PAIRS else None,
        calls=measure_calls([outcomes[ask] for ask in asks], prices or Prices()),
    )


def plan_asks(
    labelled: Sequence[LabelledAnswer], pairs: Sequence[LabelledPair], repeats: int, repeat_rows: int
) -> tuple[list[list[Ask]], list[tuple[Ask, Ask]]]:
    """The asks about each labelled answer, `repeats` for `repeat_rows` of them (always the same), one for the others;
    and the two about each pair, with the chosen response first and second.
    """
    repeated = set(sample(range(len(labelled)), repeat_rows, seed=0))
    verdicts = [
        [
            Ask("judge_correctness", (row.question, row.references, row.response), repeat)
            for repeat in range(repeats if i in repeated else 1)
        ]
        for i, row in enumerate(labelled)
    ]
    orders = [
        (
            Ask("preference", (pair.prompt, pair.chosen, pair.rejected)),
            Ask("preference", (pair.prompt, pair.rejected, pair.chosen)),
        )
        for pair in pairs
    ]
    return verdicts, orders


def _collect(endpoint: JudgeEndpoint, asks: Sequence[Ask], cache: RowCache, progress: Progress) -> dict[Ask, Outcome]:
    """What every ask came to, from the cache or the judge; what did not reach the judge is not kept.

    Raises EvalError when the judge is away.
    """
    outcomes: dict[Ask, Outcome] = {}

    def hear(ask: Ask, outcome: Outcome) -> None:
        outcomes[ask] = outcome
        if not outcome.is_unreachable:
            cache.write("INSERT OR REPLACE INTO outcomes VALUES (?, ?)", (ask.key, json.dumps(asdict(outcome))))
        progress(len(outcomes), len(asks))

    for ask in asks:
        found = cache.find("SELECT outcome FROM outcomes WHERE key = ?", ask.key, lambda row: from_json(Outcome, row))
        if found is not None:
            outcomes[ask] = found
    progress(len(outcomes), len(asks))
    is_there = run_anywhere(lambda: ask_all(endpoint, [ask for ask in asks if ask not in outcomes], hear))
    # A judge that is away is no judge that fails.
    lost = [outcome for outcome in outcomes.values() if outcome.is_unreachable]
    if lost and (not is_there or len(lost) == len(outcomes)):
        raise EvalError(
            f"the judge {endpoint.model!r} at {endpoint.url} cannot be reached: {lost[0].failure} ({lost[0].reason}); "
            "correct eval.judge or start the judge, and run the same command again: it goes on where it stopped"
        )
    return outcomes
