"""Certifying a judge: ask it about rows that people labelled, and measure what its verdicts are worth.

certificate = certify(JudgeEndpoint(url, model), load_labelled(labels), load_pairs(pairs), cache=home / "verdicts.db")
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from eval.errors import EvalError
from eval.judge.asking import PROMPT_VERSION
from eval.judge.certificate import Certificate, Thresholds
from eval.judge.endpoint import JudgeEndpoint
from eval.judge.measures import (
    measure_agreement,
    measure_calls,
    measure_length,
    measure_position,
    measure_repeatability,
)
from eval.judge.probes import LabelledAnswer, LabelledPair, plan_probes
from eval.judge.verdicts import VerdictCache, collect_verdicts
from eval.scorer import Progress
from router.deciding.policy import Prices
from storage.hashes import content_hash

REPEATS = 3
REPEAT_ROWS = 30


def certify(
    endpoint: JudgeEndpoint,
    labelled: Sequence[LabelledAnswer],
    pairs: Sequence[LabelledPair] = (),
    *,
    cache: Path,
    repeats: int = REPEATS,
    repeat_rows: int = REPEAT_ROWS,
    prices: Prices | None = None,
    thresholds: Thresholds | None = None,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.time,
) -> Certificate:
    """Ask the judge once about every labelled answer, `repeats` times about `repeat_rows` of them, twice a pair.

    `cache` is the file of this judge's verdicts: a stopped certification goes on from it, and the same rows are never
    asked again. It runs an event loop of its own. Raises EvalError when there is nothing to ask, and when the judge
    cannot be reached.
    """
    if not labelled:
        raise EvalError("no labelled answer to certify the judge on; give rows with --labels FILE")
    limits = thresholds or Thresholds()
    plan = plan_probes(labelled, pairs, repeats=repeats, repeat_rows=repeat_rows)
    probes = plan.distinct()
    with VerdictCache(cache) as kept:
        outcomes = asyncio.run(collect_verdicts(endpoint, probes, kept, progress))
        kept.forget_unreachable()
    verdicts = [[outcomes[probe].value for probe in asks] for asks in plan.verdicts]
    orders = [(outcomes[first].value, outcomes[second].value) for first, second in plan.orders]
    position, length = measure_position(orders), measure_length(pairs, orders)
    return Certificate(
        url=endpoint.url,
        model=endpoint.model,
        prompt_version=PROMPT_VERSION,
        labels=content_hash(*(repr(row) for row in (*labelled, *pairs))),
        issued_at=clock(),
        agreement=measure_agreement([row.is_correct for row in labelled], [asks[0] for asks in verdicts]),
        repeats=measure_repeatability(verdicts),
        position=position if position is not None and position.num_pairs >= limits.num_pairs else None,
        length=length if length is not None and length.num_pairs >= limits.num_pairs else None,
        calls=measure_calls([outcomes[probe] for probe in probes], prices or Prices()),
        thresholds=limits,
    )
