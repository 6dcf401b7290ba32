"""Data sets of other evaluation tools as documents and questions: AutoRAG, RAGChecker and ragas.

imported = import_dataset(Path("autorag/"))
imported.documents, imported.questions, imported.notes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.errors import EvalError
from eval.exchange.imported import FORMATS, Collected, Format, Imported
from eval.exchange.table_files import (
    Placed,
    Row,
    parquet_columns,
    read_json,
    read_parquet,
    read_rows,
    rows_of_json,
)
from rag.documents.document import Document
from storage.records import as_json

_QA_FILES = ("qa.parquet", "qa_test.parquet", "qa_validation.parquet")
# Columns of RAGChecker's results and of ragas's samples that say something about one system's answer. They are kept,
# apart from the metadata that describes the question.
_RAGCHECKER_ANSWER = (
    "response",
    "response_claims",
    "gt_answer_claims",
    "answer2response",
    "response2answer",
    "retrieved2response",
    "retrieved2answer",
    "metrics",
)
# The present name first, then the names of older versions.
_RAGAS_NAMES: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "question_id", "sample_id", "qid"),
    "user_input": ("user_input", "question"),
    "references": ("references", "ground_truths", "answers"),
    "reference": ("reference", "ground_truth"),
    "response": ("response", "answer"),
    "reference_contexts": ("reference_contexts",),
    "retrieved_contexts": ("retrieved_contexts", "contexts"),
    "reference_context_ids": ("reference_context_ids",),
    "retrieved_context_ids": ("retrieved_context_ids",),
    "multi_responses": ("multi_responses",),
}


def import_dataset(path: Path, format: Format | None = None) -> Imported:
    """The data set in a file or folder; its format is recognised unless given.

    AutoRAG: a folder with corpus.parquet and qa.parquet, or the latter. RAGChecker: a JSON file of results. ragas: rows
    in JSON lines, JSON, CSV, Parquet or a saved data set. Ids are kept. Raises EvalError naming every faulty row (the
    first ten) and when the format is not known.
    """
    path = path.expanduser()
    if not path.exists():
        raise EvalError(f"no file or folder {str(path)!r} to import; check the path")
    found = format or recognise(path)
    read = {"autorag": _read_autorag, "ragchecker": _read_ragchecker, "ragas": _read_ragas}.get(found)
    if read is None:
        raise EvalError(f"no format {found!r}; choose one of: {', '.join(FORMATS)}")
    return read(path)


def recognise(path: Path) -> Format:
    """The format of a file or folder by its names, columns and keys. Raises EvalError when it is none that is known."""
    if path.is_dir():
        if (path / "corpus.parquet").is_file():
            return "autorag"
        if (path / "dataset_info.json").is_file():
            return "ragas"
    elif path.suffix.lower() == ".parquet":
        return "autorag" if {"qid", "retrieval_gt"} <= parquet_columns(path) else "ragas"
    elif path.suffix.lower() == ".json":
        rows = rows_of_json(read_json(path)) or []
        keys = set(rows[0]) if rows and isinstance(rows[0], Mapping) else set()
        return "ragchecker" if {"query", "gt_answer"} <= keys else "ragas"
    elif path.suffix.lower() in (".jsonl", ".csv"):
        return "ragas"
    raise EvalError(
        f"cannot tell the format of {str(path)!r}; give an AutoRAG folder (corpus.parquet and qa.parquet), the JSON "
        "results of RAGChecker, or ragas rows (.jsonl, .json, .csv, .parquet)"
    )


def _read_autorag(path: Path) -> Imported:
    """https://marker-inc-korea.github.io/AutoRAG/data_creation/data_format.html"""
    qa = _qa_file(path) if path.is_dir() else path
    found = Collected(qa)
    corpus = qa.with_name("corpus.parquet")
    if not corpus.is_file():
        raise EvalError(f"no corpus.parquet beside {str(qa)!r}; AutoRAG's data are the two of them")
    num_blank = 0
    for number, row in enumerate(read_parquet(corpus), start=1):
        name, text, metadata = row.get("doc_id"), row.get("contents"), row.get("metadata")
        if name is None or not isinstance(text, str):
            found.faults.append(f"corpus row {number}: no `doc_id` or no `contents` text")
        elif not text.strip():
            num_blank += 1
        elif str(name) in found.documents and found.documents[str(name)].text != text:
            found.faults.append(f"corpus row {number}: doc_id {name!r} is given twice with different contents")
        else:
            described = as_json(metadata) if isinstance(metadata, Mapping) else {}
            title = described.get("title")
            document = Document(str(name), title if isinstance(title, str) else "", text, described)
            found.documents.setdefault(document.id, document)
    for number, row in enumerate(read_parquet(qa), start=1):
        groups = _groups(row.get("retrieval_gt"))
        gold = [name for group in groups for name in group]
        unknown = [name for name in gold if name not in found.documents]
        if unknown:
            found.faults.append(f"row {number}: retrieval_gt {unknown[0]!r} has no text in the corpus")
            continue
        metadata = {k: v for k, v in row.items() if k not in ("qid", "query", "retrieval_gt", "generation_gt")}
        if any(len(group) > 1 for group in groups):
            # One document of every group is enough; the flat list of documents cannot say so.
            metadata["retrieval_gt"] = groups
        found.add_question(f"row {number}", row.get("qid"), row.get("query"), row.get("generation_gt"), gold, metadata)
    notes = [f"documents left out, for they have no text: {num_blank}"] if num_blank else []
    return found.finish("autorag", notes)


def _qa_file(folder: Path) -> Path:
    for name in _QA_FILES:
        if (folder / name).is_file():
            return folder / name
    others = sorted(path.name for path in folder.glob("*.parquet") if path.name != "corpus.parquet")
    known = f", one of {', '.join(others)}" if others else ""
    raise EvalError(f"no qa.parquet in {str(folder)!r}; give the file of questions itself{known}")


def _groups(gold: Any) -> list[list[str]]:
    """`retrieval_gt` as a list of groups: it may also be a flat list, where all are needed, or one id."""
    if gold is None:
        return []
    rows = gold if isinstance(gold, list | tuple) else [gold]
    groups = [row if isinstance(row, list | tuple) else [row] for row in rows]
    return [[str(name) for name in group if name is not None and str(name)] for group in groups if len(group)]


def _read_ragchecker(path: Path) -> Imported:
    """ragchecker/container.py of amazon-science/RAGChecker: RAGResults."""
    rows, faults = read_rows(path)
    found = Collected(path, faults=faults)
    for place, row in rows:
        imported = {"from": "ragchecker", **{key: row[key] for key in _RAGCHECKER_ANSWER if row.get(key) is not None}}
        retrieved = row.get("retrieved_context") or []
        if not isinstance(retrieved, list) or not all(_is_passage(passage) for passage in retrieved):
            found.faults.append(f"{place}: `retrieved_context` must be a list of objects with a `text`")
            continue
        kept = [passage for passage in retrieved if passage["text"].strip()]
        imported["retrieved_documents"] = [
            found.add_passage(passage.get("doc_id"), passage["text"]) for passage in kept
        ]
        known = ("query_id", "query", "gt_answer", "gt_answers", "retrieved_context", *_RAGCHECKER_ANSWER)
        metadata = {**{k: v for k, v in row.items() if k not in known and v is not None}, "imported": imported}
        golds = row.get("gt_answers") or row.get("gt_answer")
        found.add_question(place, row.get("query_id"), row.get("query"), golds, (), metadata)
    notes = [
        "no gold documents are known: RAGChecker names none",
        "the documents are the passages that were retrieved then; add the rest of the collection to docs.jsonl",
    ]
    return found.finish("ragchecker", notes)


def _is_passage(value: object) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("text"), str)


def _read_ragas(path: Path) -> Imported:
    """ragas.dataset_schema.SingleTurnSample, with the column names of versions before 0.2 as well."""
    rows, faults = read_rows(path)
    found = Collected(path, faults=faults)
    for place, row in rows:
        sample = _by_present_names(row)
        texts = {key: sample.get(key) or [] for key in ("reference_contexts", "retrieved_contexts")}
        faulty = next((key for key, value in texts.items() if not _is_texts(value)), None)
        if faulty is not None:
            found.faults.append(f"{place}: `{faulty}` must be a list of texts")
            continue
        ids = {
            key: _add_contexts(found, value, sample.get(key.replace("contexts", "context_ids")))
            for key, value in texts.items()
        }
        imported: dict[str, object] = {"from": "ragas"}
        imported |= {key: sample[key] for key in ("response", "multi_responses") if sample.get(key) is not None}
        if sample.get("retrieved_contexts") is not None:
            imported["retrieved_documents"] = ids["retrieved_contexts"]
        own = row.get("metadata") if isinstance(row.get("metadata"), Mapping) else {}
        known = {"metadata", *(name for names in _RAGAS_NAMES.values() for name in names)}
        rest = {key: value for key, value in row.items() if key not in known and value is not None}
        metadata = {**rest, **(own or {})} | ({"imported": imported} if len(imported) > 1 else {})
        golds = sample.get("references") or sample.get("reference")
        gold_ids = ids["reference_contexts"] or [str(name) for name in sample.get("reference_context_ids") or []]
        found.add_question(place, sample.get("id"), sample.get("user_input"), golds, gold_ids, metadata)
    return found.finish("ragas", _ragas_notes(found, rows))


def _by_present_names(row: Row) -> dict[str, Any]:
    found = {}
    for name, names in _RAGAS_NAMES.items():
        value = next((row[key] for key in names if row.get(key) is not None), None)
        if value is not None:
            found[name] = value
    return found


def _is_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)


def _add_contexts(found: Collected, texts: Sequence[str], ids: object) -> list[str]:
    names = ids if isinstance(ids, list | tuple) and len(ids) == len(texts) else [None] * len(texts)
    return [found.add_passage(name, text) for name, text in zip(names, texts, strict=True) if text.strip()]


def _ragas_notes(found: Collected, rows: Sequence[Placed]) -> list[str]:
    notes = []
    if not any(question.document_ids for question in found.questions.values()):
        notes.append("no gold documents are known: no row has reference_contexts")
    if found.documents:
        notes.append("the documents are the contexts of the rows; add the rest of the collection to docs.jsonl")
    num_answered = sum("response" in _by_present_names(row) for _, row in rows)
    if num_answered:
        notes.append(f"answers that came with the rows, kept in the metadata and not evaluated: {num_answered}")
    return notes
