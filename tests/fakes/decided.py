"""The comparison of tests/fakes/comparison.py decided in other ways: by a race, and by what answers are worth."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from fakes.comparison import Comparison, make_comparison

from eval.report.card import Card, make_card
from router.deciding.decision import Decision
from router.deciding.policy import Policy, Utility
from router.deciding.scorecard import ArmScores, Drop, RaceRecord

NUM_RACED, NUM_HELD_OUT = 15, 5
# The twelve facts and the first three notes were raced over; hybrid and tuned_rag are the finalists.
RACED = {"base": 6, "fewshot": 9, "rag": 15, "tuned": 12, "tuned_rag": 15, "hybrid": 15}
FINALISTS = ("hybrid", "tuned_rag")
DROPS = (
    Drop("base", "hybrid", 6, 0.004),
    Drop("fewshot", "hybrid", 9, 0.01),
    Drop("tuned", "rag", 12, 0.03),
    Drop("rag", "hybrid", 15, 0.04),
)


def make_raced() -> Comparison:
    """82 of 120 answers: 6 + 9 + 12 + 15 + 15 + 15 in the race, 5 + 5 held out."""
    whole = make_comparison()
    card = whole.scorecard
    record = RaceRecord(
        ends=(3, 6, 9, 12, 15),
        num_raced=NUM_RACED,
        held_out=card.question_ids[NUM_RACED:],
        drops=DROPS,
        stopped="questions spent",
        num_answers=82,
        num_possible=120,
    )
    arms = tuple(_seen(scores, card.question_ids) for scores in card.arms)
    asked = {(s.arm.name, name) for s in arms for name in card.question_ids if name not in s.not_asked}
    records = tuple(record for record in whole.records if (record.arm, record.question_id) in asked)
    return replace(whole, scorecard=replace(card, arms=arms, race=record), records=records)


def make_valued() -> Comparison:
    """A right answer is worth 1, a wrong one costs 1; nobody abstains."""
    return replace(make_comparison(), policy=Policy(margin=0.03, utility=Utility(right=1.0, wrong=-1.0, abstain=0.0)))


def card_of(comparison: Comparison, decision: Decision | None = None, **rest: object) -> Card:
    """The card of a comparison."""
    return make_card(
        comparison.table,
        decision or comparison.decision,
        comparison.questions,
        comparison.records,
        **{"title": "Lake library", "command": "arbiter run demo.yaml", **rest},  # type: ignore[arg-type]
    )


@cache
def usual_decision() -> Decision:
    """The decision of the comparison as it is."""
    return make_comparison().decision


@cache
def usual_card() -> Card:
    """The card of the comparison as it is; do not change it."""
    return card_of(make_comparison())


@cache
def raced_card() -> Card:
    """The card of the race; do not change it."""
    return card_of(make_raced())


@cache
def valued_card() -> Card:
    """The card of the decision by utility; do not change it."""
    return card_of(make_valued())


def _seen(scores: ArmScores, names: tuple[str, ...]) -> ArmScores:
    name = scores.arm.name
    seen = [i < RACED[name] or (i >= NUM_RACED and name in FINALISTS) for i in range(len(names))]
    hidden = tuple(question for question, was_asked in zip(names, seen, strict=True) if not was_asked)

    def mask(values: tuple[object, ...]) -> tuple[object, ...]:
        return tuple(value if was_asked else None for value, was_asked in zip(values, seen, strict=True))

    return replace(
        scores,
        scores={metric: mask(values) for metric, values in scores.scores.items()},
        latency_ms=mask(scores.latency_ms),
        prompt_tokens=mask(scores.prompt_tokens),
        generated_tokens=mask(scores.generated_tokens),
        errors={question: why for question, why in scores.errors.items() if question not in hidden},
        not_asked=hidden,
    )
