"""The questions that tell most about a decision: where the chosen arm lost, and where the arms differ most.

for shown in pick_disagreements(scorecard, questions, records, chosen="hybrid"):
    shown["text"], [(answer["arm"], answer["text"], answer["score"]) for answer in shown["answers"]]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eval.answers import AnswerRecord
from eval.errors import one_line
from eval.questions import Question
from eval.report.attribution import Cause
from router.deciding.scorecard import Scorecard

# Answers, questions, error messages and the names of documents are cut to so many characters.
TEXT_CHARACTERS = 280
_NAME_CHARACTERS = 60


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
            "text": one_line(record.text, TEXT_CHARACTERS),
            "score": primary[arm][i],
            "error": one_line(record.error, TEXT_CHARACTERS) if record.error else None,
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
            "text": one_line(question.text, TEXT_CHARACTERS),
            "golds": [one_line(gold, TEXT_CHARACTERS) for gold in question.answers],
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
