"""The top of a decision card: what a manager reads in a minute, and what must not be overlooked.

summary = summarise(find(table, decision))
summary["headline"], summary["change"], summary["warnings"]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from eval.report.doubts import Sensitivity, find_doubts, find_sensitivity, how_sure
from eval.report.side_by_side import Row, Unit, floor_rows, side_by_side, unit_of
from eval.report.wording import as_amount, as_percent, break_even_words, flip_words
from router.deciding.arm_table import ArmTable
from router.deciding.costs import BreakEven, break_even_table
from router.deciding.decision import Decision
from router.deciding.explain import further_words, trade_words
from router.deciding.scorecard import Scorecard
from router.deciding.statistics import Interval, detectable_difference
from router.deciding.utility import UTILITY
from router.deciding.wording import as_score

# In the line that `eval.judge.certificate.judge_standing` writes of a judge that may not decide.
_UNCERTIFIED = "its metrics are diagnostics"


@dataclass(frozen=True, slots=True)
class Findings:
    """A decision with what is worked out of it once for all parts of the card; the break-evens are the chosen arm's."""

    table: ArmTable
    decision: Decision
    unit: Unit
    rows: Sequence[Row]
    floors: Sequence[Row]
    sensitivity: Sensitivity | None
    break_even: Sequence[BreakEven]


def find(table: ArmTable, decision: Decision) -> Findings:
    """Work it out."""
    unit, break_even = unit_of(table), break_even_table(table.scorecard, table.policy, decision.arm)
    rows, sensitivity = side_by_side(table, decision, unit), find_sensitivity(table, decision)
    return Findings(table, decision, unit, rows, floor_rows(table), sensitivity, break_even)


def summarise(found: Findings, notes: Sequence[str] = (), *, doubts: Iterable[str] = ()) -> dict[str, Any]:
    """What decided and what it amounts to, in the decision's unit; `notes`, the caller's own warnings, come first, and
    its `doubts` of the questions after those of the decision.
    """
    table, decision, unit = found.table, found.decision, found.unit
    chosen = next(row for row in found.rows if row["is_chosen"])
    rival = next((line for line in found.break_even if line.other == decision.runner_up), None)
    race, lead = table.scorecard.race, decision.held_out_lead
    return {
        "headline": _headline(decision, chosen, unit),
        "meaning": _meaning(decision),
        "deciding": chosen[unit.column],  # the chosen arm's mean
        "lead": _lead(table, decision, unit),  # over the runner-up
        # The same on the questions that a race kept untouched.
        "held_out": unit.bounds(decision.held_out) if decision.held_out is not None else None,
        "held_out_lead": unit.lead(lead) if lead is not None else None,
        "confidence": as_percent(decision.confidence),
        "sure": how_sure(decision, unit),
        "wrong_if": [*find_doubts(table, decision, leader=leader_of(table, decision)), *doubts],
        "break_even": break_even_words(rival) if rival is not None else None,
        "change": _change(table, decision, found.sensitivity),  # what the nearest flip is
        "spent": race.summary if race is not None else None,
        "warnings": [*notes, *_warnings(found)],
    }


def leader_of(table: ArmTable, decision: Decision) -> str:
    """The arm that the comparisons are against; in a tie the chosen arm may be a cheaper one."""
    others = {comparison.other for comparison in decision.comparisons} | set(decision.excluded)
    return next((row.name for row in table.rows if row.name not in others), decision.arm)


def uncertified_lines(scorecard: Scorecard) -> list[str]:
    """The diagnostics that say that the judge may not decide."""
    return [line for line in scorecard.diagnostics if line.endswith(_UNCERTIFIED) or f"{_UNCERTIFIED};" in line]


def _headline(decision: Decision, chosen: Row, unit: Unit) -> str:
    found = chosen[unit.column]
    shown = as_amount if unit.is_currency else as_score
    amount = shown(found.mean) if found is not None else "no score"
    what = f"an expected utility of {amount} a question" if unit.is_currency else f"{amount} {unit.name}"
    scored = f"{what} on {chosen['num_asked']} questions"
    if decision.runner_up is None:
        sure = "" if decision.verdict == "winner" else " for now, undecided"
        return f"Serve {decision.arm}{sure}: {scored}; there was no other arm to compare it with."
    lead = f"{shown(abs(decision.margin) * unit.scale.width)} {'ahead of' if decision.margin >= 0 else 'behind'}"
    measured = f"{scored}, {lead} {decision.runner_up}"
    sure, margin = f"{as_percent(decision.confidence)} confidence", f"{unit.margin:.3g}"
    trade = f"; {trade_words(decision.trade)}" if decision.trade is not None else ""
    return {
        "winner": f"Serve {decision.arm}, the winner: {measured}, with {sure}.",
        "tie": f"Serve {decision.arm}, a tie within {margin}: {measured}, with {sure}{trade}.",
        "undecided": f"Serve {decision.arm} for now, undecided: {measured}; {_further(decision)} "
        f"({sure} that no arm is better by more than {margin}){trade}.",
    }[decision.verdict]


def _meaning(decision: Decision) -> str:
    if decision.verdict == "winner":
        alone = "every other arm is excluded" if decision.excluded else "there is no other arm"
        return "every other arm is significantly worse" if decision.runner_up else alone
    if decision.verdict == "undecided":
        return _further(decision)
    if decision.metric == UTILITY:
        return "the best arms are equally good, costs included"
    served = "none saves enough to be served instead" if decision.trade is None else "one that costs less is served"
    return f"the best arms are equally good, {served}"


def _further(decision: Decision) -> str:
    if not decision.more_questions:
        return "scoring the answers without a score would settle it"
    return further_words(decision.more_questions, decision.to_tell_apart, decision.to_call_equal)


def _lead(table: ArmTable, decision: Decision, unit: Unit) -> Interval | None:
    """The comparisons are against the leader; seen from a cheaper arm that is served instead, their sign changes."""
    is_leader = leader_of(table, decision) == decision.arm
    other = decision.runner_up if is_leader else decision.arm
    found = next((c.difference for c in decision.comparisons if c.other == other), None)
    if decision.runner_up is None or found is None:
        return None
    lead = unit.lead(found)
    return lead if is_leader else Interval(-lead.mean, -lead.high, -lead.low)


def _change(table: ArmTable, decision: Decision, sensitivity: Sensitivity | None) -> str:
    if sensitivity is None and len(table.rows) == 1:
        return "There is no other arm to choose."
    if sensitivity is None:
        return "There is no other arm to choose: the others are excluded, dropped by the race, or were never compared."
    if sensitivity.flips is None:
        return f"{_are_too_few(table)} to say what would change the choice."
    if sensitivity.nearest is None:
        return "No weight of the policy, changed alone by up to a factor of 1,000, would change the choice."
    words = flip_words(sensitivity.nearest)
    if sensitivity.served != decision.arm:
        return f"The choice by the measured means alone ({sensitivity.served}) would change if {words}."
    return f"This would change if {words}."


def _are_too_few(table: ArmTable) -> str:
    number = len(table.decided.question_ids)
    return "1 question is too few" if number == 1 else f"{number} questions are too few"


def _warnings(found: Findings) -> Iterator[str]:
    table, decision, sensitivity = found.table, found.decision, found.sensitivity
    scorecard, primary, own = table.scorecard, table.scorecard.primary, table.row(decision.arm).score
    for line in uncertified_lines(scorecard):
        yield f"{line[:1].upper()}{line[1:]}."
    for counted, words in (
        ("num_errors", "Answers that failed, counted as wrong"),
        ("num_unscored", f"Answers without a {primary} score, left out of means and comparisons"),
    ):
        lost = [
            f"{row['arm']} {row[counted]} of {len(scorecard.question_ids) - row['num_not_asked']}"
            for row in found.rows
            if row[counted]
        ]
        if lost:
            yield f"{words}: {', '.join(lost)}."
    apart = [comparison.other for comparison in decision.comparisons if comparison.difference is None]
    if apart:
        leader = leader_of(table, decision)
        yield f"{leader} was never compared with {', '.join(apart)}: no question was scored for both."
    for floor in found.floors:
        if floor["primary"] is not None and floor["primary"].mean >= own:
            yield (
                f"The floor “{floor['name']}” scores {as_score(floor['primary'].mean)} {primary} without any model, "
                f"no less than {decision.arm} ({as_score(own)})."
            )
    # The best of the arms that would have been better, had a limit not excluded them.
    higher = [row for row in table.rows if row.score > own and table.can_compare(row.name, decision.arm)]
    better = sorted((row for row in higher if row.excluded is not None), key=lambda row: -row.score)
    if better:
        rest = ", ".join(row.name for row in better[1:])
        yield (
            f"{better[0].name} scores higher ({as_score(better[0].score)} {primary}) but may not be served: "
            f"{better[0].excluded}." + (f" Excluded too and higher: {rest}." if rest else "")
        )
    limits = table.policy.limits
    kept = [limit.name for limit in fields(limits) if getattr(limits, limit.name) is not None]
    if scorecard.race is not None and kept and scorecard.race.stopped in ("one arm left", "within the margin"):
        number = table.row(decision.arm).decided.num_asked
        yield (
            f"The race ended when the score was settled: that {decision.arm} keeps its limits ({', '.join(kept)}) "
            f"rests on {number} answer{'' if number == 1 else 's'}; --whole asks all questions."
        )
    for missing in dict.fromkeys(row.costs.missing for row in table.rows if row.costs.missing):
        names = ", ".join(row.name for row in table.rows if row.costs.missing == missing)
        yield f"What {names} would cost is unknown: {' and '.join(missing)} were not measured."
    shows = detectable_difference(len(table.decided.question_ids), alpha=table.policy.alpha)
    if decision.runner_up is not None and scorecard.race is None and shows >= 1:
        yield f"{_are_too_few(table)} to count on seeing any difference."
    if sensitivity is not None and sensitivity.served != decision.arm:
        yield (
            f"By the measured means alone {sensitivity.served or 'no arm'} would be served; the tests do not show that "
            f"{decision.arm} is worse."
        )
