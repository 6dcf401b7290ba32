"""What a data folder is divided into: evaluation questions, dev questions and training rows that give neither away.

sets = divide(files, examples, document_ids, needs_dev=False)
sets.questions, sets.dev, sets.examples, sets.notes
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from eval.errors import EvalError
from eval.metrics.labels import kind_of, label_sets
from eval.questions import (
    Question,
    drop_contradictions,
    load_questions,
    merge_repeats,
    plain_turns,
    split_by_document,
)
from eval.repeats import NEAR_PERCENT, find_exact_repeats, find_near_repeats
from storage.errors import listed
from tuning.data.formats.given import Columns, Context

# The share of one file that is evaluated on, and the share of the training rows that become dev questions. A decision
# is limited by its questions before an adapter is by its rows.
TEST_SHARE = 0.3
DEV_SHARE = 0.15
# Not the run's seed: another seed must train other weights, not ask other questions.
_SPLIT_SEED = 0

# A note is no error: a few examples say what was meant.
_SHOWN_NEAR = 2

OnFault = Literal["refuse", "drop"]
OnNear = Literal["drop", "keep"]
Rows = tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class QuestionFiles:
    """Where a folder has questions: in a file of their own (`test`), else in one that is split (`pool`).

    `dev` holds questions to search settings on, `guard` those that a training must not spoil the answers to.
    """

    folder: Path
    test: Path | None = None
    pool: Path | None = None
    dev: Path | None = None
    guard: Path | None = None


@dataclass(frozen=True, slots=True)
class QuestionSets:
    """Questions to evaluate, to search settings on and to guard a training, and the training rows that are left.

    `notes` says what was done to the rows. `contexts` are the texts that came with any row that was read, used or not:
    they are documents.
    """

    questions: tuple[Question, ...] = ()
    dev: tuple[Question, ...] = ()
    examples: tuple[Question, ...] = ()
    notes: tuple[str, ...] = ()
    guard: tuple[Question, ...] = ()
    contexts: tuple[Context, ...] = ()


def divide(
    files: QuestionFiles,
    examples: Sequence[Question],
    *,
    trains: bool = True,
    needs_dev: bool = False,
    contradictions: OnFault = "refuse",
    repeats: OnFault = "refuse",
    near_repeats: OnNear = "drop",
    columns: Columns | None = None,
) -> QuestionSets:
    """Read the questions and keep the sets apart.

    `examples` are the rows of the training file, where it is not the one that is split; without `trains` none are kept.
    Without `files.dev`, dev questions are taken out of the training rows by source document. `contradictions` are
    questions asked twice with no gold in common, `repeats` training and dev rows that ask an evaluation question,
    `near_repeats` those that nearly do; `columns` say which hold which part of a row.

    Raises EvalError for faulty rows, what is to be refused, and files that cannot be divided.
    """
    notes: list[str] = []
    contexts = _contexts_in(examples)
    folder = f"data folder {str(files.folder)!r}"
    rows = tuple(examples)

    def load(path: Path, called: str) -> Rows:
        found = load_questions(path, columns, refuse_contradictions=contradictions == "refuse", say=notes.append)
        contexts.update(_contexts_in(found))
        return _without_contradictions(found, called, notes) if contradictions == "drop" else found

    if files.test is not None:
        asked = load(files.test, "evaluation")
    elif files.pool is not None:
        rows, asked = _split(load(files.pool, "evaluation"), folder, files.pool.name, notes)
    else:
        return QuestionSets(examples=rows, contexts=tuple(contexts.values()))
    asked = _asked(_merge(asked, "evaluation", notes))
    dev: tuple[Question, ...] = ()
    if needs_dev and files.dev is not None:
        dev = load(files.dev, "dev")
    elif needs_dev:
        rows, dev = _take_dev(rows, folder, notes)
    dev = _asked(_merge(dev, "dev", notes))
    rows = rows if trains else ()
    # A dev question that is evaluated on would choose the settings by what they are to be judged by.
    dev, left_out = leave_out_leaks(dev, asked, called="dev", repeats=repeats, near=near_repeats)
    guard = () if files.guard is None else _asked(_merge(load(files.guard, "guard"), "guard", notes))
    guard, unguarded = leave_out_leaks(guard, asked, called="guard", repeats=repeats, near=near_repeats)
    kept, untrained = leave_out_leaks(rows, asked, called="training", repeats=repeats, near=near_repeats)
    if rows and not kept:
        raise EvalError(f"{folder}: every training row nearly repeats an evaluation question; give other rows")
    kept, also_untrained = leave_out_leaks(kept, dev, called="training", of="a dev", repeats=repeats, near=near_repeats)
    if rows and not kept:
        raise EvalError(f"{folder}: every training row that is left nearly repeats a dev question; give other rows")
    all_notes = (*notes, *left_out, *unguarded, *untrained, *also_untrained)
    return QuestionSets(asked, dev, kept, all_notes, guard, tuple(contexts.values()))


def _asked(rows: Rows) -> Rows:
    """The rows as questions, of which nothing is learned."""
    return tuple(replace(row, learned=()) for row in rows)


def _contexts_in(rows: Sequence[Question]) -> dict[str, Context]:
    return {context.id: context for row in rows for context in row.contexts}


def make_sets(
    asked: Rows, train: Rows, dev: Rows, *, train_share: float | None = None
) -> tuple[QuestionSets, tuple[str, ...]]:
    """Sets that `divide` takes as they are, out of those of a data set, and what was done, a line each.

    Without `train`, a share of the questions is trained on, split off by source document: as many as `divide` would for
    None, where there are enough documents. Questions that contradict each other become training rows, which may; rows
    that repeat a question are left out. Raises EvalError where a share is given and cannot be split off.
    """
    notes: list[str] = []
    share = 1 - TEST_SHARE if train_share is None else train_share
    if not 0 <= share < 1:
        raise EvalError(f"the share of training rows must be in [0, 1), not {share!r}")
    if not train and share:
        try:
            train, asked = split_by_document(asked, (share, 1 - share), seed=_SPLIT_SEED)
            notes.append(
                f"{len(train)} rows are for training and {len(asked)} for evaluation, split by source document; "
                "--train-share sets the share"
            )
        except EvalError as error:
            if train_share is not None:
                raise
            notes.append(f"no row is for training: {error}")
    kept, disputed = drop_contradictions(asked)
    if disputed:
        ids, taken = set(disputed), {row.id for row in train}
        moved = (replace(row, id=f"test-{row.id}") if row.id in taken else row for row in asked if row.id in ids)
        train, asked = (*train, *moved) if share else train, kept
        names = listed(map(repr, disputed), separator=", ")
        are = "are training rows" if share else "are left out"
        notes.append(f"{len(disputed)} questions that contradict another one {are}: {names}")
    asked = _asked(asked)
    dev = _without(_asked(dev), asked, "dev", "an evaluation", notes)
    train = _without(train, asked, "training", "an evaluation", notes)
    train = _without(train, dev, "training", "a dev", notes)
    return QuestionSets(asked, dev, train), tuple(notes)


def leave_out_leaks(
    rows: Sequence[Question],
    questions: Sequence[Question],
    *,
    called: str,
    of: str = "an evaluation",
    repeats: OnFault = "refuse",
    near: OnNear = "drop",
) -> tuple[tuple[Question, ...], tuple[str, ...]]:
    """The rows that give no question away, in their order, and what was left out, a line each.

    An adapter trained on a row that repeats a question (case and punctuation aside) wins by memory, so the comparison
    would be worthless: such rows raise EvalError unless they are to be dropped. Near repeats are left out unless they
    are to be kept. `called` says which rows these are, and `of` which questions.
    """
    notes: list[str] = []
    found = find_exact_repeats(rows, questions)
    pairs = listed((f"{row!r} repeats {question!r}" for row, question in found.items()), separator=", ")
    if found and repeats == "refuse":
        raise EvalError(
            f"{len(found)} {called} rows repeat {of} question: {pairs}; remove them from one of the files, or "
            f"leave them out of the {called} rows with limits.repeats=drop"
        )
    if found:
        what = f"{len(found)} {called} rows that repeat {of} question are left out (limits.repeats=drop)"
        notes.append(f"{what}: {pairs}")
    kept = [row for row in rows if row.id not in found]
    alike = find_near_repeats(kept, questions)
    if alike:
        plural, are = ("s", "are") if len(alike) > 1 else ("", "is")
        done = "left out" if near == "drop" else "kept"
        kinds = {*label_sets(kept), *label_sets(questions)}
        of_labels = _by_label([row for row in kept if row.id in alike and kind_of(row) in kinds])
        pairs = listed(
            (f"{row!r} ({question!r}, {percent:.0f}%)" for row, (question, percent) in alike.items()),
            separator=", ",
            shown=_SHOWN_NEAR,
        )
        notes.append(
            f"{len(alike)} {called} row{plural} {are} {done}, at least {NEAR_PERCENT:.0f}% the same as {of} "
            f"question with the same answer (limits.near_repeats={near}{of_labels}): {pairs}"
        )
    return tuple(row for row in kept if near == "keep" or row.id not in alike), tuple(notes)


def _without(rows: Rows, questions: Rows, called: str, of: str, notes: list[str]) -> Rows:
    """The rows that do not ask what a question asks."""
    asked = {plain_turns(question) for question in questions}
    kept = tuple(row for row in rows if asked.isdisjoint(map(plain_turns, row.exchanges)))
    if len(kept) < len(rows):
        notes.append(f"{called} rows that repeat {of} question, left out: {len(rows) - len(kept)}")
    return kept


def _by_label(rows: Sequence[Question]) -> str:
    """How many rows have each label."""
    counts = Counter(row.answer for row in rows)
    of_each = listed((f"{label} {count}" for label, count in counts.most_common()), separator=", ")
    return f"; of each label: {of_each}" if counts else ""


def _without_contradictions(questions: Rows, called: str, notes: list[str]) -> Rows:
    kept, gone = drop_contradictions(questions)
    if gone:
        notes.append(
            f"{len(gone)} {called} questions that contradict another one are left out "
            f"(limits.contradictions=drop): {listed(map(repr, gone), separator=', ')}"
        )
    return kept


def _split(rows: Rows, folder: str, name: str, notes: list[str]) -> tuple[Rows, Rows]:
    """Training rows and evaluation questions out of the one file that holds both."""
    try:
        train, asked = split_by_document(rows, (1 - TEST_SHARE, TEST_SHARE), seed=_SPLIT_SEED)
    except EvalError as error:
        raise EvalError(
            f"{folder} has no test.jsonl (evaluation questions), and {name}: {error}; add test.jsonl"
        ) from error
    notes.append(
        f"{name} is split by source document into {len(train)} training rows and {len(asked)} evaluation questions; "
        "add test.jsonl to choose them yourself"
    )
    # Where each label is a document of its own, keeping documents whole keeps labels out of the training rows.
    kinds = label_sets((*train, *asked))
    known = {(kind_of(row), answer) for row in train for answer in row.answers}
    labelled = [row for row in asked if kind_of(row) in kinds]
    unseen = [row for row in labelled if not any((kind_of(row), answer) in known for answer in row.answers)]
    if unseen:
        notes.append(
            f"{len(unseen)} of {len(labelled)} evaluation questions have a label that no training row has, because "
            "source documents are kept whole; add test.jsonl where the labels are to be learned"
        )
    return train, asked


def _take_dev(rows: Rows, folder: str, notes: list[str]) -> tuple[Rows, Rows]:
    if not rows:
        raise EvalError(f"{folder} has no dev.jsonl and no train.jsonl to take dev questions from; add one")
    # Training rows may well contradict each other; only golds that are scored against must not.
    try:
        left, dev = split_by_document(rows, (1 - DEV_SHARE, DEV_SHARE), seed=_SPLIT_SEED)
    except EvalError as error:
        raise EvalError(f"{folder} has no dev.jsonl, and of the training rows {error}; add dev.jsonl") from error
    notes.append(f"{len(dev)} of {len(rows)} training rows, of source documents of their own, are dev questions")
    return left, dev


def _merge(questions: tuple[Question, ...], called: str, notes: list[str]) -> tuple[Question, ...]:
    merged, gone = merge_repeats(questions)
    if gone:
        plural, are = ("s", "are") if len(gone) > 1 else ("", "is")
        pairs = (f"{row!r} into {first!r}" for row, first in gone)
        notes.append(
            f"{len(gone)} {called} question{plural} asked before {are} merged: {listed(pairs, separator=', ')}"
        )
    return merged
