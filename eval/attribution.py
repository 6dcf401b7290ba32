"""Why an arm with documents failed, question by question, and what to do about each cause.

for found in attribute(scorecard, questions, records):
    found.arm, found.counts["retrieval missed"]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from eval.answers import AnswerRecord
from eval.questions import Question
from router.arm import Arm
from router.scorecard import ArmScores, Scorecard

# A primary score from here on counts as right. It is where token F1 says that half of answer and gold is shared; for a
# binary metric any value in (0, 1] means the same.
RIGHT_AT = 0.5

Cause = Literal[
    "read correctly",
    "known without help",
    "retrieval missed",
    "reader missed",
    "misled by noise",
]
CAUSES: tuple[Cause, ...] = get_args(Cause)
FAULTS: tuple[Cause, ...] = ("retrieval missed", "reader missed", "misled by noise")

MEANING: Mapping[Cause, str] = {
    "read correctly": "right, and a gold document was retrieved",
    "known without help": "right, though no gold document was retrieved",
    "retrieval missed": "wrong, no gold document was retrieved, and the control is wrong too",
    "reader missed": "wrong though a gold document was retrieved, and the control is wrong too",
    "misled by noise": "wrong where the control, which sees no passages, is right",
}
NEXT_ACTION: Mapping[Cause, str] = {
    "read correctly": "nothing to do",
    "known without help": "nothing to do; where this is most of the right answers, retrieval earns little",
    "retrieval missed": "retrieve better: more passages (top_k), other chunk sizes, a stronger embedder; check that "
    "the documents are indexed",
    "reader missed": "read better: train with retrieved passages (RAFT), change the prompt, use a larger model",
    "misled by noise": "show less noise: fewer passages, a score threshold, or training with distractors",
}


@dataclass(frozen=True, slots=True)
class Attribution:
    """One arm's questions by cause; `control` is the arm without an index that says what is known without passages.

    `counts` has every cause. `num_unknown` counts questions left out: no gold document known, or the answer unscored.
    """

    arm: str
    control: str | None
    counts: Mapping[Cause, int]
    num_unknown: int

    @property
    def num_known(self) -> int:
        """Questions with a cause."""
        return sum(self.counts.values())

    @property
    def num_wrong(self) -> int:
        """Questions with a cause whose answer is wrong."""
        return sum(self.counts[fault] for fault in FAULTS)

    @property
    def main_fault(self) -> Cause | None:
        """The most frequent cause of wrong answers, None when every answer is right."""
        worst = max(FAULTS, key=lambda cause: self.counts[cause])
        return worst if self.counts[worst] else None


def attribute(
    scorecard: Scorecard, questions: Sequence[Question], records: Sequence[AnswerRecord], *, right_at: float = RIGHT_AT
) -> tuple[Attribution, ...]:
    """The arms that retrieve documents, in the scorecard's order; empty when no question names its gold documents.

    Right means a primary score of at least `right_at`. The control is the index-less arm with the same adapter, else
    the base arm. Arms that retrieve worked examples are left out: no gold document can be among those.
    """
    if not any(question.document_ids for question in questions):
        return ()
    found = {(record.arm, record.question_id): record for record in records}
    asked = {question.id: question for question in questions}
    return tuple(
        _attribution(scorecard, scores, _control(scorecard, scores.arm), asked, found, right_at)
        for scores in scorecard.arms
        if _retrieves_documents(scores.arm)
    )


def _retrieves_documents(arm: Arm) -> bool:
    return arm.index is not None and arm.prompt.passages == "context"


def _control(scorecard: Scorecard, arm: Arm) -> ArmScores | None:
    without_index = [scores for scores in scorecard.arms if scores.arm.index is None]
    same_adapter = [scores for scores in without_index if scores.arm.adapter == arm.adapter]
    base = [scores for scores in without_index if scores.arm.adapter is None]
    return next(iter(same_adapter + base), None)


def _attribution(
    scorecard: Scorecard,
    scores: ArmScores,
    control: ArmScores | None,
    questions: Mapping[str, Question],
    records: Mapping[tuple[str, str], AnswerRecord],
    right_at: float,
) -> Attribution:
    counts: Counter[Cause] = Counter()
    for i, question_id in enumerate(scorecard.question_ids):
        gold = set(questions[question_id].document_ids)
        score = scores.scores[scorecard.primary][i]
        record = records.get((scores.arm.name, question_id))
        if not gold or score is None or record is None:
            continue
        known = control.scores[scorecard.primary][i] if control else None
        counts[
            cause_of(
                is_right=score >= right_at,
                is_retrieved=not gold.isdisjoint(record.passage_documents),
                is_known=known is not None and known >= right_at,
            )
        ] += 1
    return Attribution(
        arm=scores.arm.name,
        control=control.arm.name if control else None,
        counts={cause: counts[cause] for cause in CAUSES},
        num_unknown=len(scorecard.question_ids) - counts.total(),
    )


def cause_of(*, is_right: bool, is_retrieved: bool, is_known: bool) -> Cause:
    """The one cause of an answer; `is_known` says that the control, without passages, is right.

    Being misled comes before the other faults: the control shows that the question can be answered without passages.
    """
    if is_right:
        return "read correctly" if is_retrieved else "known without help"
    if is_known:
        return "misled by noise"
    return "reader missed" if is_retrieved else "retrieval missed"
