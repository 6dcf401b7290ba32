"""Faults that a review of the decision engine found, each as a small simulation with the figure it must reach."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import fault_trials as tried
from trials import Case, run_cases


@dataclass(frozen=True)
class Bar:
    """What a quantity's mean must reach: at most, or at least, `value`."""

    way: Literal["at most", "at least"]
    value: float

    def is_kept(self, mean: float) -> bool:
        """Whether a mean is within it."""
        return mean <= self.value if self.way == "at most" else mean >= self.value

    def __str__(self) -> str:
        return f"{self.way} {self.value:g}"


@dataclass(frozen=True)
class Fault:
    """One point of the review. `bars` has a bar for each quantity of `trial`; what else it finds is only shown."""

    name: str
    point: int
    setup: str
    trial: tried.Trial
    bars: dict[str, Bar]
    share: float = 1.0
    """Of the trials asked for."""


def most(value: float) -> Bar:
    """At most."""
    return Bar("at most", value)


def least(value: float) -> Bar:
    """At least."""
    return Bar("at least", value)


_FALSE = most(0.05)
FAULTS = (
    Fault(
        "limit, p95",
        1,
        "arms .55 and .65, limit 15% above both true values, a race of 200 questions",
        tried.limit_p95,
        {"the worse arm is the winner": _FALSE, "raised": most(0.0)},
    ),
    Fault(
        "limit, median",
        1,
        "the same for the median latency",
        tried.limit_median,
        {"the worse arm is the winner": _FALSE, "raised": most(0.0)},
    ),
    Fault(
        "limit, score",
        1,
        "the same for a limit on the score, 15% below .55",
        tried.limit_score,
        {"the worse arm is the winner": _FALSE, "raised": most(0.0)},
    ),
    Fault(
        "limit, cost",
        1,
        "the same for a limit on the cost",
        tried.limit_cost,
        {"the worse arm is the winner": _FALSE, "raised": most(0.0)},
    ),
    Fault(
        "limit, broken",
        1,
        "the better arm's p95 is 39% above the limit",
        tried.limit_broken,
        {"the slow arm is served": _FALSE, "raised": most(0.0)},
    ),
    Fault(
        "limit, the best",
        1,
        "two arms of .60, and one of .80 whose p95 is 54% above the limit, a race of 400 questions",
        tried.limit_of_the_best,
        {"one of the equal arms is the winner": _FALSE, "raised": most(0.0)},
    ),
    Fault(
        "two questions",
        2,
        "both arms right on 2 questions",
        tried.both_right_twice,
        {"called a tie": most(0.0), "width of the interval": least(0.5)},
        share=0.0,
    ),
    *(
        Fault(
            f"no losses, {num}",
            2,
            f"five points apart without losses, {num} questions",
            partial(tried.without_losses, num),
            {"false tie": _FALSE, "the interval covers": least(0.94)},
        )
        for num in (10, 30, 60, 100)
    ),
    *(
        Fault(
            f"tie power, {num}",
            2,
            f"equal arms that disagree on 10%, {num} questions",
            partial(tried.tie_power, num),
            {"true tie": least(bar)},
        )
        for num, bar in ((200, 0.35), (400, 0.80))
    ),
    Fault(
        "five at the margin",
        3,
        "five cheap arms at .55, a dear one at .60, 800 questions",
        tried.five_at_the_margin,
        {"false tie": _FALSE},
    ),
    Fault(
        "training",
        4,
        "base .55, tuned .70, training 10 h at 50, 100 questions a month: net utility .55 and .28",
        tried.training_paid_by_few,
        {"tuned is served": _FALSE, "tuned is the winner": _FALSE},
    ),
    Fault(
        "failing arm",
        5,
        "right on 60 of 100 questions, errors on 40, beside an arm of .80",
        tried.failing_arm,
        {"the failing arm is served": _FALSE, "the failing arm is the winner": _FALSE},
    ),
    Fault(
        "lost scores",
        5,
        "equal arms at .6; half of one's wrong answers are unscored, 400 questions",
        tried.lost_where_wrong,
        {"false winner, and no word of it": _FALSE},
    ),
    Fault(
        "judge, labels",
        6,
        "equal arms, the judge's false-positive rates .35 and .15, 200 questions, 60 labels an arm",
        tried.judge_with_labels,
        {"false winner": _FALSE},
    ),
    Fault(
        "judge, no labels",
        6,
        "the same without labels: the card has to say it",
        tried.judge_without_labels,
        {},
        share=0.5,
    ),
    Fault(
        "decide again",
        7,
        "equal arms, decided at 50, 100 ... 500 questions",
        tried.decided_again,
        {"a false winner at some look": _FALSE},
        share=0.5,
    ),
    *(
        Fault(
            f"more questions, {kind}",
            7,
            f"arms {cheap:.2f} and {dear:.2f}, undecided after 100 questions",
            partial(tried.followed, cheap, dear),
            {"settled after more_questions": least(0.8), f"settled after {way}": least(0.8)},
        )
        for kind, cheap, dear, way in (("tie", 0.6, 0.6, "to_call_equal"), ("winner", 0.6, 0.68, "to_tell_apart"))
    ),
    *(
        Fault(
            f"skew, {num}",
            8,
            f"exact and partial credit, both of mean .05, {num} questions",
            partial(tried.skewed, num),
            {"false winner": _FALSE},
        )
        for num in (10, 30, 60)
    ),
    Fault(
        "skew, power",
        8,
        "exact .30 and partial credit .10, 100 questions",
        tried.skewed_power,
        {"true winner": least(0.9)},
    ),
    *(
        Fault(
            f"{num} documents",
            9,
            f"{num} documents of 20 questions, arms N(0, .1) apart",
            partial(tried.few_documents, num),
            {"right where it is 95% sure": least(0.95)},
        )
        for num in (3, 4, 6)
    ),
    Fault(
        "zeros",
        9,
        "60 zeros in one document",
        tried.zeros_of_one_document,
        {"upper bound": least(0.5)},
        share=0.0,
    ),
    Fault(
        "below the margin",
        10,
        "a cheap arm at .500, a dear one at .525, 2,000 questions",
        tried.below_the_margin,
        {"they serve different arms": _FALSE},
        share=0.5,
    ),
    Fault(
        "changing corpus",
        11,
        "equal arms, 8 documents, all asked about, churn .2",
        tried.documents_that_change,
        {"false winner for new documents": _FALSE},
    ),
    Fault("misled", 12, "equal arms at .45, 200 questions", tried.misled, {"the net's interval holds 0": least(0.94)}),
    Fault(
        "all pairs",
        13,
        "six equal arms, 100 questions",
        tried.all_pairs,
        {"somebody is called significantly better": _FALSE},
    ),
    *(
        Fault(
            f"graded mean, {mean:g}",
            13,
            f"graded scores of mean {mean:g}, 30 questions",
            partial(tried.graded_mean, mean),
            {"the interval covers": least(0.94)},
        )
        for mean in (0.05, 0.95)
    ),
    Fault(
        "prefix cache",
        14,
        "200 and 1,000 prompt tokens, 160 of each cached",
        tried.prefix_hits,
        {"cost ratio over the true one": least(0.95)},
        share=0.0,
    ),
    Fault(
        "cheaper by nothing",
        15,
        ".325 at 21,861 tokens, .283 at 21,826, 80 questions",
        tried.cheaper_by_nothing,
        {"the worse arm is served": most(0.25), "regret": most(0.011)},
    ),
    Fault(
        "cheaper by half",
        15,
        ".51 at twice the cost of .50, 400 questions",
        tried.cheaper_by_half,
        {"the cheap arm is served": least(0.9)},
    ),
)


def simulate_faults(trials: int, seed: int, *, only: str = "", path: Path | None = None, processes: int = 2) -> None:
    """Print a line a quantity, then what is not within its bar."""
    faults = [fault for fault in FAULTS if only in fault.name or only == str(fault.point)]
    cases = [Case(fault.name, fault.trial, fault.share) for fault in faults]
    found = run_cases(cases, trials=trials, seed=seed, path=path, processes=processes)
    print(f"{trials:,} trials a line, default policy and race settings\n")
    print("| point | what | quantity | found | trials | bar | |")
    print("|---|---|---|---|---|---|---|")
    missed = []
    for fault in faults:
        for key, tally in found[fault.name].items():
            if key == "trials":
                continue
            bar = fault.bars.get(key)
            is_kept = bar is None or bar.is_kept(tally.mean)
            cells = [str(fault.point), fault.setup, key, f"{tally.mean:.3f}", f"{tally.count:,}", str(bar or "-")]
            print("| " + " | ".join([*cells, "" if bar is None else "kept" if is_kept else "missed"]) + " |")
            if not is_kept:
                missed.append(f"{fault.point}, {fault.name}: {key} {tally.mean:.3f}, {bar}")
    print("\nMissed: " + ("none" if not missed else "") + "".join(f"\n- {said}" for said in missed))
