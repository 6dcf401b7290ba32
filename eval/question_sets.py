"""What a data folder is divided into: evaluation questions, dev questions and training rows that give neither away.

sets = divide(files, examples, document_ids, needs_dev=False)
sets.questions, sets.dev, sets.examples, sets.notes
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from eval.errors import EvalError, listed
from eval.leaks import Row, describe, leave_out_near_repeats, leave_out_repeats, refuse_leaks
from eval.metrics.labels import kind_of, label_sets
from eval.questions import (
    Question,
    as_example,
    as_question,
    clusters_of,
    drop_contradictions,
    load_questions,
    merge_repeats,
)
from eval.splits import split_by_document
from tuning.data.examples import Example

# The share of one file that is evaluated on, and the share of the training rows that become dev questions. A decision
# is limited by its questions before an adapter is by its rows.
TEST_SHARE = 0.3
DEV_SHARE = 0.15
# Not the run's seed: another seed must train other weights, not ask other questions.
_SPLIT_SEED = 0

OnFault = Literal["refuse", "drop"]


@dataclass(frozen=True, slots=True)
class QuestionFiles:
    """Where a folder has questions: in a file of their own (`test`), else in one that is split (`pool`).

    `dev` holds questions to search settings on.
    """

    folder: Path
    test: Path | None = None
    pool: Path | None = None
    dev: Path | None = None


@dataclass(frozen=True, slots=True)
class QuestionSets:
    """Questions to evaluate and to search settings on, and the training rows that are left.

    `notes` says what was done to the rows. `clusters` maps question ids to what the statistics resample by.
    """

    questions: tuple[Question, ...] = ()
    dev: tuple[Question, ...] = ()
    examples: tuple[Example, ...] = ()
    clusters: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def divide(
    files: QuestionFiles,
    examples: Sequence[Example],
    document_ids: Collection[str],
    *,
    trains: bool = True,
    needs_dev: bool = False,
    contradictions: OnFault = "refuse",
    repeats: OnFault = "refuse",
) -> QuestionSets:
    """Read the questions and keep the sets apart.

    `examples` are the rows of the training file, where it is not the one that is split; without `trains` none are kept.
    Without `files.dev`, dev questions are taken out of the training rows by source document. `contradictions` are
    questions asked twice with no gold in common, `repeats` training and dev rows that ask an evaluation question.

    Raises EvalError for faulty rows, what is to be refused, and files that cannot be divided.
    """
    divider = _Divider(files, contradictions, repeats)
    return divider.divide(tuple(examples), document_ids, trains=trains, needs_dev=needs_dev)


@dataclass(slots=True)
class _Divider:
    """Collects the notes on the way."""

    files: QuestionFiles
    contradictions: OnFault
    repeats: OnFault
    notes: list[str] = field(default_factory=list)

    @property
    def has_no(self) -> str:
        return f"data folder {str(self.files.folder)!r} has no"

    def divide(
        self, examples: tuple[Example, ...], document_ids: Collection[str], *, trains: bool, needs_dev: bool
    ) -> QuestionSets:
        files = self.files
        if files.test is not None:
            asked = self._load(files.test, "evaluation")
        elif files.pool is not None:
            train, asked = self._split(files.pool)
            examples = tuple(map(as_example, train))
        else:
            return QuestionSets(examples=examples)
        asked = self._merge(asked, "evaluation")
        dev: tuple[Question, ...] = ()
        if needs_dev and files.dev is not None:
            dev = self._merge(self._load(files.dev, "dev"), "dev")
        elif needs_dev:
            dev = self._take_dev(examples)
            taken = {question.id for question in dev}
            examples = tuple(example for example in examples if example.id not in taken)
            dev = self._merge(dev, "dev")
        examples = examples if trains else ()
        # A dev question that is evaluated on would choose the settings by what they are to be judged by.
        dev = self._keep_apart(dev, asked, "dev")
        kept = self._keep_apart(examples, (*asked, *dev), "training")
        if examples and not kept:
            raise EvalError(
                f"data folder {str(files.folder)!r}: every training row nearly repeats an evaluation question; give "
                "other rows"
            )
        # Taken over all questions: a sample of them may leave documents out. Without documents nothing is known.
        clusters = clusters_of(asked, document_ids) if document_ids else {}
        return QuestionSets(asked, dev, kept, clusters, tuple(self.notes))

    def _load(self, path: Path, called: str) -> tuple[Question, ...]:
        questions = load_questions(path, refuse_contradictions=self.contradictions == "refuse")
        if self.contradictions == "refuse":
            return questions
        questions, gone = drop_contradictions(questions)
        if gone:
            self.notes.append(
                f"{len(gone)} {called} questions that contradict another one are left out "
                f"(limits.contradictions=drop): {listed(map(repr, gone), separator=', ')}"
            )
        return questions

    def _split(self, path: Path) -> tuple[tuple[Question, ...], tuple[Question, ...]]:
        """Training rows and evaluation questions out of the one file that holds both."""
        rows = self._load(path, "evaluation")
        try:
            train, asked = split_by_document(rows, (1 - TEST_SHARE, TEST_SHARE), seed=_SPLIT_SEED)
        except EvalError as error:
            raise EvalError(
                f"{self.has_no} test.jsonl (evaluation questions), and {path.name}: {error}; add test.jsonl"
            ) from error
        self.notes.append(
            f"{path.name} is split by source document into {len(train)} training rows and {len(asked)} evaluation "
            "questions; add test.jsonl to choose them yourself"
        )
        self._note_unseen_labels(train, asked)
        return train, asked

    def _note_unseen_labels(self, train: Sequence[Question], asked: Sequence[Question]) -> None:
        """Where each label is a document of its own, keeping documents whole keeps labels out of the training rows."""
        kinds = label_sets((*train, *asked))
        known = {(kind_of(row), answer) for row in train for answer in row.answers}
        labelled = [row for row in asked if kind_of(row) in kinds]
        unseen = [row for row in labelled if not any((kind_of(row), answer) in known for answer in row.answers)]
        if unseen:
            self.notes.append(
                f"{len(unseen)} of {len(labelled)} evaluation questions have a label that no training row has, because "
                "source documents are kept whole; add test.jsonl where the labels are to be learned"
            )

    def _take_dev(self, examples: Sequence[Example]) -> tuple[Question, ...]:
        if not examples:
            raise EvalError(f"{self.has_no} dev.jsonl and no train.jsonl to take dev questions from; add one")
        # Training rows may well contradict each other; only golds that are scored against must not.
        pool = [as_question(example) for example in examples]
        try:
            _, dev = split_by_document(pool, (1 - DEV_SHARE, DEV_SHARE), seed=_SPLIT_SEED)
        except EvalError as error:
            raise EvalError(f"{self.has_no} dev.jsonl, and of the training rows {error}; add dev.jsonl") from error
        self.notes.append(
            f"{len(dev)} of {len(pool)} training rows, of source documents of their own, are dev questions"
        )
        return dev

    def _merge(self, questions: tuple[Question, ...], called: str) -> tuple[Question, ...]:
        merged, gone = merge_repeats(questions)
        if gone:
            plural, are = ("s", "are") if len(gone) > 1 else ("", "is")
            pairs = (f"{row!r} into {first!r}" for row, first in gone)
            self.notes.append(
                f"{len(gone)} {called} question{plural} asked before {are} merged: {listed(pairs, separator=', ')}"
            )
        return merged

    def _keep_apart(self, rows: tuple[Row, ...], asked: Sequence[Question], called: str) -> tuple[Row, ...]:
        """The rows that give no question away."""
        if self.repeats == "refuse":
            refuse_leaks(rows, asked, called=called)
        rows, repeats = leave_out_repeats(rows, asked)
        if repeats:
            pairs = (f"{row!r} ({question!r})" for row, question in repeats)
            self.notes.append(
                f"{len(repeats)} {called} rows that repeat an evaluation question are left out (limits.repeats=drop): "
                f"{listed(pairs, separator=', ')}"
            )
        kept, near = leave_out_near_repeats(rows, asked)
        if near:
            self.notes.append(describe(near, called=called))
        return kept
