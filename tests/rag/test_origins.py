from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from rag.documents.document import Document
from rag.documents.load import load_documents
from rag.index import DocumentEntry
from rag.origins import with_own_ids

ROWS = ("faq1", "faq.csv", "x1")


def _entries(documents: Iterable[Document], origin: Path) -> list[DocumentEntry]:
    return [DocumentEntry(d.id, d.title, d.source, 1, len(d.text), str(origin), {}, "") for d in documents]


def _write(file: Path, ids: Iterable[str | None]) -> Path:
    """Rows in the format that the name says, without an id where there is none."""
    rows = [
        {**({"id": name} if name else {}), "text": f"Row {number} of {file}."} for number, name in enumerate(ids, 1)
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".csv":
        text = "id,text\n" + "".join(f"{row.get('id', '')},{row['text']}\n" for row in rows)
    elif file.suffix == ".json":
        text = json.dumps(rows)
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows)
    file.write_text(text)
    return file


def _ids(path: Path, entries: list[DocumentEntry]) -> list[str]:
    return [document.id for document in with_own_ids(load_documents(path), str(path), entries)]


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl"])
def test_a_row_that_brings_an_id_keeps_it_however_it_is_spelled(tmp_path: Path, kind: str) -> None:
    first, second = (_write(tmp_path / folder / f"faq.{kind}", ROWS) for folder in ("a", "b"))
    entries = _entries(load_documents(first).documents, first)

    assert _ids(second, entries) == list(ROWS)


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_rows_without_an_id_in_files_of_one_name_are_told_apart(tmp_path: Path, kind: str) -> None:
    first, second = (_write(tmp_path / folder / f"faq.{kind}", [None, None]) for folder in ("a", "b"))
    entries = _entries(load_documents(first).documents, first)

    given = _ids(second, entries)

    assert len({*given, *(entry.id for entry in entries)}) == 4
    assert [name.partition("~")[0] for name in given] == [f"faq.{kind}:1", f"faq.{kind}:2"]


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_rows_of_a_file_that_is_read_by_two_paths_are_the_same_documents(tmp_path: Path, kind: str) -> None:
    file = _write(tmp_path / "docs" / "sub" / f"faq.{kind}", [None, None])
    folder = tmp_path / "docs"
    entries = _entries(load_documents(folder).documents, folder)

    assert _ids(file, entries) == [f"sub/faq.{kind}:1", f"sub/faq.{kind}:2"]


def test_a_file_keeps_the_id_that_it_was_told_apart_by(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x~abcdef.txt").write_text(f"Of {folder}.")
    first, second = tmp_path / "a", tmp_path / "b"
    entries = _entries(load_documents(first).documents, first)
    (apart,) = with_own_ids(load_documents(second), str(second), entries)
    assert apart.id.startswith("x~abcdef~")
    entries += _entries([apart], second)

    assert _ids(second, entries) == [apart.id]
    assert _ids(second / "x~abcdef.txt", entries) == [apart.id]
