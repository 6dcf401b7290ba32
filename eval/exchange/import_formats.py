"""Data sets that people have as data folders: AutoRAG's, RAGChecker's and ragas's, and rows in any format of ours.

imported = import_dataset(Path("autorag/"))
write_data_folder(imported, Path("data/mine"), train_share=0.7)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from eval.contexts import place_contexts
from eval.errors import EvalError
from eval.exchange.formats import Format, Tool
from eval.questions import Question, as_pair, as_row, load_questions, no_gold, share_golds, split_by_document
from rag.documents.document import Document
from rag.documents.load import load_documents
from storage.errors import StorageError, listed
from storage.folders import write_files
from storage.jsonl import grouped, sound_rows
from storage.records import as_json, json_lines
from tuning.data.examples import load_examples, scan_examples, texts_of
from tuning.data.formats.given import Columns, Context, Row, spelt
from tuning.data.formats.registry import PAIR_FORMATS, columns_of
from tuning.data.layouts import Part, find_part, is_saved, only_rows
from tuning.data.table_files import read_table
from tuning.errors import TuningError

_OF_A_QUESTION = ("id", "question", "golds", "gold", "gold_ids", "retrieved", "retrieved_ids")
# Columns of one text, which is none of a list, however it looks.
_TEXTS = ("query", "question", "user_input", "gt_answer", "reference", "ground_truth", "response", "answer")
_NEVER_EMPTY = ("id", "golds", "gold", "gold_ids", "retrieved_ids")
_RAGCHECKER_ANSWER = (
    *("response", "response_claims", "gt_answer_claims", "answer2response", "response2answer"),
    *("retrieved2response", "retrieved2answer", "metrics"),
)
# Our names for a format's columns, each with its present name first and then those of older versions. What is not of a
# question says something about one system's answer to it.
_COLUMNS: Mapping[Tool, Mapping[str, tuple[str, ...]]] = {
    # https://marker-inc-korea.github.io/AutoRAG/data_creation/data_format.html
    "autorag": {"id": ("qid",), "question": ("query",), "golds": ("generation_gt",), "gold_ids": ("retrieval_gt",)},
    # ragchecker/container.py of amazon-science/RAGChecker: RAGResults
    "ragchecker": {
        "id": ("query_id",),
        "question": ("query",),
        "golds": ("gt_answers", "gt_answer"),
        "retrieved": ("retrieved_context",),
        **{name: (name,) for name in _RAGCHECKER_ANSWER},
    },
    # ragas.dataset_schema.SingleTurnSample, and the names before 0.2
    "ragas": {
        "id": ("id", "question_id", "sample_id", "qid"),
        "question": ("user_input", "question"),
        "golds": ("references", "ground_truths", "answers", "reference", "ground_truth"),
        "gold": ("reference_contexts",),
        "gold_ids": ("reference_context_ids",),
        "retrieved": ("retrieved_contexts", "contexts"),
        "retrieved_ids": ("retrieved_context_ids",),
        "response": ("response", "answer"),
        "multi_responses": ("multi_responses",),
    },
}
# What a part of a row is called in a setting, and here.
_PARTS = {
    "question": "question",
    "answer": "golds",
    "answers": "golds",
    "id": "id",
    "doc_ids": "gold_ids",
    "context": "gold",
}


@dataclass(frozen=True, slots=True)
class Imported:
    """A data set in Arbiter's own values; `notes` say what a reader should know about it, a line each.

    `questions` are to be asked, or to be split where no `train` rows came with them, unless they are called `test`
    questions. `metadata["imported"]` of a
    question holds what another system answered, its passages by document id; `metadata["rejected"]` of a preference
    pair's the answer that was not chosen.
    """

    format: str
    documents: tuple[Document, ...]
    questions: tuple[Question, ...]
    notes: tuple[str, ...] = ()
    train: tuple[Question, ...] = ()
    dev: tuple[Question, ...] = ()
    is_test: bool = False


def import_dataset(
    path: Path,
    format: Format | None = None,
    columns: Columns | None = None,
    documents: Sequence[Document] = (),
) -> Imported:
    """The data set in a file or folder; its format is recognised by the columns unless given, and `columns` says which
    column holds which part.

    `documents` are those that lie beside the rows; texts that came with rows are documents, too.
    AutoRAG: a folder with corpus.parquet and qa.parquet, or the latter. Everything else: a file that
    `tuning.data.table_files` reads, or a folder of such files as `tuning.data.layouts` finds them. Ids are kept. Raises
    EvalError naming every faulty row.
    """
    path = path.expanduser()
    if not path.exists():
        raise EvalError(f"no file or folder {str(path)!r} to import; check the path")
    if (path / "corpus.parquet").is_file():
        path, format = _qa_file(path), format or "autorag"
    try:
        parts = _parts(path)
        said = next((tool for tool in _COLUMNS if tool == format), None)
        if format is not None and said is None:
            return _of_rows(parts, format, columns, documents)
        first = next(iter(parts.values()))
        rows = _rows(first)
        tool = said or _recognised(rows)
        if tool is None:
            return _of_rows(parts, None, columns, documents)
        return _of_tool(first, tool, _renamed(rows, tool, columns or {}))
    except (StorageError, TuningError) as error:
        raise EvalError(str(error)) from error


def write_data_folder(
    imported: Imported, folder: Path, *, train_share: float = 0.0, is_forced: bool = False
) -> tuple[Path, ...]:
    """Write docs.jsonl and test.jsonl, train.jsonl and dev.jsonl where there are such rows, and return the paths.

    A `train_share` in [0, 1) of the questions is split off by source document (`eval.questions`) and trained on, too.
    The files are read back before they are put in place. Raises EvalError when files are there already (unless
    `is_forced`), or the questions contradict each other.
    """
    train: Sequence[Question] = ()
    test: Sequence[Question] = imported.questions
    if train_share:
        if not 0 < train_share < 1:
            raise EvalError(f"the share of training rows must be in [0, 1), not {train_share!r}")
        train, test = split_by_document(imported.questions, (train_share, 1 - train_share))
    parts: dict[str, list[dict[str, object]]] = {
        "docs.jsonl": [
            {"id": d.id, "title": d.title, "text": d.text, "metadata": d.metadata} for d in imported.documents
        ],
        "train.jsonl": [_training_row(question, imported.format) for question in (*imported.train, *train)],
        "test.jsonl": [as_row(question) for question in test],
        "dev.jsonl": [as_row(question) for question in imported.dev],
    }
    files = {name: json_lines(rows) for name, rows in parts.items() if rows}
    return write_files(folder, files, is_forced=is_forced, check=_read_back)


def _training_row(question: Question, format: str) -> dict[str, object]:
    """The row as it is, or as the pair that it comes from."""
    if format not in PAIR_FORMATS:
        return as_row(question)
    metadata = dict(question.metadata)
    rejected = str(metadata.pop("rejected"))
    return as_pair(replace(question, metadata=metadata), rejected)


def _read_back(folder: Path) -> None:
    if (folder / "docs.jsonl").is_file():
        load_documents(folder / "docs.jsonl")
    if (folder / "train.jsonl").is_file():
        load_examples(folder / "train.jsonl")
    for name in ("test.jsonl", "dev.jsonl"):
        if (folder / name).is_file():
            load_questions(folder / name)


def _parts(path: Path) -> dict[Part, Path]:
    """The files of a data set by what they are for; one that does not say so is all there is."""
    if path.is_file() or is_saved(path):
        return {"questions": path}
    order: tuple[Part, ...] = ("questions", "test", "train", "dev")
    found = {part: file for part in order if (file := find_part(path, part)) is not None}
    if not found and (file := only_rows(path)) is not None:
        return {"questions": file}
    if not found:
        there = listed(sorted(one.name for one in path.iterdir()), separator=", ") or "nothing"
        raise EvalError(
            f"no file in {str(path)!r} is called train, test or questions; give one of what it has: {there}"
        )
    return found


def _of_tool(path: Path, tool: Tool, rows: Sequence[tuple[str, Row | str]]) -> Imported:
    found = _Found(path, tool)
    if tool == "autorag":
        found.add_corpus(path.with_name("corpus.parquet"))
    for place, row in rows:
        try:
            found.add_question(place, row)
        except ValueError as fault:
            found.faults.append((place, str(fault)))
    return found.finish()


def _of_rows(
    parts: Mapping[Part, Path], format: str | None, columns: Columns | None, given: Sequence[Document]
) -> Imported:
    """The data set of files in formats of `tuning.data.formats`; the texts that came with rows are documents."""
    notes: list[str] = []
    sets: dict[str, tuple[Question, ...]] = {}
    named = ""
    for part, path in parts.items():
        found = scan_examples(path, no_gold, columns=columns, format=format, say=notes.append)
        if not found.rows:
            raise EvalError(f"{path} holds no questions to import")
        like, unit = '{"question": ..., "answers": [...]}', found.unit
        rows = sound_rows(found.called, found.rows, called="rows", like=like, error=EvalError, unit=unit)
        named = named or found.format
        rejected = {name: given.rejected for name, given in found.given.items() if given.rejected is not None}
        sets[part] = tuple(
            replace(row, metadata={**row.metadata, "rejected": rejected[row.id]}) if row.id in rejected else row
            for row in rows
        )
        if found.format in PAIR_FORMATS:
            sets[part] = share_golds(sets[part])
    placed = place_contexts(given, (context for rows in sets.values() for row in rows for context in row.contexts))
    sets = {part: placed.renamed(rows) for part, rows in sets.items()}
    train, asked = sets.get("train", ()), (*sets.get("questions", ()), *sets.get("test", ()))
    if not asked:
        train, asked = (), train
    every = (*train, *asked, *sets.get("dev", ()))
    notes += _notes(placed.documents, every, are_all=bool(given))
    return Imported(named, placed.documents, asked, tuple(notes), train, sets.get("dev", ()), "test" in sets)


def _notes(documents: Collection[object], questions: Sequence[Question], *, are_all: bool) -> list[str]:
    """What a reader should know of the documents; `are_all` says that they are a whole collection."""
    notes = {
        "no gold documents are known: no row names any": not any(question.document_ids for question in questions),
        "the documents are the passages that came with the rows; add the rest of the collection to docs.jsonl": (
            documents and not are_all
        ),
        "there are no documents in it: add docs.jsonl or docs/": not documents,
    }
    return [note for note, is_so in notes.items() if is_so]


def _rows(path: Path) -> list[tuple[str, Row | str]]:
    """The rows of a file with their places."""
    table = read_table(path)
    return [(f"{table.unit} {number}", row) for number, row in table.rows]


def _renamed(rows: Sequence[tuple[str, Row | str]], tool: Tool, columns: Columns) -> list[tuple[str, Row | str]]:
    """The rows with the columns that were set under the names that the tool has for them. Raises EvalError for a part
    that its rows do not have, and for a column that is not there.
    """
    there = columns_of([row for _, row in rows if not isinstance(row, str)])
    names: dict[str, str] = {}
    for part, column in columns.items():
        held = _COLUMNS[tool].get(_PARTS.get(part, ""))
        if held is None:
            raise EvalError(f"rows of {tool} have no part {part!r}; parts are {', '.join(_PARTS)}")
        if column not in there:
            raise EvalError(f"no column {column!r}, only {listed(there, separator=', ')}; correct columns")
        names[column] = held[0]
    return [(place, row if isinstance(row, str) else _with_names(row, names)) for place, row in rows]


def _with_names(row: Row, names: Mapping[str, str]) -> Row:
    moved = {ours: row[column] for column, ours in names.items() if column in row}
    kept = ((name, value) for name, value in row.items() if name not in names)
    return {(f"{name}_column" if name in moved else name): value for name, value in kept} | moved


def _qa_file(folder: Path) -> Path:
    for name in ("qa.parquet", "qa_test.parquet", "qa_validation.parquet"):
        if (folder / name).is_file():
            return folder / name
    others = sorted(path.name for path in folder.glob("*.parquet") if path.name != "corpus.parquet")
    known = f", one of {', '.join(others)}" if others else ""
    raise EvalError(f"no qa.parquet in {str(folder)!r}; give the file of questions itself{known}")


def _recognised(rows: Sequence[tuple[str, Row | str]]) -> Tool | None:
    """The tool whose columns these are; the golds of ragas's older exports stand beside what was answered."""
    names = set(next((row for _, row in rows if not isinstance(row, str)), ()))
    if {"qid", "retrieval_gt"} <= names:
        return "autorag"
    if {"query", "gt_answer"} <= names:
        return "ragchecker"
    is_older = "question" in names and bool({"ground_truth", "ground_truths"} & names) and "contexts" in names
    return "ragas" if "user_input" in names or is_older else None


@dataclass(slots=True)
class _Found:
    """What an import has found so far; every row either adds a question or a fault."""

    path: Path
    format: Tool
    documents: dict[str, Document] = field(default_factory=dict)
    questions: dict[str, Question] = field(default_factory=dict)
    faults: list[tuple[str, str]] = field(default_factory=list)
    num_blank: int = 0
    num_renamed: int = 0
    num_answered: int = 0

    def add_corpus(self, path: Path) -> None:
        """AutoRAG's documents."""
        if not path.is_file():
            raise EvalError(f"no {path.name} beside {str(self.path)!r}; AutoRAG's data are the two of them")
        for place, row in _rows(path):
            assert not isinstance(row, str), "a row of Parquet is a mapping"
            name, text, metadata = row.get("doc_id"), row.get("contents"), as_json(row.get("metadata") or {})
            if name is None or not isinstance(text, str):
                self.faults.append((f"corpus {place}", "no `doc_id` or no `contents` text"))
            elif not text.strip():
                self.num_blank += 1
            elif str(name) in self.documents and self.documents[str(name)].text != text:
                self.faults.append((f"corpus {place}", f"doc_id {name!r} is given twice with different contents"))
            else:
                described = metadata if isinstance(metadata, dict) else {}
                title = described.get("title")
                document = Document(str(name), title if isinstance(title, str) else "", text, described)
                self.documents.setdefault(document.id, document)

    def add_question(self, place: str, row: Row | str) -> None:
        """The question of a row, and the passages that came with it. Raises ValueError for a faulty row."""
        if isinstance(row, str):
            raise ValueError(row)
        columns = _COLUMNS[self.format]
        given = {ours: value for ours, theirs in columns.items() if (value := _first(row, ours, theirs)) is not None}
        name = _as_id(given.get("id")) or f"{self.path.stem}-{place.split()[-1]}"
        text, golds = given.get("question"), _golds(given.get("golds"))
        groups = _groups(given.get("gold_ids"))
        gold = self._add_passages(given, "gold") or [document for group in groups for document in group]
        retrieved = self._add_passages(given, "retrieved")
        if self.format == "autorag" and (unknown := [document for document in gold if document not in self.documents]):
            raise ValueError(f"retrieval_gt {unknown[0]!r} has no text in the corpus")
        if isinstance(text, list):
            raise ValueError("a conversation of several turns; only single questions can be imported")
        if not isinstance(text, str) or not text.strip():
            raise ValueError("no question")
        if not golds:
            raise ValueError(f"question {text[:40]!r} has no gold answer")
        if name in self.questions:
            raise ValueError(f"id {name!r} was already used")
        known = {"metadata", *(column for theirs in columns.values() for column in theirs)}
        metadata = {column: value for column, value in row.items() if column not in known and value is not None}
        metadata |= own if isinstance(own := row.get("metadata"), Mapping) else {}
        if any(len(group) > 1 for group in groups):
            # One document of every group is enough; the flat list of documents cannot say so.
            metadata["retrieval_gt"] = groups
        answer = {ours: value for ours, value in given.items() if ours not in _OF_A_QUESTION}
        if answer or "retrieved" in given:
            metadata["imported"] = {"from": self.format, **answer, "retrieved_documents": retrieved}
        self.num_answered += "response" in answer
        self.questions[name] = Question(name, text, golds, tuple(dict.fromkeys(gold)), as_json(metadata))

    def _add_passages(self, given: Mapping[str, Any], kind: str) -> list[str]:
        """The ids of passages that are texts, with or without a list of ids, or RAGChecker's objects."""
        values, ids = given.get(kind, []), given.get(f"{kind}_ids")
        pairs: list[tuple[Any, Any]] = [
            (value.get("doc_id"), value.get("text")) if isinstance(value, Mapping) else (None, value)
            for value in _as_list(values)
        ]
        if not isinstance(values, list) or not all(isinstance(text, str) for _, text in pairs):
            raise ValueError(f"`{_COLUMNS[self.format][kind][0]}` must be a list of texts")
        if isinstance(ids, list) and len(ids) == len(pairs):
            pairs = [(name, text) for name, (_, text) in zip(ids, pairs, strict=True)]
        return [self._add_passage(_as_id(name), text) for name, text in pairs if text.strip()]

    def _add_passage(self, own: str, text: str) -> str:
        """The id of a passage's document: its own where it is free, else one with a hash of the text in it."""
        passage = Context(text).id
        chosen, metadata = own or passage, {}
        if chosen in self.documents and self.documents[chosen].text != text:
            chosen, metadata = f"{chosen}@{passage.rpartition('-')[2]}", {"doc_id": own}
            self.num_renamed += chosen not in self.documents
        self.documents.setdefault(chosen, Document(chosen, "", text, metadata))
        return chosen

    def finish(self) -> Imported:
        """The data set. Raises EvalError with all faults, or when there is no question."""
        if self.faults:
            raise EvalError(f"{self.path}: {len(self.faults)} faulty rows: {listed(grouped(self.faults))}")
        if not self.questions:
            raise EvalError(f"{self.path} holds no questions to import")
        counts = {
            "documents left out, for they have no text": self.num_blank,
            "answers that came with the rows, kept in the metadata and not evaluated": self.num_answered,
            "passages that got a hash to their id, for it has another text": self.num_renamed,
        }
        notes = _notes(self.documents, tuple(self.questions.values()), are_all=self.format == "autorag")
        said = (*notes, *(f"{what}: {count}" for what, count in counts.items() if count))
        return Imported(self.format, tuple(self.documents.values()), tuple(self.questions.values()), said)


def _first(row: Row, ours: str, columns: Sequence[str]) -> Any:
    """The first of the columns that holds something; an answer that says nothing is an answer."""
    empty: tuple[object, ...] = ("", []) if ours in _NEVER_EMPTY else ()
    name = next((name for name in columns if row.get(name) is not None and row[name] not in empty), None)
    return None if name is None else row[name] if name in _TEXTS else spelt(row[name])


def _as_id(value: object) -> str:
    return str(value) if value is not None and str(value).strip() else ""


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _golds(answers: object) -> tuple[str, ...]:
    """Every gold once, without blanks; empty when there is none, or something else than texts and numbers."""
    return tuple(dict.fromkeys(gold for gold in texts_of(_as_list(answers)) or () if gold.strip()))


def _groups(gold: object) -> list[list[str]]:
    """Gold documents in groups of which one is needed: `gold` may be a flat list, where all are needed, or one id."""
    groups = [[name for value in _as_list(group) if (name := _as_id(value))] for group in _as_list(gold)]
    return [group for group in groups if group]
