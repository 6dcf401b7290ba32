"""The decision card: everything that the page and the terminal show of a decision, as one JSON-safe value.

card = make_card(table, decision, questions, records, title="Library", command="arbiter run demo.yaml")
to_html(card), to_markdown(card), json.dumps(card)   # eval/report/page.py, eval/report/tables.py
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from eval.answers import AnswerRecord
from eval.errors import one_line
from eval.questions import Question
from eval.report.attribution import attribute
from eval.report.disagreements import TEXT_CHARACTERS, pick_disagreements
from eval.report.sensitivity import Sensitivity, find_sensitivity
from eval.report.side_by_side import Unit, floor_rows, side_by_side, unit_of
from eval.report.slices import find_slices
from eval.report.summary import leader_of, summarise, uncertified_lines
from eval.report.wording import as_line
from router.deciding.arm_table import ArmRow, ArmTable
from router.deciding.costs import break_even_table, evaluation_cost
from router.deciding.decision import Decision
from router.deciding.pareto import pareto_front
from router.deciding.scorecard import ArmScores, Scorecard
from router.deciding.statistics import detectable_difference
from router.deciding.utility import RIGHT_AT
from storage.records import as_json

Card = dict[str, Any]


def _correction(card: Scorecard) -> str:
    """What the p-values of the comparisons allow for."""
    if card.earlier_looks:
        return "anytime"
    return "Holm" if card.race is None else "all looks"


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
    """Work everything out.

    Every value is what `json.loads` gives; a section that does not apply is None or empty. Without `questions` the card
    says nothing of causes, slices and examples. `notes` are warnings for the top that only the caller can know: that
    the data has changed since, for example.
    """
    scorecard, policy, unit = table.scorecard, table.policy, unit_of(table)
    rows, floors = side_by_side(table, decision, unit), floor_rows(table)
    sensitivity = find_sensitivity(table, decision)
    break_even = break_even_table(scorecard, policy, decision.arm)
    reasons: dict[str, Any] = {"attributions": [], "slices": None, "examples": []}
    if questions:
        attributions = attribute(scorecard, questions, records, alpha=policy.alpha)
        causes = {found.arm: found.causes for found in attributions}
        reasons = {
            "attributions": attributions,
            "slices": find_slices(scorecard, questions, chosen=decision.arm, policy=policy, excluded=table.excluded),
            "examples": pick_disagreements(scorecard, questions, records, chosen=decision.arm, causes=causes),
        }
    num, num_decided = len(scorecard.question_ids), len(table.decided.question_ids)
    is_judge_doubted = bool(uncertified_lines(scorecard))
    card: Card = as_json(
        {
            "title": title,
            "command": command,
            "summary": summarise(
                table,
                decision,
                rows=rows,
                floors=floors,
                unit=unit,
                sensitivity=sensitivity,
                break_even=break_even,
                notes=notes,
            ),
            "decision": decision,
            "policy": policy,
            # What decided, and its unit, which the comparisons are in.
            "metric": {
                **asdict(unit),
                "primary": scorecard.primary,
                "of_kind": scorecard.metric_of,
                "all": scorecard.metrics,
                "diagnostic": [name for name in scorecard.metrics if is_judge_doubted and name.startswith("judge_")],
                "right_at": RIGHT_AT,
            },
            "questions": {
                "num": num,
                "num_decided": num_decided,
                "num_held_out": num - num_decided,
                "num_documents": len(set(table.decided.clusters)),
                "detectable": detectable_difference(num_decided, alpha=policy.alpha),
            },
            "arms": rows,
            "floors": floors,
            "race": scorecard.race,
            "comparisons": {
                "leader": leader_of(table, decision),
                "correction": _correction(scorecard),
                "rows": _comparisons(decision, unit),
            },
            "front": pareto_front(table),
            "sensitivity": _sensitivity(sensitivity) if sensitivity is not None else None,
            **reasons,
            "costs": {
                "arms": [_costs(row, policy.traffic.questions) for row in table.rows],
                "break_even": [{**asdict(found), "text": found.text} for found in break_even],
                "evaluation": evaluation_cost(scorecard, policy),
                "evaluation_s": scorecard.evaluation_s,
            },
            # Metric -> arm -> scored answers.
            "scored": {
                metric: {
                    scores.arm.name: sum(score is not None for score in scores.scores.get(metric, ()))
                    for scores in scorecard.arms
                }
                for metric in scorecard.metrics
            },
            "diagnostics": scorecard.diagnostics,
            "failures": {
                scores.arm.name: {name: one_line(error, TEXT_CHARACTERS) for name, error in scores.errors.items()}
                for scores in scorecard.arms
            },
            "provenance": {str(key): as_line(value) for key, value in scorecard.provenance.items()},
            "parts": [_parts(scores) for scores in scorecard.arms],
        }
    )
    return card


def _comparisons(decision: Decision, unit: Unit) -> list[dict[str, Any]]:
    """The numbers of a comparison that was never made are None."""
    return [
        {
            "other": c.other,
            **(asdict(unit.lead(d)) if d is not None else {"mean": None, "low": None, "high": None}),
            "num_pairs": d.num_pairs if d is not None else 0,
            "test": d.test if d is not None else None,
            "p_corrected": c.p_corrected if d is not None or c.beaten_by else None,
            "p_equivalent": d.p_equivalent if d is not None else None,
            "standing": c.standing,
            "is_significant": c.is_significant,
            "beaten_by": c.beaten_by,
        }
        for c in decision.comparisons
        for d in (c.difference,)
    ]


def _sensitivity(found: Sensitivity) -> dict[str, Any]:
    """The map's rows are told as runs: the arms that win in turn as the volume grows, each with how many columns."""
    runs = [[[name, len(list(run))] for name, run in groupby(row)] for row in found.map.winners]
    return {**asdict(found), "flips": found.flips or (), "map": {**asdict(found.map), "winners": runs}}


def _costs(row: ArmRow, questions: float) -> dict[str, Any]:
    return {
        **asdict(row.costs),
        **row.whole.usage._asdict(),
        "training_s": row.whole.training_s,
        "indexing_s": row.whole.indexing_s,
        "fixed": row.costs.fixed,
        "upkeep": row.costs.upkeep,
        "per_1k": row.costs.per_1k,
        "monthly": row.costs.monthly(questions),
        "amortised_per_1k": row.amortised_per_1k,
    }


def _parts(scores: ArmScores) -> dict[str, Any]:
    """What an arm is made of, with the hash over everything that shapes its answers."""
    arm = scores.arm
    return {
        "arm": arm.name,
        "adapter": arm.adapter,
        "index": arm.index,
        "prompt": arm.prompt.name,
        "top_k": arm.top_k if arm.index else None,
        "temperature": arm.sampling.temperature,
        "max_tokens": arm.sampling.max_tokens,
        "seed": arm.sampling.seed,
        "fingerprint": arm.fingerprint()[:12],
    }
