"""A data set that was made for another tool, and the data folder that it becomes.

write_data_folder(imported, Path("data/mine"), train_share=0.7)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from eval.errors import EvalError
from eval.questions import Question, load_questions, split_by_document
from rag.documents.document import Document
from rag.documents.load import load_documents
from storage.file_sets import write_files
from storage.records import as_json, json_lines
from tuning.data.examples import load_examples, texts_of

Format = Literal["autorag", "ragchecker", "ragas"]
FORMATS: tuple[Format, ...] = get_args(Format)

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Imported:
    """A data set in Arbiter's own values; `notes` say what a reader should know about it, a line each.

    `metadata["imported"]` of a question holds what another system answered, its passages by document id.
    """

    format: Format
    documents: tuple[Document, ...]
    questions: tuple[Question, ...]
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Collected:
    """What an import has found so far; every row either adds a question or a fault."""

    path: Path
    documents: dict[str, Document] = field(default_factory=dict)
    questions: dict[str, Question] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    num_renamed: int = 0

    def add_passage(self, name: object, text: str) -> str:
        """The id of a passage's document: its own where it is free, else one with a hash of the text in it."""
        mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        own = "" if name is None or not str(name).strip() else str(name)
        chosen = own or f"passage-{mark}"
        known = self.documents.get(chosen)
        metadata = {}
        if known is not None and known.text != text:
            chosen = f"{chosen}@{mark}"
            self.num_renamed += chosen not in self.documents
            metadata = {"doc_id": own}
        self.documents.setdefault(chosen, Document(chosen, "", text, metadata))
        return chosen

    def add_question(
        self,
        place: str,
        name: object,
        text: object,
        answers: object,
        documents: Sequence[str],
        metadata: Mapping[str, object],
    ) -> None:
        """One question, or its faults."""
        own = "" if name is None or not str(name).strip() else str(name)
        chosen = own or f"{self.path.stem}-{place.split()[-1]}"
        golds = _golds(answers)
        if isinstance(text, list):
            self.faults.append(f"{place}: a conversation of several turns; only single questions can be imported")
        elif not isinstance(text, str) or not text.strip():
            self.faults.append(f"{place}: no question")
        elif not golds:
            self.faults.append(f"{place}: question {text[:40]!r} has no gold answer")
        elif chosen in self.questions:
            self.faults.append(f"{place}: id {chosen!r} was already used")
        else:
            self.questions[chosen] = Question(chosen, text, golds, tuple(dict.fromkeys(documents)), as_json(metadata))

    def finish(self, format: Format, notes: Sequence[str]) -> Imported:
        """The data set. Raises EvalError with all faults, or when there is no question."""
        if self.faults:
            more = f"; and {len(self.faults) - _SHOWN} more" if len(self.faults) > _SHOWN else ""
            raise EvalError(f"{self.path}: {len(self.faults)} faulty rows: {'; '.join(self.faults[:_SHOWN])}{more}")
        if not self.questions:
            raise EvalError(f"{self.path} holds no questions to import")
        renamed = f"passages that got a hash to their id, for it has another text: {self.num_renamed}"
        remarks = [*notes, *([renamed] if self.num_renamed else [])]
        if not self.documents:
            remarks.append("there are no documents in it: add docs.jsonl or docs/")
        return Imported(format, tuple(self.documents.values()), tuple(self.questions.values()), tuple(remarks))


def write_data_folder(
    imported: Imported, folder: Path, *, train_share: float = 0.0, seed: int = 0, is_forced: bool = False
) -> tuple[Path, ...]:
    """Write docs.jsonl and test.jsonl, with a `train_share` in [0, 1) also train.jsonl, and return the paths.

    Training rows are split off by source document (`eval.questions`). The files are read back before they are put in
    place. Raises EvalError when files are there already (unless `is_forced`), or the questions contradict each other.
    """
    train: Sequence[Question] = ()
    test: Sequence[Question] = imported.questions
    if train_share:
        if not 0 < train_share < 1:
            raise EvalError(f"the share of training rows must be in [0, 1), not {train_share!r}")
        train, test = split_by_document(imported.questions, (train_share, 1 - train_share), seed=seed)
    parts: dict[str, list[dict[str, object]]] = {
        "docs.jsonl": [
            {"id": d.id, "title": d.title, "text": d.text, "metadata": d.metadata} for d in imported.documents
        ],
        "train.jsonl": [_question_row(question) for question in train],
        "test.jsonl": [_question_row(question) for question in test],
    }
    files = {name: json_lines(rows) for name, rows in parts.items() if rows}
    return write_files(folder, files, is_forced=is_forced, check=_read_back)


def _golds(answers: object) -> tuple[str, ...]:
    """Every gold once, without blanks; empty when there is none, or something else than texts and numbers."""
    golds = texts_of(list(answers) if isinstance(answers, list | tuple) else [answers])
    return tuple(dict.fromkeys(gold for gold in golds or () if gold.strip()))


def _read_back(folder: Path) -> None:
    if (folder / "docs.jsonl").is_file():
        load_documents(folder / "docs.jsonl")
    if (folder / "train.jsonl").is_file():
        load_examples(folder / "train.jsonl")
    load_questions(folder / "test.jsonl")


def _question_row(question: Question) -> dict[str, object]:
    return {
        "id": question.id,
        "question": question.text,
        "answers": list(question.answers),
        "doc_ids": list(question.document_ids),
        "metadata": dict(question.metadata),
    }
