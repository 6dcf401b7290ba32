"""How long does a decision take? A page's sliders ask for one at every move, so 50 ms is the bar.

    python benchmarks/decision_speed.py                    # make_table and recommend, 10 arms x 1,000 questions

Processor time, the fastest of some tries, printed as a Markdown table; exits 1 where the bar is missed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from simulated_runs import METRIC
from simulated_scores import Population

from router.answering.arm import Arm
from router.deciding.arm_table import make_table
from router.deciding.policy import Limits, Policy, Utility
from router.deciding.recommend import recommend
from router.deciding.scorecard import ArmScores, Scorecard

BAR_MS = 50.0
LABELLED = "judged, a tenth labelled"
POLICIES = {
    "a metric decides": Policy(),
    "with limits": Policy(limits=Limits(p95_ms=192.5, cost_per_1k=1.0, score=0.3)),
    "utility decides": Policy(utility=Utility()),
}


def make_card(kind: str, num_arms: int, num_questions: int) -> Scorecard:
    """Arms of rising means with everything measured, as a run leaves it."""
    rng = np.random.default_rng(0)
    means = tuple(0.4 + 0.02 * arm for arm in range(num_arms))
    scores, clusters = Population(means, kind).draw(rng, num_questions)

    def between(low: float, high: float) -> tuple[float, ...]:
        return tuple(rng.uniform(low, high, num_questions).tolist())

    arms = tuple(
        ArmScores(
            arm=Arm(f"arm{place}", index="documents" if place % 2 else None),
            scores={METRIC: tuple(column.tolist())},
            latency_ms=between(50, 200),
            prompt_tokens=tuple(rng.integers(50, 500, num_questions).tolist()),
            generated_tokens=tuple(rng.integers(5, 50, num_questions).tolist()),
            engine_s=between(0, 1),
            retrieval_s=between(0, 0.1),
        )
        for place, column in enumerate(scores)
    )
    return Scorecard(tuple(map(str, range(num_questions))), clusters, METRIC, arms)


def with_labels(card: Scorecard) -> Scorecard:
    """People's labels of every tenth answer, which are what the judge said."""
    arms = tuple(
        replace(arm, labels=tuple(None if place % 10 else score for place, score in enumerate(arm.scores[METRIC])))
        for arm in card.arms
    )
    return replace(card, arms=arms, labelled=METRIC)


def fastest_ms(work: Callable[[], object], tries: int) -> float:
    """Processor time of the fastest try, after one that imports what is needed."""
    work()
    taken = []
    for _ in range(tries):
        started = time.process_time()
        work()
        taken.append(1000 * (time.process_time() - started))
    return min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", type=int, default=10)
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--tries", type=int, default=7)
    given = parser.parse_args()
    print(f"{given.arms} arms x {given.questions:,} questions, at most {BAR_MS:g} ms\n")
    print(f"| scores | {' | '.join(POLICIES)} |\n|---|{'---|' * len(POLICIES)}")
    slowest = 0.0
    for name in ("binary", "clustered", "graded", LABELLED):
        card = make_card("binary" if name == LABELLED else name, given.arms, given.questions)
        if name == LABELLED:
            card = with_labels(card)
        found = [
            fastest_ms(lambda: recommend(make_table(card, policy)), given.tries)  # noqa: B023  # called at once
            for policy in POLICIES.values()
        ]
        slowest = max(slowest, *found)
        print(f"| {name} | {' | '.join(f'{ms:.0f} ms' for ms in found)} |", flush=True)
    raise SystemExit(slowest > BAR_MS)


if __name__ == "__main__":
    main()
