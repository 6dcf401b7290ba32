"""A data folder: documents to index, examples to train on, questions to evaluate and to search settings on.

docs.jsonl, docs/ or docs.zip   train.jsonl   test.jsonl   dev.jsonl
docs.jsonl, docs/ or docs.zip   questions.jsonl               one file, split by source document

CSV serves as well as JSONL. Each part may be missing: what cannot be asked without it is left out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from arbiter.faults import Faults
from eval.leaks import OnFault
from eval.question_sets import QuestionFiles, QuestionSets, divide
from eval.questions import Question
from rag.documents.conversions import Conversions
from rag.documents.document import Document
from rag.documents.load import Loaded, Skipped, load_documents
from storage.errors import ArbiterError
from storage.hashes import content_hash
from tuning.data.examples import Example, load_examples, sample

DOCUMENTS = ("docs.jsonl", "docs", "docs.zip", "docs.csv")
_SHOWN = 8


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
    contradictions: OnFault = "refuse",
    repeats: OnFault = "refuse",
    trains: bool = True,
    needs_questions: bool = True,
    needs_dev: bool = False,
    conversions: Conversions | None = None,
) -> Data:
    """Load and check a data folder; rows over the limits are sampled with `seed`.

    Without test.jsonl, the rows of questions.jsonl or train.jsonl are split by source document, always in the same way.
    Training rows are read only when something is trained or retrieved from them (`trains`), dev questions only when
    asked for (`needs_dev`). `contradictions` and `repeats` as in `eval.question_sets.divide`. `conversions` keeps the
    texts of files that need converting.

    Raises ArbiterError for a missing folder, and for missing questions if those are needed (`needs_questions`); for the
    faults of the parts, which are all said at once.
    """
    folder = find_folder(folder)
    files = _question_files(folder, needs_questions=needs_questions, needs_dev=needs_dev)
    faults = Faults()
    documents = next((folder / name for name in DOCUMENTS if (folder / name).exists()), None)
    loaded = Loaded((), ())
    if documents is not None:
        loaded = faults.attempt(lambda: load_documents(documents, cache=conversions), loaded)
    rows: tuple[Example, ...] | None = ()
    training = _file(folder, "train")
    if training is not None and files.pool is None and (trains or (needs_dev and files.dev is None)):
        rows = faults.attempt(lambda: load_examples(training), None)
    sets = faults.attempt(
        lambda: divide(
            files,
            rows or (),
            {document.id for document in loaded.documents},
            trains=trains,
            # Rows that cannot be read give no dev questions, and one fault is enough.
            needs_dev=needs_dev and (rows is not None or files.dev is not None),
            contradictions=contradictions,
            repeats=repeats,
        ),
        QuestionSets(),
    )
    faults.raise_any()
    notes = list(sets.notes)
    if files.test is not None and (unread := _file(folder, "questions")) is not None:
        notes.insert(0, f"{unread.name} is not read, since there is a {files.test.name}")
    return Data(
        folder=folder,
        documents=loaded.documents,
        skipped=loaded.skipped,
        examples=sample(sets.examples, train_rows, seed),
        questions=sample(sets.questions, questions, seed),
        dev=sets.dev,
        notes=tuple(notes),
        clusters=sets.clusters,
    )


def find_folder(folder: Path) -> Path:
    """The data folder's full path. Raises ArbiterError when it is not there or empty."""
    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise ArbiterError(
            f"no data folder {str(folder)!r}; give one with docs.jsonl or docs/, train.jsonl and test.jsonl"
        )
    if not any(folder.iterdir()):
        raise ArbiterError(
            f"data folder {str(folder)!r} is empty; it needs docs.jsonl or docs/, train.jsonl and test.jsonl"
        )
    return folder


def examples_as_documents(examples: Sequence[Example]) -> tuple[Document, ...]:
    """Training rows as an index holds them: the question is searched, the answer rides along for few-shot prompts."""
    return tuple(
        Document(id=example.id, title="", text=example.question, metadata={"answer": example.answer})
        for example in examples
    )


def _question_files(folder: Path, *, needs_questions: bool, needs_dev: bool) -> QuestionFiles:
    """Where the questions of a folder are. Raises ArbiterError when that is open, or nowhere if they are needed."""
    test, pool, train, dev = (_file(folder, name) for name in ("test", "questions", "train", "dev"))
    dev = dev if needs_dev else None
    lacks = f"data folder {str(folder)!r} has no test.jsonl (evaluation questions)"
    if test is not None:
        return QuestionFiles(folder, test=test, dev=dev)
    if train is not None and pool is not None:
        raise ArbiterError(
            f"{lacks} but both {train.name} and {pool.name}; rename {pool.name} to test{pool.suffix}, or leave one "
            "file to be split"
        )
    pool = pool or train
    if pool is None and needs_questions:
        there = ", ".join(sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))[:_SHOWN])
        raise ArbiterError(
            f"{lacks}; add it, one JSON object a line or as CSV, or add questions.jsonl to have it split (there is "
            f"{there})"
        )
    return QuestionFiles(folder, pool=pool, dev=dev)


def _file(folder: Path, name: str) -> Path | None:
    """The file of rows with this name. Raises ArbiterError when there are two."""
    found = [path for suffix in (".jsonl", ".csv") if (path := folder / f"{name}{suffix}").is_file()]
    if len(found) > 1:
        raise ArbiterError(f"data folder {str(folder)!r} has both {name}.jsonl and {name}.csv; keep one of them")
    return found[0] if found else None
