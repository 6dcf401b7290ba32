"""A data folder: documents to index, examples to train on, questions to evaluate and to search settings on.

docs.jsonl, docs/ or docs.zip   train.jsonl   test.jsonl   dev.jsonl
docs.jsonl, docs/ or docs.zip   questions.jsonl               one file, split by source document
guard.jsonl                     what a training that is looked at must not spoil
pairs.jsonl                     preferences, where they are not the rows of train.jsonl

Rows may be in any format of `tuning.data.formats`, in files of any kind that `tuning.data.table_files` reads,
laid out as `tuning.data.layouts` finds them. Each part may be missing: what cannot be asked without it is left out.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from arbiter.config.schema import Config
from arbiter.config.sections import ArmConfig, LimitsConfig
from arbiter.learned import PARTS, LearnedPart, learned_part
from arbiter.preferences import Preferences, load_preferences
from eval.contexts import place_contexts
from eval.generated import REVIEW
from eval.metrics.labels import Labels, label_sets
from eval.question_sets import QuestionFiles, QuestionSets, divide
from eval.questions import Question, are_documents_given
from rag.documents.conversions import Conversions
from rag.documents.document import Document
from rag.documents.load import Loaded, Skipped, load_documents
from rag.documents.sources import KINDS
from storage.errors import ArbiterError, listed, reason_of
from storage.hashes import content_hash
from tuning.data.examples import learned_rows, load_examples, sample, scan_examples
from tuning.data.formats.given import Columns, Context
from tuning.data.layouts import Part, find_part, is_there, only_rows, rows_not_read
from tuning.objectives.drawn import reward_of

T = TypeVar("T")

DOCUMENTS = ("docs.jsonl", "docs", "docs.zip", "docs.csv")
_SHOWN = 8
_TITLE_CHARS = 400
# A longer text may be cut into several passages, of which each says only a part of the question.
_WHOLE_CHARS = 100
_OTHERS: tuple[Part, ...] = ("questions", "dev", "guard", "pairs")


class Faults:
    """Errors for a person that are collected, in the order in which they were met, so that all are said at once."""

    def __init__(self) -> None:
        self.found: list[ArbiterError] = []

    def attempt(self, work: Callable[[], T], otherwise: T) -> T:
        """What `work` gives, or `otherwise` with its error kept."""
        try:
            return work()
        except ArbiterError as error:
            self.found.append(error)
            return otherwise

    def raise_any(self) -> None:
        """Raise the one fault as it is, several as one ArbiterError."""
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            raise ArbiterError(f"{len(self.found)} faults: {'; '.join(map(str, self.found))}")


@dataclass(frozen=True, slots=True)
class Data:
    """What a run works on, after the config's limits. `version` hashes the content of all of it.

    `dev` holds the questions that settings are searched on and trainings are looked at with, `guard` those that a
    training must not spoil; both are empty unless they were asked for. `notes` says what was
    done to the rows: splits, rows that were left out or merged. `documents_given` says whether every
    document is asked about. `variant` ends the name: what is indexed under it leaves the data's own indexes alone.
    `strays` are what may have been meant as documents where there are none. `preferences` are read where they are
    asked for. `mixed` are rows of other folders that adapters learn besides, by their keys (`arbiter.mixing`). `labels`
    are those of each kind of question, before the limits; None finds them in the rows that are left.
    """

    folder: Path
    documents: tuple[Document, ...]
    skipped: tuple[Skipped, ...]
    examples: tuple[Question, ...]
    questions: tuple[Question, ...]
    dev: tuple[Question, ...] = ()
    guard: tuple[Question, ...] = ()
    notes: tuple[str, ...] = ()
    documents_given: bool = False
    variant: str = ""
    strays: tuple[str, ...] = ()
    preferences: Preferences = field(default_factory=Preferences)
    mixed: Mapping[str, tuple[Question, ...]] = field(default_factory=dict)
    labels: Mapping[str | None, Labels] | None = field(default=None, compare=False)

    @property
    def label_sets(self) -> Mapping[str | None, Labels]:
        """The labels of each kind of question that has labels."""
        return label_sets(self.questions, self.examples) if self.labels is None else self.labels

    @property
    def name(self) -> str:
        """The folder's name and a hash of where it lies, so that two folders of one name stay apart."""
        safe = re.sub(r"[^A-Za-z0-9._-]+", "-", self.folder.name).strip(".-") or "data"
        return f"{safe}-{hashlib.sha256(str(self.folder).encode()).hexdigest()[:6]}{self.variant}"

    @property
    def version(self) -> str:
        """sha256 over all rows, whatever files they came from; dev and guard questions count where they are used."""
        rows = [*map(repr, self.documents), *(row.content for row in (*self.examples, *self.questions))]
        for called, used in (("dev", self.dev), ("guard", self.guard)):
            rows += [called, *(row.content for row in used)] if used else []
        rows += [repr(self.preferences)] if self.preferences != Preferences() else []
        for key, mixed in self.mixed.items():
            rows += ["mixed", key, *(row.content for row in mixed)]
        return content_hash(*rows)


def load_data(
    folder: Path,
    limits: LimitsConfig = LimitsConfig(),
    *,
    seed: int = 0,
    trains: bool = True,
    needs_questions: bool = True,
    needs_dev: bool = False,
    takes_dev: bool = True,
    needs_preferences: bool = False,
    conversions: Conversions | None = None,
) -> Data:
    """Load and check a data folder; rows over the limits are sampled with `seed`.

    Without test.jsonl, the rows of questions.jsonl or train.jsonl are split by source document, always in the same way.
    Training rows are read only when something is trained or retrieved from them (`trains`), dev and guard questions
    only when asked for (`needs_dev`), out of the training rows if they have no file and `takes_dev`; preferences only
    with `needs_preferences`. `conversions` keeps the texts of files that need converting.

    Raises ArbiterError for a missing folder, and for missing questions if those are needed (`needs_questions`); for the
    faults of the parts, which are all said at once.
    """
    folder = find_folder(folder)
    files = _question_files(folder, needs_questions=needs_questions, needs_dev=needs_dev)
    faults = Faults()
    documents = faults.attempt(lambda: find_documents(folder), None)
    loaded = Loaded((), ())
    if documents is not None:
        loaded = faults.attempt(lambda: load_documents(documents, cache=conversions), loaded)
    rows: tuple[Question, ...] | None = ()
    read: list[str] = []
    training = find_part(folder, "train")
    needs_dev = needs_dev and (takes_dev or files.dev is not None)
    is_needed = trains or (needs_dev and files.dev is None)
    if training is not None and files.pool is None and is_needed:
        rows = faults.attempt(lambda: load_examples(training, limits.columns, say=read.append), None)
    sets = faults.attempt(
        lambda: divide(
            files,
            rows or (),
            trains=trains,
            # Rows that cannot be read give no dev questions, and one fault is enough.
            needs_dev=needs_dev and (rows is not None or files.dev is not None),
            contradictions=limits.contradictions,
            repeats=limits.repeats,
            near_repeats=limits.near_repeats,
            columns=limits.columns,
        ),
        QuestionSets(),
    )
    preferences: tuple[Preferences, tuple[str, ...]] = Preferences(), ()
    if needs_preferences:
        preferences = faults.attempt(lambda: load_preferences(folder, sets, limits, seed=seed), preferences)
    faults.raise_any()
    unread = _unread_contexts(folder, limits.columns, is_trained=is_needed or files.pool == training, is_dev=needs_dev)
    every = place_contexts(loaded.documents, (*sets.contexts, *unread))
    notes = [*read, *sets.notes, *every.notes, *(note for note in preferences[1] if note not in read)]
    if files.test is not None and (pool := find_part(folder, "questions")) is not None:
        notes.insert(0, f"{pool.name} is not read, since there is a {files.test.name}")
    known = (files.test, files.pool, training, *(find_part(folder, part) for part in _OTHERS))
    # A promptfoo config says itself which of the files beside it hold its tests.
    names_files = files.test is not None and files.test.name.startswith("promptfooconfig")
    if not names_files and (strange := rows_not_read(folder, [path for path in known if path is not None])):
        notes.append(f"not read as rows, since no part of a folder is called so: {listed(strange, separator=', ')}")
    examples = learned_rows(every.renamed(sets.examples))
    if len(examples) > len(sets.examples):
        notes.append(f"{len(sets.examples)} training rows hold {len(examples)} answers, each of which is learned")
    questions = every.renamed(sets.questions)
    return Data(
        folder=folder,
        documents=every.documents,
        skipped=loaded.skipped,
        examples=sample(examples, limits.train_rows, seed),
        questions=sample(questions, limits.questions, seed),
        dev=every.renamed(sets.dev),
        guard=every.renamed(sets.guard),
        notes=tuple(notes),
        # Taken over all questions: a sample of them may leave documents out.
        documents_given=are_documents_given(questions, {document.id for document in every.documents}),
        preferences=preferences[0],
        strays=_strays(folder) if not every.documents else (),
        # Of few questions each may have a label of its own.
        labels=label_sets(questions, examples),
    )


def find_folder(folder: Path) -> Path:
    """The data folder's full path. Raises ArbiterError when it is not there, empty or not to be read."""
    folder = folder.expanduser().resolve()
    wanted = "docs.jsonl or docs/, train.jsonl and test.jsonl"
    try:
        if not folder.is_dir():
            raise ArbiterError(f"no data folder {str(folder)!r}; give one with {wanted}")
        first = next(folder.iterdir(), None)
        if first is None:
            raise ArbiterError(f"data folder {str(folder)!r} is empty; it needs {wanted}")
        first.lstat()  # a folder may be listed and not entered
    except OSError as error:
        raise ArbiterError(f"cannot read data folder {str(folder)!r}: {reason_of(error, '+rx')}") from error
    return folder


def find_documents(folder: Path) -> Path | None:
    """Where a data folder has its documents, if it has any. Raises ArbiterError when that is open."""
    found = [path for name in DOCUMENTS if is_there(path := folder / name)]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise ArbiterError(f"data folder {str(folder)!r} has documents in {names}; put them into one of these")
    return found[0] if found else None


def needs_examples(config: Config) -> bool:
    """Whether some arm is trained on examples or retrieves them."""
    return any("examples" in _needs(config, arm) for arm in config.arms.values())


def needs_preferences(config: Config) -> bool:
    """Whether some arm is trained on what people thought of answers."""
    return any({"pairs", "rated"} & _needs(config, arm) for arm in config.arms.values())


def askable_arms(config: Config, data: Data) -> tuple[Config, tuple[str, ...]]:
    """The config without the arms that need a part which the data lacks, and a note for each such part.

    Raises ArbiterError when no arm is left.
    """
    have: dict[LearnedPart, Sequence[object]] = {"documents": data.documents, "examples": data.examples}
    have |= {"pairs": data.preferences.pairs, "rated": data.preferences.rated}
    lacks = [part for part, rows in have.items() if not rows]
    kept = {name: arm for name, arm in config.arms.items() if not _needs(config, arm).intersection(lacks)}
    notes = []
    for part in lacks:
        names = [name for name, arm in config.arms.items() if part in _needs(config, arm)]
        if names:
            strays = listed(data.strays, separator=", ", shown=_SHOWN) if part == "documents" else ""
            hint = f"; documents are read from docs/, so move there what is meant of {strays}" if strays else ""
            notes.append(f"no {PARTS[part]}, so these arms are left out: {', '.join(names)}{hint}")
    if not kept:
        raise ArbiterError(f"data folder {str(data.folder)!r}: no arm can be asked: {'; '.join(notes)}")
    return config.model_copy(update={"arms": kept}), tuple(notes)


def unread_guard(folder: Path) -> tuple[str, ...]:
    """A note where guard rows lie, for trainings of which none is looked at."""
    if find_part(folder, "guard") is None:
        return ()
    return ("guard.jsonl guards nothing: set keep or patience of an adapter, so that its training is looked at",)


def examples_as_documents(examples: Sequence[Question]) -> tuple[Document, ...]:
    """Training rows as an index holds them: the question is searched, after the one before it in its conversation; the
    answer and the exchange before ride along for few-shot prompts.
    """
    return tuple(_as_document(example) for example in examples)


def _as_document(example: Question) -> Document:
    metadata: dict[str, object] = {"answer": example.answer}
    if len(example.text) > _WHOLE_CHARS:
        metadata["question"] = example.text
    before: list[Mapping[str, object]] = [{}, {}, *example.history]
    asked, said = before[-2:]
    if (asked.get("role"), said.get("role")) != ("user", "assistant"):
        return Document(example.id, "", example.text, metadata)
    metadata["before"] = [str(asked["content"]), str(said["content"])]
    # A follow-up seldom says what it is about; the title is searched too, and not shown.
    return Document(example.id, str(asked["content"])[-_TITLE_CHARS:], example.text, metadata)


def _question_files(folder: Path, *, needs_questions: bool, needs_dev: bool) -> QuestionFiles:
    """Where the questions of a folder are. Raises ArbiterError when that is open, or nowhere if they are needed."""
    test, train = find_part(folder, "test"), find_part(folder, "train")
    pool = find_part(folder, "questions") if test is None else None
    dev = find_part(folder, "dev") if needs_dev else None
    guard = find_part(folder, "guard") if needs_dev else None
    lacks = f"data folder {str(folder)!r} has no test.jsonl (evaluation questions)"
    if test is not None:
        return QuestionFiles(folder, test=test, dev=dev, guard=guard)
    if train is not None and pool is not None:
        raise ArbiterError(
            f"{lacks} but both {train.name} and {pool.name}; rename {pool.name} to test{pool.suffix}, or leave one "
            "file to be split"
        )
    pool = pool or train or only_rows(folder)
    if pool is None and needs_questions:
        there = ", ".join(sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))[:_SHOWN])
        raise ArbiterError(
            f"{lacks}; add it, one JSON object a line or as CSV, or add questions.jsonl to have it split (there is "
            f"{there}){_to_make(folder)}"
        )
    return QuestionFiles(folder, pool=pool, dev=dev, guard=guard)


def _to_make(folder: Path) -> str:
    """How a folder without questions gets some out of its documents, where it has any."""
    shown = shlex.quote(str(folder))
    if (folder / REVIEW).is_file():
        return f"; or accept some of {REVIEW}: arbiter data review {shown}"
    if find_documents(folder) is not None:
        return f"; or make some from the documents: arbiter data generate {shown} {shown}"
    return f"; or, if these are documents, make some from them: arbiter data generate {shown} FOLDER"


def _unread_contexts(folder: Path, columns: Columns, *, is_trained: bool, is_dev: bool) -> list[Context]:
    """The texts that came with rows which this command does not use: what there is to retrieve from must not depend on
    which arms ask.
    """
    unread: list[Part] = [*(() if is_trained else ("train",)), *(() if is_dev else ("dev", "guard"))]
    found: list[Context] = []
    for part in unread:
        if (path := find_part(folder, part)) is None:
            continue
        try:
            rows = scan_examples(path, columns=columns).rows
        except ArbiterError:  # a file that is not used may be wrong
            continue
        found += [context for _, row in rows if not isinstance(row, str) for context in row.contexts]
    return found


def _needs(config: Config, arm: ArmConfig) -> set[str]:
    """The parts of a data folder that an arm cannot do without; a mixture needs what its proposers need."""
    needs: set[str] = {arm.index} if arm.index is not None else set()
    if (recipe := config.adapters.get(arm.adapter or "")) is not None:
        needs |= {learned_part(recipe)} | ({"documents"} if recipe.passages else set())
        if reward := reward_of(recipe.objective):
            needs.add(learned_part(config.adapters[reward]))
    return needs.union(*(_needs(config, config.arms[proposer]) for proposer in arm.proposers))


def _strays(folder: Path) -> tuple[str, ...]:
    """What lies at the top of a folder without documents and may have been meant as some."""
    # What transforms leave beside the rows is none either.
    rows = ("test", "train", "dev", "guard", "questions", "pairs", "readme", "removed", "provenance", "to_review")
    parts: tuple[Part, ...] = ("train", "test", *_OTHERS)
    books = {path.parent for part in parts if (path := find_part(folder, part)) is not None}
    return tuple(
        f"{path.name}/" if path.is_dir() else path.name
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".") and path.stem.lower() not in rows and path not in books
        if path.suffix.lower() in KINDS or path.is_dir() or path.name.lower().startswith("docs")
    )
