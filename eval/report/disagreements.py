"""The questions that tell most about a decision: where the chosen arm lost, and where the arms differ most.

for shown in pick_disagreements(scorecard, questions, records, chosen="hybrid"):
    shown.question, [(answer.arm, answer.text, answer.score, answer.cause) for answer in shown.answers]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eval.answers import AnswerRecord
from eval.questions import Question
from eval.report.attribution import Attribution, Cause
from router.deciding.scorecard import ArmScores, Scorecard


@dataclass(frozen=True, slots=True)
class RetrievedDocument:
    """A retrieved document; `is_gold` says that it holds the answer, `is_cited` that the answer rests on it."""

    id: str
    is_gold: bool
    is_cited: bool


@dataclass(frozen=True, slots=True)
class ArmAnswer:
    """One arm's answer to a question; `error` says why there is none, `cause` why it is right or wrong, if known."""

    arm: str
    is_chosen: bool
    text: str
    score: float | None
    error: str | None
    documents: tuple[RetrievedDocument, ...]
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A question and its answers, the best first; `lead` is the chosen arm's score minus the best other's."""

    question: Question
    lead: float
    answers: tuple[ArmAnswer, ...]


def pick_disagreements(
    scorecard: Scorecard,
    questions: Sequence[Question],
    records: Sequence[AnswerRecord],
    *,
    chosen: str,
    num_losses: int = 6,
    num_others: int = 4,
    attributions: Sequence[Attribution] = (),
) -> tuple[Disagreement, ...]:
    """The chosen arm's worst losses first, then its clearest gains, then the widest spreads among the others.

    A question on which all arms score alike, or which the chosen arm has no score for, is never shown. `attributions`
    are those of `eval.report.attribution.attribute`; with them every answer shows its cause.
    """
    asked = {question.id: question for question in questions}
    found = {(record.arm, record.question_id): record for record in records}
    causes = {(a.arm, question): cause for a in attributions for question, cause in a.causes.items()}
    others = [scores for scores in scorecard.arms if scores.arm.name != chosen]
    leads: dict[int, float] = {}
    spreads: dict[int, float] = {}
    for i, own in enumerate(scorecard.by_name(chosen).scores[scorecard.primary]):
        known = [score for s in others if (score := s.scores[scorecard.primary][i]) is not None]
        if own is not None and known and {own} != set(known):
            leads[i] = own - max(known)
            spreads[i] = max(own, *known) - min(own, *known)
    lost = sorted((i for i in leads if leads[i] < 0), key=lambda i: leads[i])
    rest = sorted((i for i in leads if leads[i] >= 0), key=lambda i: (-leads[i], -spreads[i]))
    return tuple(
        Disagreement(
            question=asked[scorecard.question_ids[i]],
            lead=leads[i],
            answers=tuple(
                _shown(scores, i, scorecard, asked[scorecard.question_ids[i]], found, causes, chosen)
                for scores in sorted(scorecard.arms, key=lambda s: -(s.scores[scorecard.primary][i] or 0.0))
                if scorecard.question_ids[i] not in scores.not_asked
            ),
        )
        for i in (*lost[:num_losses], *rest[:num_others])
    )


def _shown(
    scores: ArmScores,
    i: int,
    scorecard: Scorecard,
    question: Question,
    found: Mapping[tuple[str, str], AnswerRecord],
    causes: Mapping[tuple[str, str], Cause],
    chosen: str,
) -> ArmAnswer:
    record = found.get((scores.arm.name, question.id)) or AnswerRecord(
        scores.arm.name, question.id, "", error="the answer was not kept"
    )
    return ArmAnswer(
        arm=scores.arm.name,
        is_chosen=scores.arm.name == chosen,
        text=record.text,
        score=scores.scores[scorecard.primary][i],
        error=record.error,
        documents=tuple(
            RetrievedDocument(name, name in question.document_ids, name in record.cited_documents)
            for name in dict.fromkeys(record.passage_documents)
        ),
        cause=causes.get((scores.arm.name, question.id)),
    )
