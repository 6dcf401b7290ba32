"""The top of a decision card: what a manager reads in a minute, and what must not be overlooked.

found = summarise(scorecard, decision, policy, rows=rows, floors=floors, unit=unit, sensitivity=sensitivity)
found["headline"], found["change"], found["warnings"]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from eval.report.sensitivity import Sensitivity
from eval.report.side_by_side import Bounds, FloorRow, Row, Unit, side_by_side, unit_of
from eval.report.wording import as_amount, as_percent, break_even_words, flip_words
from router.deciding.costs.arm_costs import measure, price
from router.deciding.costs.break_even import break_even_table
from router.deciding.decision import Decision
from router.deciding.policy import Policy
from router.deciding.scorecard import Scorecard
from router.deciding.statistics import detectable_difference

# In the line that `eval.judge.certificate.judge_standing` writes of a judge that may not decide.
_UNCERTIFIED = "its metrics are diagnostics"


class Summary(TypedDict):
    """What decided and what it amounts to, in the unit of the decision.

    `deciding` is the chosen arm's mean, `lead` its lead over the runner-up; `held_out` and `held_out_lead` are the same
    on questions that a race kept untouched. `change` says what the nearest flip is, `spent` what a race took, and
    `warnings` what a reader must not overlook.
    """

    headline: str
    meaning: str
    deciding: Bounds | None
    lead: Bounds | None
    held_out: Bounds | None
    held_out_lead: Bounds | None
    confidence: str
    break_even: str | None
    change: str
    spent: str | None
    warnings: list[str]


def summarise(
    scorecard: Scorecard,
    decision: Decision,
    policy: Policy,
    *,
    rows: Sequence[Row],
    floors: Sequence[FloorRow],
    unit: Unit,
    sensitivity: Sensitivity | None,
    notes: Sequence[str] = (),
) -> Summary:
    """The summary of a card; `notes` are warnings that only the caller can know, and come first."""
    chosen = next(row for row in rows if row["is_chosen"])
    rivals = {found.other: found for found in break_even_table(scorecard, policy, decision.arm)}
    rival = rivals.get(decision.runner_up or "")
    return Summary(
        headline=_headline(decision, chosen, unit),
        meaning=_meaning(decision),
        deciding=chosen["utility"] if unit.is_currency else chosen["primary"],
        lead=_lead(scorecard, decision, unit),
        held_out=unit.bounds(decision.held_out) if decision.held_out is not None else None,
        held_out_lead=unit.lead(decision.held_out_lead) if decision.held_out_lead is not None else None,
        confidence=as_percent(decision.confidence),
        break_even=break_even_words(rival) if rival is not None else None,
        change=_change(scorecard, decision, sensitivity),
        spent=scorecard.race.summary if scorecard.race is not None else None,
        warnings=[*notes, *_warnings(scorecard, decision, policy, rows, floors, sensitivity)],
    )


def headline(scorecard: Scorecard, decision: Decision, policy: Policy) -> str:
    """The decision in one sentence: arm, verdict, confidence and lead."""
    unit = unit_of(scorecard, decision, policy)
    rows = side_by_side(scorecard, decision, policy, unit)
    return _headline(decision, next(row for row in rows if row["is_chosen"]), unit)


def leader_of(scorecard: Scorecard, decision: Decision) -> str:
    """The arm that the comparisons are against; in a tie the chosen arm may be a cheaper one."""
    others = {comparison.other for comparison in decision.comparisons} | set(decision.excluded)
    return next((s.arm.name for s in scorecard.arms if s.arm.name not in others), decision.arm)


def uncertified_lines(scorecard: Scorecard) -> list[str]:
    """The diagnostics that say that the judge may not decide."""
    return [line for line in scorecard.diagnostics if line.endswith(_UNCERTIFIED) or f"{_UNCERTIFIED};" in line]


def _headline(decision: Decision, chosen: Row, unit: Unit) -> str:
    found = chosen["utility"] if unit.is_currency else chosen["primary"]
    shown = as_amount if unit.is_currency else "{:.2f}".format
    amount = shown(found["mean"]) if found is not None else "no score"
    what = f"an expected utility of {amount} a question" if unit.is_currency else f"{amount} {unit.metric}"
    scored = f"{what} on {chosen['num_asked']} questions"
    if decision.runner_up is None:
        return f"Serve {decision.arm}: {scored}; there was no other arm to compare it with."
    lead = f"{shown(abs(decision.margin) * unit.width)} {'ahead of' if decision.margin >= 0 else 'behind'}"
    lead = f"{lead} {decision.runner_up}"
    sure, margin = f"{as_percent(decision.confidence)} confidence", f"{unit.margin:.3g}"
    if decision.verdict == "winner":
        return f"Serve {decision.arm}, the winner: {scored}, {lead}, with {sure}."
    if decision.verdict == "tie":
        return f"Serve {decision.arm}, a tie within {margin} in which it costs least: {scored}, {lead}, with {sure}."
    return (
        f"Serve {decision.arm} for now, undecided: {scored}, {lead}; {_further(decision)} "
        f"would settle it ({sure} that no arm is better by more than {margin})."
    )


def _meaning(decision: Decision) -> str:
    if decision.verdict == "winner":
        alone = "every other arm is excluded" if decision.excluded else "there is no other arm"
        return "every other arm is significantly worse" if decision.runner_up else alone
    if decision.verdict == "tie":
        return "the best arms are equally good, the cheapest is served"
    return f"{_further(decision)} would settle it"


def _further(decision: Decision) -> str:
    return f"about {decision.more_questions:,} more question{'s' if decision.more_questions != 1 else ''}"


def _lead(scorecard: Scorecard, decision: Decision, unit: Unit) -> Bounds | None:
    """The comparisons are against the leader; seen from a cheaper arm that is served instead, their sign changes."""
    if decision.runner_up is None:
        return None
    is_leader = leader_of(scorecard, decision) == decision.arm
    other = decision.runner_up if is_leader else decision.arm
    found = next((c.difference for c in decision.comparisons if c.other == other), None)
    if found is None:
        return None
    lead = unit.lead(found)
    return lead if is_leader else Bounds(mean=-lead["mean"], low=-lead["high"], high=-lead["low"])


def _change(scorecard: Scorecard, decision: Decision, sensitivity: Sensitivity | None) -> str:
    if sensitivity is None and len(scorecard.arms) == 1:
        return "There is no other arm to choose."
    if sensitivity is None:
        return "There is no other arm to choose: the others are excluded, or were dropped by the race."
    if sensitivity.nearest is None:
        return "No weight of the policy, changed alone by up to a factor of 1,000, would change the choice."
    words = flip_words(sensitivity.nearest)
    if sensitivity.served != decision.arm:
        return f"The choice by the measured means alone ({sensitivity.served}) would change if {words}."
    return f"This would change if {words}."


def _warnings(
    scorecard: Scorecard,
    decision: Decision,
    policy: Policy,
    rows: Sequence[Row],
    floors: Sequence[FloorRow],
    sensitivity: Sensitivity | None,
) -> list[str]:
    found = [f"{line[:1].upper()}{line[1:]}." for line in uncertified_lines(scorecard)]
    lost = [
        f"{row['arm']} {row['num_unscored']} of {len(scorecard.question_ids) - row['num_not_asked']}"
        + (f" ({row['num_errors']} failed)" if row["num_errors"] else "")
        for row in rows
        if row["num_unscored"]
    ]
    if lost:
        found.append(
            f"Answers without a {scorecard.primary} score, left out of means and comparisons: {', '.join(lost)}."
        )
    chosen = next(row for row in rows if row["is_chosen"])
    own = chosen["primary"]["mean"] if chosen["primary"] else 0.0
    found += [
        f"The floor “{floor['name']}” scores {floor['primary']['mean']:.2f} {scorecard.primary} without any model, "
        f"no less than {decision.arm} ({own:.2f})."
        for floor in floors
        if floor["primary"] is not None and floor["primary"]["mean"] >= own
    ]
    found += _barred(rows, own, scorecard.primary) + _unpriced(scorecard, policy)
    num_questions = len(scorecard.raced().question_ids)
    if decision.runner_up is not None and scorecard.race is None and detectable_difference(num_questions) >= 1:
        number = "1 question is" if num_questions == 1 else f"{num_questions} questions are"
        found.append(f"{number} too few to count on seeing any difference.")
    if sensitivity is not None and sensitivity.served != decision.arm:
        found.append(
            f"By the measured means alone {sensitivity.served or 'no arm'} would be served; {decision.arm} costs less, "
            "and the tests do not show that it is worse."
        )
    return found


def _barred(rows: Sequence[Row], own: float, metric: str) -> list[str]:
    """The best of the arms that would have been better, had a limit not excluded them."""
    better = [row for row in rows if row["excluded"] and row["primary"] is not None and row["primary"]["mean"] > own]
    best = max(better, key=lambda row: (row["primary"] or {"mean": 0.0})["mean"], default=None)
    if best is None or best["primary"] is None:
        return []
    line = f"{best['arm']} scores higher ({best['primary']['mean']:.2f} {metric}) but may not be served"
    rest = ", ".join(row["arm"] for row in better if row is not best)
    return [f"{line}: {best['excluded']}." + (f" Excluded too and higher: {rest}." if rest else "")]


def _unpriced(scorecard: Scorecard, policy: Policy) -> list[str]:
    """A line for the arms that lack the same measurements."""
    lacking: dict[tuple[str, ...], list[str]] = {}
    for scores in scorecard.arms:
        if missing := price(measure(scorecard, scores), policy).missing:
            lacking.setdefault(missing, []).append(scores.arm.name)
    return [
        f"What {', '.join(names)} would cost is unknown: {' and '.join(missing)} were not measured."
        for missing, names in lacking.items()
    ]
