"""Why every answer of every arm is right or wrong: one cause a question, and what to do about each cause.

for found in attribute(scorecard, questions, records):
    found.arm, found.counts["retrieval missed"], found.causes["test-fact-001"]
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from eval.answers import AnswerRecord
from eval.metrics.json import parse_json
from eval.metrics.labels import Labels, kind_of, label_sets
from eval.metrics.text import best_over, contains
from eval.questions import Question
from router.answering.arm import Arm
from router.deciding.scorecard import ArmScores, Scorecard
from router.deciding.statistics import Interval, paired_difference
from router.deciding.utility import RIGHT_AT

Cause = Literal[
    "read correctly",
    "known without help",
    "retrieval missed",
    "reader missed",
    "misled by noise",
    "format wrong",
    "not known",
]
# What each cause means, and what to do about it; those of right answers come first.
CAUSES: Mapping[Cause, tuple[str, str]] = {
    "read correctly": ("right, and a gold document was retrieved", "nothing to do"),
    "known without help": (
        "right without a gold document",
        "nothing to do; where this is most of the right answers, retrieval earns little",
    ),
    "retrieval missed": (
        "wrong, no gold document was retrieved, and the control is wrong too",
        "retrieve better: more passages (top_k), other chunk sizes, a stronger embedder; check that the documents are "
        "indexed",
    ),
    "reader missed": (
        "wrong though a gold document was retrieved, and the control is wrong too",
        "read better: train with retrieved passages (RAFT), change the prompt, use a larger model",
    ),
    "misled by noise": (
        "wrong where the control, which sees no passages, is right",
        "show less noise: fewer passages, a score threshold, or training with distractors",
    ),
    "format wrong": (
        "wrong, though the gold stands in the answer; or no JSON, or no single label, where one is wanted",
        "ask for the form that is wanted: name it in the prompt, show examples (few-shot), train on answers in that "
        "form, or constrain the decoding",
    ),
    "not known": (
        "wrong, and no gold document could help: the arm retrieves no documents, or none is known to hold the answer",
        "give the arm what it lacks: retrieve documents, train on more examples, or use a larger model; name the gold "
        "documents of the questions (doc_ids), so that retrieval can be judged",
    ),
}
FAULTS: tuple[Cause, ...] = tuple(CAUSES)[2:]


@dataclass(frozen=True, slots=True)
class Attribution:
    """One arm's questions by cause; `control` is the arm without an index that says what is known without passages.

    `causes` maps the ids of the questions with a scored answer to their cause, in the scorecard's order; `num_wrong` of
    these answers are wrong, and `counts` has every cause. `num_unknown` were asked and have none: the answer failed,
    was not kept or is unscored. `main_fault` is the most frequent cause of wrong answers, if any is.

    An answer may be wrong where the control's is right by chance alone, and the other way round as often. So of the
    answers that both have a score for, `num_lost` are wrong where the control is right, `num_gained` right where it is
    wrong, and `net` is the difference of the two shares, at the level 1 - alpha. None without a control.
    """

    arm: str
    control: str | None
    causes: Mapping[str, Cause]
    num_unknown: int
    counts: Mapping[Cause, int]
    num_wrong: int
    main_fault: Cause | None
    num_lost: int = 0
    num_gained: int = 0
    net: Interval | None = None


def attribute(
    scorecard: Scorecard, questions: Sequence[Question], records: Sequence[AnswerRecord], *, alpha: float = 0.05
) -> tuple[Attribution, ...]:
    """Every arm's questions by cause, in the scorecard's order.

    Right means a primary score of at least `RIGHT_AT`. The control of an arm with an index is the index-less arm with
    the same adapter, else the base arm; an arm without an index has none. Arms that retrieve worked examples see no
    gold document: none can be among those.
    """
    found = {(record.arm, record.question_id): record for record in records}
    asked = {question.id: question for question in questions}
    labels, ids = label_sets(questions), scorecard.question_ids
    attributions = []
    for scores in scorecard.arms:
        arm, control = scores.arm, _control(scorecard, scores.arm)
        helped = control.scores[scorecard.primary] if control else (None,) * len(ids)
        causes: dict[str, Cause] = {}
        for name, score, known in zip(ids, scores.scores[scorecard.primary], helped, strict=True):
            record = found.get((arm.name, name))
            if score is not None and record is not None and record.error is None:
                causes[name] = attribute_question(
                    asked[name],
                    record,
                    is_right=score >= RIGHT_AT,
                    is_known=known is not None and known >= RIGHT_AT,
                    sees_documents=arm.reads_documents,
                    labels=labels.get(kind_of(asked[name])),
                )
        counts = {cause: list(causes.values()).count(cause) for cause in CAUSES}
        flips = _flips(scorecard, scores, control) if control else []
        net = paired_difference(*zip(*flips, strict=True), margin=0.5, alpha=alpha) if flips else None
        worst = max(FAULTS, key=counts.__getitem__)
        attributions.append(
            Attribution(
                arm=arm.name,
                control=control.arm.name if control else None,
                causes=causes,
                num_unknown=len(ids) - len(scores.not_asked) - len(causes),
                counts=counts,
                num_wrong=sum(counts[fault] for fault in FAULTS),
                main_fault=worst if counts[worst] else None,
                num_lost=sum(after < before for after, before, _ in flips),
                num_gained=sum(after > before for after, before, _ in flips),
                net=Interval(net.mean, net.low, net.high) if net else None,
            )
        )
    return tuple(attributions)


def attribute_question(
    question: Question,
    record: AnswerRecord,
    *,
    is_right: bool,
    is_known: bool = False,
    sees_documents: bool = True,
    labels: Labels | None = None,
) -> Cause:
    """The one cause of an answer.

    `is_known` says that the control, without passages, is right; `sees_documents` that the arm retrieves documents;
    `labels` are those that answers to this question are chosen from, if they are. A wrong form comes before the other
    faults, which cannot be told from such an answer; being misled comes next, for the control shows that the question
    can be answered without passages.
    """
    gold = set(question.document_ids) if sees_documents else set()
    is_retrieved = not gold.isdisjoint(record.passage_documents)
    if is_right:
        return "read correctly" if is_retrieved else "known without help"
    if is_format_wrong(record.text, question.answers, labels):
        return "format wrong"
    if is_known:
        return "misled by noise"
    if not gold:
        return "not known"
    return "reader missed" if is_retrieved else "retrieval missed"


def is_format_wrong(answer: str, golds: Sequence[str], labels: Labels | None = None) -> bool:
    """Whether an answer that is scored as wrong fails by its form.

    Where a gold is a JSON object or array: the answer is not JSON. Where the golds are labels: the answer names the
    gold among other words, or no single label of the set. Else: a gold stands in the answer as whole words.
    """
    if any(parse_json(gold) is not None for gold in golds):
        return not _is_json(answer)
    if labels is not None:
        named = labels.find(answer)
        return named is None or named in {labels.find(gold) for gold in golds}
    return best_over(contains, answer, golds) == 1.0


def _flips(scorecard: Scorecard, scores: ArmScores, control: ArmScores) -> list[tuple[float, float, str]]:
    """Whether an arm, and whether its control, is right, and the document, for each question that both answered."""
    columns = (arm.scores[scorecard.primary] for arm in (scores, control))
    rows = zip(*columns, scorecard.question_ids, scorecard.clusters, strict=True)
    failed = {*scores.errors, *control.errors}
    return [
        (float(own >= RIGHT_AT), float(known >= RIGHT_AT), cluster)
        for own, known, name, cluster in rows
        if own is not None and known is not None and name not in failed
    ]


def _control(scorecard: Scorecard, arm: Arm) -> ArmScores | None:
    if not arm.indexes:
        return None
    others = [scores for scores in scorecard.arms if not scores.arm.indexes]
    return next((s for adapter in (arm.adapter, None) for s in others if s.arm.adapter == adapter), None)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
