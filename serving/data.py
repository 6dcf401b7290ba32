"""A data folder: documents to index, examples to train on, questions to evaluate.

docs.jsonl or docs/   train.jsonl   test.jsonl
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.questions import Question, load_questions, refuse_leaks
from rag.documents import Document, Skipped, load_documents
from serving.errors import ServingError
from tuning.artifacts import content_hash
from tuning.examples import Example, load_examples, sample


@dataclass(frozen=True, slots=True)
class Data:
    """What a run works on, after the config's limits. `version` hashes the content of all of it."""

    folder: Path
    documents: tuple[Document, ...]
    skipped: tuple[Skipped, ...]
    examples: tuple[Example, ...]
    questions: tuple[Question, ...]

    @property
    def name(self) -> str:
        """The folder's name and a hash of where it lies, so that two folders of one name stay apart."""
        safe = re.sub(r"[^A-Za-z0-9._-]+", "-", self.folder.name).strip(".-") or "data"
        return f"{safe}-{hashlib.sha256(str(self.folder).encode()).hexdigest()[:6]}"

    @property
    def version(self) -> str:
        """sha256 over all rows, whatever files they came from."""
        return content_hash(*(repr(row) for rows in (self.documents, self.examples, self.questions) for row in rows))


def load_data(
    folder: Path, *, train_rows: int | None = None, questions: int | None = None, seed: int = 0, trains: bool = True
) -> Data:
    """Load and check a data folder; rows over the limits are sampled with `seed`.

    Training rows are read only when something is trained or retrieved from them (`trains`). Raises ServingError for a
    missing folder or part, and the parts' own errors for faulty rows and for training rows that repeat a question.
    """
    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise ServingError(
            f"no data folder {str(folder)!r}; give one with docs.jsonl or docs/, train.jsonl and test.jsonl"
        )
    if not any(folder.iterdir()):
        raise ServingError(
            f"data folder {str(folder)!r} is empty; it needs docs.jsonl or docs/, train.jsonl and test.jsonl"
        )
    loaded = load_documents(_documents_path(folder))
    examples = load_examples(_part(folder, "train.jsonl", "training rows")) if trains else ()
    asked = load_questions(_part(folder, "test.jsonl", "evaluation questions"))
    # Checked before sampling: a leak must not come and go with the seed.
    refuse_leaks(examples, asked)
    return Data(
        folder=folder,
        documents=loaded.documents,
        skipped=loaded.skipped,
        examples=tuple(sample(examples, train_rows, seed)),
        questions=tuple(sample(asked, questions, seed)),
    )


def examples_as_documents(examples: Sequence[Example]) -> tuple[Document, ...]:
    """Training rows as an index holds them: the question is searched, the answer rides along for few-shot prompts."""
    return tuple(
        Document(id=example.id, title="", text=example.question, metadata={"answer": example.answer})
        for example in examples
    )


def _documents_path(folder: Path) -> Path:
    for name in ("docs.jsonl", "docs"):
        if (folder / name).exists():
            return folder / name
    raise ServingError(f"data folder {str(folder)!r} has neither docs.jsonl nor docs/; add the documents to search")


def _part(folder: Path, name: str, holds: str) -> Path:
    if not (folder / name).is_file():
        raise ServingError(f"data folder {str(folder)!r} has no {name} ({holds}); add it, one JSON object a line")
    return folder / name
