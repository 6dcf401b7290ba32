"""A data folder: documents to index, examples to train on, questions to evaluate and to search settings on.

docs.jsonl or docs/   train.jsonl   test.jsonl   dev.jsonl
docs.jsonl or docs/   questions.jsonl               one file, split by source document
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eval.errors import EvalError
from eval.leaks import describe, leave_out_near_repeats, refuse_leaks
from eval.metrics.labels import kind_of, label_sets
from eval.questions import Question, as_example, clusters_of, load_questions, merge_repeats
from eval.splits import split_by_document
from rag.documents.converted import ConversionCache
from rag.documents.document import Document
from rag.documents.load import Skipped, load_documents
from storage.errors import ArbiterError
from storage.hashes import content_hash
from tuning.data.examples import Example, load_examples, sample

# The share of one file that is evaluated on, and the share of the training rows that become dev questions. A decision
# is limited by its questions before an adapter is by its rows.
TEST_SHARE = 0.3
DEV_SHARE = 0.15
# Not the run's seed: another seed must train other weights, not ask other questions.
_SPLIT_SEED = 0
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Data:
    """What a run works on, after the config's limits. `version` hashes the content of all of it.

    `dev` holds the questions that settings are searched on, empty unless they were asked for. `notes` says what was
    done to the rows: splits, rows that were left out or merged. `clusters` maps question ids to what the statistics
    resample by.
    """

    folder: Path
    documents: tuple[Document, ...]
    skipped: tuple[Skipped, ...]
    examples: tuple[Example, ...]
    questions: tuple[Question, ...]
    dev: tuple[Question, ...] = ()
    notes: tuple[str, ...] = ()
    clusters: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The folder's name and a hash of where it lies, so that two folders of one name stay apart."""
        safe = re.sub(r"[^A-Za-z0-9._-]+", "-", self.folder.name).strip(".-") or "data"
        return f"{safe}-{hashlib.sha256(str(self.folder).encode()).hexdigest()[:6]}"

    @property
    def version(self) -> str:
        """sha256 over all rows, whatever files they came from; dev questions count where they are used."""
        rows = [repr(row) for part in (self.documents, self.examples, self.questions) for row in part]
        return content_hash(*rows, *(("dev", *map(repr, self.dev)) if self.dev else ()))


def load_data(
    folder: Path,
    *,
    train_rows: int | None = None,
    questions: int | None = None,
    seed: int = 0,
    trains: bool = True,
    needs_dev: bool = False,
    conversions: ConversionCache | None = None,
) -> Data:
    """Load and check a data folder; rows over the limits are sampled with `seed`.

    Without test.jsonl, the rows of questions.jsonl or train.jsonl are split by source document, always in the same way.
    Training rows are read only when something is trained or retrieved from them (`trains`); those that nearly repeat an
    evaluation question are left out. Dev questions are read only when asked for (`needs_dev`): from dev.jsonl, else
    taken out of the training rows by source document. `conversions` keeps the texts of files that need converting.

    Raises ArbiterError for a missing folder or part, and the parts' own errors for faulty rows, contradictory golds and
    training rows that repeat a question.
    """
    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise ArbiterError(
            f"no data folder {str(folder)!r}; give one with docs.jsonl or docs/, train.jsonl and test.jsonl"
        )
    if not any(folder.iterdir()):
        raise ArbiterError(
            f"data folder {str(folder)!r} is empty; it needs docs.jsonl or docs/, train.jsonl and test.jsonl"
        )
    loaded = load_documents(_documents_path(folder), cache=conversions)
    notes: list[str] = []
    if (folder / "test.jsonl").is_file():
        examples = load_examples(_part(folder, "train.jsonl", "training rows")) if trains else ()
        asked = load_questions(folder / "test.jsonl")
        pool: tuple[Question, ...] | None = None
        if (folder / "questions.jsonl").is_file():
            notes.append("questions.jsonl is not read, since there is a test.jsonl")
    else:
        pool, asked = _split(folder, notes)
        examples = tuple(as_example(row) for row in pool) if trains else ()
    asked = _merged(asked, "evaluation", notes)
    dev: tuple[Question, ...] = ()
    if needs_dev:
        dev, taken = _load_dev(folder, pool, notes)
        examples = tuple(example for example in examples if example.id not in taken)
        # A dev question that is evaluated on would choose the settings by what they are to be judged by.
        refuse_leaks(dev, asked, called="dev")
        dev, near = leave_out_near_repeats(dev, asked)
        if near:
            notes.append(describe(near, called="dev"))
    # Checked before sampling: a leak must not come and go with the seed.
    refuse_leaks(examples, (*asked, *dev))
    kept, near = leave_out_near_repeats(examples, (*asked, *dev))
    if near:
        notes.append(describe(near))
    if examples and not kept:
        raise ArbiterError(
            f"data folder {str(folder)!r}: every training row nearly repeats an evaluation question; give other rows"
        )
    # All questions say whether every document is asked about; a sample of them may miss some.
    clusters = clusters_of(asked, {document.id for document in loaded.documents})
    return Data(
        folder=folder,
        documents=loaded.documents,
        skipped=loaded.skipped,
        examples=tuple(sample(kept, train_rows, seed)),
        questions=tuple(sample(asked, questions, seed)),
        dev=dev,
        notes=tuple(notes),
        clusters=clusters,
    )


def examples_as_documents(examples: Sequence[Example]) -> tuple[Document, ...]:
    """Training rows as an index holds them: the question is searched, the answer rides along for few-shot prompts."""
    return tuple(
        Document(id=example.id, title="", text=example.question, metadata={"answer": example.answer})
        for example in examples
    )


def _documents_path(folder: Path) -> Path:
    for name in ("docs.jsonl", "docs", "docs.zip"):
        if (folder / name).exists():
            return folder / name
    raise ArbiterError(f"data folder {str(folder)!r} has no docs.jsonl, docs/ or docs.zip; add the documents to search")


def _part(folder: Path, name: str, holds: str) -> Path:
    if not (folder / name).is_file():
        raise ArbiterError(f"data folder {str(folder)!r} has no {name} ({holds}); add it, one JSON object a line")
    return folder / name


def _split(folder: Path, notes: list[str]) -> tuple[tuple[Question, ...], tuple[Question, ...]]:
    """Training rows and evaluation questions out of the one file that holds both."""
    files = [name for name in ("questions.jsonl", "train.jsonl") if (folder / name).is_file()]
    if not files:
        raise ArbiterError(
            f"data folder {str(folder)!r} has no test.jsonl (evaluation questions); add it, one JSON object a line, or "
            "add questions.jsonl to have it split"
        )
    if len(files) > 1:
        raise ArbiterError(
            f"data folder {str(folder)!r} has no test.jsonl (evaluation questions) but both train.jsonl and "
            "questions.jsonl; rename questions.jsonl to test.jsonl, or leave one file to be split"
        )
    rows = load_questions(folder / files[0])
    try:
        train, asked = split_by_document(rows, (1 - TEST_SHARE, TEST_SHARE), seed=_SPLIT_SEED)
    except EvalError as error:
        raise ArbiterError(
            f"data folder {str(folder)!r} has no test.jsonl (evaluation questions), and {files[0]}: {error}; "
            "add test.jsonl"
        ) from error
    notes.append(
        f"{files[0]} is split by source document into {len(train)} training rows and {len(asked)} evaluation "
        "questions; add test.jsonl to choose them yourself"
    )
    _note_unseen_labels(train, asked, notes)
    return train, asked


def _note_unseen_labels(train: Sequence[Question], asked: Sequence[Question], notes: list[str]) -> None:
    """Where each label is a document of its own, keeping documents whole keeps labels out of the training rows."""
    kinds = label_sets((*train, *asked))
    known = {(kind_of(row), answer) for row in train for answer in row.answers}
    labelled = [row for row in asked if kind_of(row) in kinds]
    unseen = [row for row in labelled if not any((kind_of(row), answer) in known for answer in row.answers)]
    if unseen:
        notes.append(
            f"{len(unseen)} of {len(labelled)} evaluation questions have a label that no training row has, because "
            "source documents are kept whole; add test.jsonl where the labels are to be learned"
        )


def _load_dev(folder: Path, pool: Sequence[Question] | None, notes: list[str]) -> tuple[tuple[Question, ...], set[str]]:
    """Dev questions from dev.jsonl, else by source document out of `pool` or the rows of train.jsonl; and the ids of
    the training rows that they were.
    """
    if (folder / "dev.jsonl").is_file():
        return _merged(load_questions(folder / "dev.jsonl"), "dev", notes), set()
    if pool is None:
        if not (folder / "train.jsonl").is_file():
            raise ArbiterError(
                f"data folder {str(folder)!r} has no dev.jsonl and no train.jsonl to take dev questions from; add one"
            )
        # Training rows may well contradict each other; only golds that are scored against must not.
        pool = load_questions(folder / "train.jsonl", refuse_contradictions=False)
    try:
        _, dev = split_by_document(pool, (1 - DEV_SHARE, DEV_SHARE), seed=_SPLIT_SEED)
    except EvalError as error:
        raise ArbiterError(
            f"data folder {str(folder)!r} has no dev.jsonl, and of the training rows {error}; add dev.jsonl"
        ) from error
    notes.append(f"{len(dev)} of {len(pool)} training rows, of source documents of their own, are dev questions")
    return _merged(dev, "dev", notes), {question.id for question in dev}


def _merged(questions: tuple[Question, ...], called: str, notes: list[str]) -> tuple[Question, ...]:
    merged, gone = merge_repeats(questions)
    if gone:
        plural, are = ("s", "are") if len(gone) > 1 else ("", "is")
        listed = ", ".join(f"{row!r} into {first!r}" for row, first in gone[:_SHOWN])
        more = f" and {len(gone) - _SHOWN} more" if len(gone) > _SHOWN else ""
        notes.append(f"{len(gone)} {called} question{plural} asked before {are} merged: {listed}{more}")
    return merged
