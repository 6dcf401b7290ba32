"""The decision card: everything that the page and the terminal show of a decision, as one JSON-safe value.

card = make_card(table, decision, questions, records, title="Library", command="arbiter run demo.yaml")
to_html(card), to_markdown(card), json.dumps(card)   # eval/report/page.py, eval/report/tables.py
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from eval.answers import AnswerRecord
from eval.errors import one_line
from eval.generated import generated_doubts, generated_warnings
from eval.questions import Question
from eval.report.attribution import Cause, attribute
from eval.report.compressed import losses_of
from eval.report.doubts import Sensitivity
from eval.report.learning import Curves, example_lines
from eval.report.side_by_side import Unit
from eval.report.slices import find_slices
from eval.report.summary import find, leader_of, summarise, uncertified_lines
from eval.report.wording import as_line
from router.deciding.arm_table import ArmRow, ArmTable
from router.deciding.costs import evaluation_cost
from router.deciding.decision import Decision
from router.deciding.pareto import pareto_front
from router.deciding.scorecard import ArmScores, Scorecard
from router.deciding.statistics import detectable_difference
from router.deciding.utility import RIGHT_AT
from storage.records import as_json

Card = dict[str, Any]

# Answers, questions, error messages and the names of documents are cut to so many characters.
_TEXT_CHARACTERS = 280
_NAME_CHARACTERS = 60


def make_card(
    table: ArmTable,
    decision: Decision,
    questions: Sequence[Question],
    records: Sequence[AnswerRecord],
    *,
    title: str,
    command: str,
    notes: Sequence[str] = (),
    curves: Curves | None = None,
    gates: Sequence[Mapping[str, Any]] = (),
) -> Card:
    """Work everything out.

    Every value is what `json.loads` gives; a section that does not apply is None or empty. `notes` are warnings for the
    top that only the caller can know: that the data has changed since, for example. `curves` are None where nothing is
    to be said of more examples. `gates` is what the gates before promotion show, a row each.
    """
    scorecard, policy, found = table.scorecard, table.policy, find(table, decision)
    attributions = attribute(scorecard, questions, records, alpha=policy.alpha)
    causes = {attribution.arm: attribution.causes for attribution in attributions}
    num, num_decided = len(scorecard.question_ids), len(table.decided.question_ids)
    is_judge_doubted = bool(uncertified_lines(scorecard))
    card: Card = as_json(
        {
            "title": title,
            "command": command,
            "summary": {
                **summarise(found, (*notes, *generated_warnings(questions)), doubts=generated_doubts(questions)),
                "examples": list(example_lines(curves, table, decision, command=command)) if curves is not None else [],
            },
            "decision": decision,
            "policy": policy,
            # What decided, and its unit, which the comparisons are in.
            "metric": {
                **asdict(found.unit),
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
            "arms": found.rows,
            "floors": found.floors,
            "race": scorecard.race,
            "comparisons": {
                "leader": leader_of(table, decision),
                # What the p-values allow for.
                "correction": "anytime" if scorecard.earlier_looks else "all looks" if scorecard.race else "Holm",
                "rows": _comparisons(decision, found.unit),
            },
            "front": pareto_front(table),
            "curves": [report.to_dict() for report in curves.reports] if curves is not None else [],
            "sensitivity": _sensitivity(found.sensitivity) if found.sensitivity is not None else None,
            "attributions": attributions,
            "slices": find_slices(scorecard, questions, chosen=decision.arm, policy=policy, excluded=table.excluded),
            "examples": pick_disagreements(scorecard, questions, records, chosen=decision.arm, causes=causes),
            "costs": {
                "arms": [_costs(row, policy.traffic.questions) for row in table.rows],
                "break_even": [{**asdict(line), "text": line.text} for line in found.break_even],
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
                scores.arm.name: {name: one_line(error, _TEXT_CHARACTERS) for name, error in scores.errors.items()}
                for scores in scorecard.arms
            },
            "adapters": _adapters(scorecard),
            "compressions": losses_of(scorecard, alpha=policy.alpha),
            "gates": gates,
            "provenance": {
                str(key): as_line(value) for key, value in scorecard.provenance.items() if key != "adapters"
            },
            "parts": [_parts(scores) for scores in scorecard.arms],
        }
    )
    return card


def pick_disagreements(
    scorecard: Scorecard,
    questions: Sequence[Question],
    records: Sequence[AnswerRecord],
    *,
    chosen: str,
    num_losses: int = 6,
    num_others: int = 4,
    causes: Mapping[str, Mapping[str, Cause]] | None = None,
) -> list[dict[str, Any]]:
    """The chosen arm's worst losses first, then its clearest gains, then the widest spreads among the others.

    Each is a question with its answers, the best first; `lead` is the chosen arm's score minus the best other's. A
    question on which all arms score alike, or which the chosen arm has no score for, is never shown. Every answer
    shows its cause where `causes`, by arm and question, has one.
    """
    asked = {question.id: question for question in questions}
    found = {(record.arm, record.question_id): record for record in records}
    primary = {scores.arm.name: scores.scores[scorecard.primary] for scores in scorecard.arms}
    leads: dict[int, float] = {}
    spreads: dict[int, float] = {}
    for i, own in enumerate(primary[chosen]):
        known = [score for arm, column in primary.items() if arm != chosen and (score := column[i]) is not None]
        if own is not None and known and {own} != set(known):
            leads[i] = own - max(known)
            spreads[i] = max(own, *known) - min(own, *known)
    lost = sorted((i for i in leads if leads[i] < 0), key=lambda i: leads[i])
    rest = sorted((i for i in leads if leads[i] >= 0), key=lambda i: (-leads[i], -spreads[i]))

    def shown(arm: str, i: int, question: Question) -> dict[str, Any]:
        record = found.get((arm, question.id)) or AnswerRecord(arm, question.id, "", error="the answer was not kept")
        return {
            "arm": arm,
            "text": one_line(record.text, _TEXT_CHARACTERS),
            "score": primary[arm][i],
            "error": one_line(record.error, _TEXT_CHARACTERS) if record.error else None,
            "documents": [
                {
                    "id": one_line(name, _NAME_CHARACTERS),
                    "is_gold": name in question.document_ids,
                    "is_cited": name in record.cited_documents,
                }
                for name in dict.fromkeys(record.passage_documents)
            ],
            "cause": (causes or {}).get(arm, {}).get(question.id),
        }

    return [
        {
            "question": question.id,
            "text": one_line(question.text, _TEXT_CHARACTERS),
            "golds": [one_line(gold, _TEXT_CHARACTERS) for gold in question.answers],
            "kind": str(question.metadata["kind"]) if question.metadata.get("kind") else None,
            "lead": leads[i],
            "answers": [
                shown(scores.arm.name, i, question)
                for scores in sorted(scorecard.arms, key=lambda scores: -(primary[scores.arm.name][i] or 0.0))
                if question.id not in scores.not_asked
            ],
        }
        for i in (*lost[:num_losses], *rest[:num_others])
        for question in (asked[scorecard.question_ids[i]],)
    ]


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


def _adapters(scorecard: Scorecard) -> list[dict[str, Any]]:
    """What was trained, and the arms that answer with it; empty for a run that was written before it was kept."""
    trained = scorecard.provenance.get("adapters")
    if not isinstance(trained, Mapping):
        return []
    arms = {name: [s.arm.name for s in scorecard.arms if s.arm.adapter == name] for name in trained}
    # Of runs from before there was another one.
    usual = {"objective": "supervised", "preference": None, "compression": None}
    return [{"adapter": name, "arms": arms[name], **usual, **facts} for name, facts in trained.items() if arms[name]]


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
