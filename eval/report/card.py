"""The decision card: everything that the page and the terminal show of a decision, as one JSON-safe value.

card = make_card(table, decision, questions, records, title="Library", command="arbiter run demo.yaml")
to_html(card), to_markdown(card), json.dumps(card)   # eval/report/page.py, eval/report/tables.py
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any, TypedDict

from eval.answers import AnswerRecord
from eval.errors import one_line
from eval.questions import Question
from eval.report.attribution import NEXT_ACTION, Attribution, attribute
from eval.report.disagreements import Disagreement, pick_disagreements
from eval.report.sensitivity import Sensitivity, find_sensitivity
from eval.report.side_by_side import FloorRow, Row, Unit, floor_rows, side_by_side, unit_of
from eval.report.slices import find_slices
from eval.report.summary import Summary, leader_of, summarise, uncertified_lines
from eval.report.wording import as_line, flip_words
from router.deciding.arm_table import ArmTable
from router.deciding.costs.arm_costs import evaluation_cost
from router.deciding.costs.break_even import BreakEven, break_even_table
from router.deciding.decision import Decision
from router.deciding.pareto import pareto_front
from router.deciding.scorecard import Scorecard
from router.deciding.statistics import detectable_difference
from router.deciding.utility import RIGHT_AT
from storage.records import as_json

# Answers, questions and error messages of the shown examples are cut to so many characters.
_TEXT_CHARACTERS = 280
_NAME_CHARACTERS = 60

Plain = dict[str, Any]


class Card(TypedDict):
    """What is known of one decision; every value is what `json.loads` gives.

    `metric` names what decided and its unit, `comparisons` are in that unit. The sections that are not typed here are
    the JSON forms of the values they are made from: `front` of `FrontMember`, `race` of `RaceRecord`, `costs` of
    `BreakEven` and `ArmCosts`, `attributions` of `Attribution`, `slices` of `SliceTable`, `examples` of
    `Disagreement`, each with what is said about it. A section is None or empty where it does not apply.
    """

    title: str
    command: str
    summary: Summary
    decision: Plain
    policy: Plain
    metric: Plain
    questions: Plain
    arms: list[Row]
    floors: list[FloorRow]
    race: Plain | None
    comparisons: Plain
    front: list[Plain]
    utility: list[Plain]
    sensitivity: Plain | None
    attributions: list[Plain]
    slices: Plain | None
    examples: list[Plain]
    costs: Plain
    scored: dict[str, dict[str, int]]
    diagnostics: list[str]
    failures: dict[str, dict[str, str]]
    provenance: dict[str, str]
    parts: list[Plain]


def make_card(
    table: ArmTable,
    decision: Decision,
    questions: Sequence[Question],
    records: Sequence[AnswerRecord],
    *,
    title: str,
    command: str,
    notes: Sequence[str] = (),
) -> Card:
    """Work everything out, some seconds for hundreds of questions: most numbers have a bootstrap interval.

    Without `questions` the card says nothing of causes, slices and examples. `notes` are warnings for the top that only
    the caller can know: that the data has changed since, for example.
    """
    scorecard, policy, unit = table.scorecard, table.policy, unit_of(table)
    rows, floors = side_by_side(table, decision, unit), floor_rows(table)
    sensitivity = find_sensitivity(table, decision)
    break_even = break_even_table(scorecard, policy, decision.arm)
    summary = summarise(
        table,
        decision,
        rows=rows,
        floors=floors,
        unit=unit,
        sensitivity=sensitivity,
        break_even=break_even,
        notes=notes,
    )
    attributions = attribute(scorecard, questions, records) if questions else ()
    card = Card(
        title=title,
        command=command,
        summary=summary,
        decision=asdict(decision),
        policy=asdict(policy),
        metric=_metric(scorecard, unit),
        questions=_questions(table),
        arms=rows,
        floors=floors,
        race=asdict(scorecard.race) if scorecard.race is not None else None,
        comparisons=_comparisons(table, decision, unit),
        front=[asdict(member) for member in pareto_front(table)],
        utility=_outcomes(table, rows) if unit.is_currency else [],
        sensitivity=_sensitivity(sensitivity) if sensitivity is not None else None,
        attributions=[_attribution(found) for found in attributions],
        slices=_slices(table, decision, questions) if questions else None,
        examples=_examples(scorecard, decision, questions, records, attributions) if questions else [],
        costs=_costs(table, break_even),
        scored=_scored(scorecard),
        diagnostics=list(scorecard.diagnostics),
        failures={s.arm.name: {k: one_line(v, _TEXT_CHARACTERS) for k, v in s.errors.items()} for s in scorecard.arms},
        provenance={str(key): as_line(value) for key, value in scorecard.provenance.items()},
        parts=_parts(scorecard),
    )
    plain: Card = as_json(card)
    return plain


def _metric(scorecard: Scorecard, unit: Unit) -> Plain:
    is_judge_doubted = bool(uncertified_lines(scorecard))
    return {
        "name": unit.metric,
        "is_currency": unit.is_currency,
        "margin": unit.margin,
        "low": unit.low,
        "high": unit.low + unit.width,
        "primary": scorecard.primary,
        "of_kind": dict(scorecard.metric_of),
        "all": list(scorecard.metrics),
        "diagnostic": [name for name in scorecard.metrics if is_judge_doubted and name.startswith("judge_")],
        "right_at": RIGHT_AT,
    }


def _questions(table: ArmTable) -> Plain:
    num, num_decided = len(table.scorecard.question_ids), len(table.decided.question_ids)
    return {
        "num": num,
        "num_decided": num_decided,
        "num_held_out": num - num_decided,
        "num_documents": len(set(table.decided.clusters)),
        "detectable": detectable_difference(num_decided, alpha=table.policy.alpha),
    }


def _comparisons(table: ArmTable, decision: Decision, unit: Unit) -> Plain:
    """The numbers of a comparison that was never made are None."""
    rows = [
        {
            "other": c.other,
            **(unit.lead(d) if d is not None else {"mean": None, "low": None, "high": None}),
            "num_pairs": d.num_pairs if d is not None else 0,
            "test": d.test if d is not None else None,
            "p_corrected": c.p_corrected if d is not None or c.beaten_by else None,
            "p_equivalent": d.p_equivalent if d is not None else None,
            "standing": c.standing,
            "beaten_by": c.beaten_by,
        }
        for c in decision.comparisons
        for d in (c.difference,)
    ]
    correction = "Holm" if table.scorecard.race is None else "anytime"
    return {"leader": leader_of(table, decision), "correction": correction, "rows": rows}


def _outcomes(table: ArmTable, rows: Sequence[Row]) -> list[Plain]:
    outcomes = {row.name: row.outcomes for row in table.rows}
    return [{"arm": row["arm"], "utility": row["utility"], "outcomes": outcomes[row["arm"]]} for row in rows]


def _sensitivity(found: Sensitivity) -> Plain:
    """The map's rows are told as runs: the arms that win in turn as the volume grows, each with how many columns."""
    runs = [[[name, len(list(run))] for name, run in groupby(row)] for row in found.map.winners]
    return {
        "served": found.served,
        "left_out": found.left_out,
        "flips": [{**asdict(flip), "words": flip_words(flip)} for flip in found.flips or ()],
        "stability": found.stability,
        "map": {**asdict(found.map), "winners": runs, "shares": found.map.shares},
    }


def _attribution(found: Attribution) -> Plain:
    fault = found.main_fault
    return {
        **asdict(found),
        "counts": found.counts,
        "num_known": found.num_known,
        "num_wrong": found.num_wrong,
        "main_fault": fault,
        "next_action": NEXT_ACTION[fault] if fault is not None else None,
    }


def _slices(table: ArmTable, decision: Decision, questions: Sequence[Question]) -> Plain:
    found = find_slices(table.scorecard, questions, chosen=decision.arm, policy=table.policy, excluded=table.excluded)
    # Those that another arm would serve better are what the table is for.
    rows = sorted(found.slices, key=lambda one: one.prefers is None)
    return {**asdict(found), "slices": [asdict(one) for one in rows]}


def _examples(
    scorecard: Scorecard,
    decision: Decision,
    questions: Sequence[Question],
    records: Sequence[AnswerRecord],
    attributions: Sequence[Attribution],
) -> list[Plain]:
    picked = pick_disagreements(scorecard, questions, records, chosen=decision.arm, attributions=attributions)
    return [_example(found) for found in picked]


def _example(found: Disagreement) -> Plain:
    question = found.question
    return {
        "question": question.id,
        "text": one_line(question.text, _TEXT_CHARACTERS),
        "golds": [one_line(gold, _TEXT_CHARACTERS) for gold in question.answers],
        "kind": str(question.metadata["kind"]) if question.metadata.get("kind") else None,
        "lead": found.lead,
        "answers": [
            {
                **asdict(answer),
                "text": one_line(answer.text, _TEXT_CHARACTERS),
                "error": one_line(answer.error, _TEXT_CHARACTERS) if answer.error else None,
                "documents": [{**asdict(d), "id": one_line(d.id, _NAME_CHARACTERS)} for d in answer.documents],
            }
            for answer in found.answers
        ],
    }


def _costs(table: ArmTable, break_even: Sequence[BreakEven]) -> Plain:
    traffic = table.policy.traffic
    return {
        "arms": [
            {
                "arm": row.name,
                **asdict(row.whole.usage),
                "training_s": row.whole.training_s,
                "indexing_s": row.whole.indexing_s,
                "fixed": row.costs.fixed,
                "upkeep": row.costs.upkeep,
                "per_1k": row.costs.per_1k,
                "monthly": row.costs.monthly(traffic.questions),
                "amortised_per_1k": row.amortised_per_1k,
                "missing": row.costs.missing,
            }
            for row in table.rows
        ],
        "parts": [asdict(row.costs) for row in table.rows],
        "break_even": [{**asdict(found), "text": found.text} for found in break_even],
        "evaluation": evaluation_cost(table.scorecard, table.policy),
        "evaluation_s": table.scorecard.evaluation_s,
    }


def _scored(scorecard: Scorecard) -> dict[str, dict[str, int]]:
    """Metric -> arm -> scored answers."""
    return {
        metric: {
            scores.arm.name: sum(score is not None for score in scores.scores.get(metric, ()))
            for scores in scorecard.arms
        }
        for metric in scorecard.metrics
    }


def _parts(scorecard: Scorecard) -> list[Plain]:
    """What each arm is made of, in the scorecard's order, with the hash over everything that shapes its answers."""
    return [
        {
            "arm": scores.arm.name,
            "adapter": scores.arm.adapter,
            "index": scores.arm.index,
            "prompt": scores.arm.prompt.name,
            "top_k": scores.arm.top_k if scores.arm.index else None,
            "temperature": scores.arm.sampling.temperature,
            "max_tokens": scores.arm.sampling.max_tokens,
            "seed": scores.arm.sampling.seed,
            "fingerprint": scores.arm.fingerprint()[:12],
        }
        for scores in scorecard.arms
    ]
