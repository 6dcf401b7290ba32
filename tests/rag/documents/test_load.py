from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rag.documents.document import Document, content_hash
from rag.documents.load import load_documents
from rag.errors import RagError


def _write(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def _row(**values: object) -> str:
    return json.dumps(values) + "\n"


def test_a_folder_is_read_recursively_and_ids_are_paths_without_suffix(tmp_path: Path) -> None:
    folder = _write(
        tmp_path, {"loan-desk_hours.txt": "Nine to five.", "sub/x.md": "# X\n\nBody.", "b.MD": "No heading."}
    )

    loaded = load_documents(folder)

    assert [(document.id, document.title, document.text) for document in loaded.documents] == [
        ("b", "b", "No heading."),
        ("loan-desk_hours", "loan desk hours", "Nine to five."),
        ("sub/x", "X", "Body."),
    ]
    assert loaded.documents[2].metadata == {"source": "sub/x.md"}
    assert loaded.skipped == ()


def test_one_file_is_read_alone(tmp_path: Path) -> None:
    _write(tmp_path, {"a.txt": "One.", "b.txt": "Two."})

    assert [document.id for document in load_documents(tmp_path / "a.txt").documents] == ["a"]


@pytest.mark.parametrize(
    ("markdown", "title", "text"),
    [
        ("# Hours\n\nNine to five.\n", "Hours", "Nine to five."),
        ("\n\n# C# #\nBody.", "C#", "Body."),
        ("Before.\n\n# Later\nAfter.", "Later", "Before.\n\n# Later\nAfter."),
        ("# Alone\n", "Alone", "# Alone\n"),
        ("```\n# not a title\n```\n# Real\nBody.", "Real", "```\n# not a title\n```\n# Real\nBody."),
        ("## Second level\nBody.", "note", "## Second level\nBody."),
        ("#hashtag\nBody.", "note", "#hashtag\nBody."),
    ],
)
def test_markdown_title_is_the_first_level_one_heading_and_no_text_is_lost(
    tmp_path: Path, markdown: str, title: str, text: str
) -> None:
    document = load_documents(_write(tmp_path, {"note.md": markdown})).documents[0]

    assert (document.title, document.text) == (title, text)


def test_jsonl_rows_become_documents_with_a_bom_blank_lines_and_line_separators_inside_text(tmp_path: Path) -> None:
    rows = (
        "\ufeff" + _row(id="a", title="A", text="x", metadata={"n": 1}) + "\n" + '{"id": "b", "text": "y\u2028z"}\r\n'
    )

    loaded = load_documents(_write(tmp_path, {"docs.jsonl": rows}))

    assert loaded.documents == (Document("a", "A", "x", {"n": 1}), Document("b", "", "y\u2028z", {}))


def test_what_cannot_be_read_is_skipped_and_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    _write(
        tmp_path,
        {
            "binary.txt": b"PK\x00\x01",
            "blank.md": " \n",
            "good.txt": "Good.",
            "latin.txt": "caf\xe9".encode("latin-1"),
            "paper.pdf": b"%PDF",
            "rows.jsonl": _row(id="r", text="  ") + _row(id="s", text="Row."),
            ".hidden/x.txt": "Hidden.",
            ".hidden.txt": "Hidden.",
        },
    )
    (tmp_path / "broken.txt").symlink_to(tmp_path / "nowhere.txt")
    os.mkfifo(tmp_path / "pipe.txt")

    loaded = load_documents(tmp_path)

    assert [document.id for document in loaded.documents] == ["good", "s"]
    assert {item.path: item.reason for item in loaded.skipped} == {
        ".hidden": "hidden folder",
        ".hidden.txt": "hidden file",
        "binary.txt": "binary (holds NUL bytes)",
        "blank.md": "empty",
        "broken.txt": "cannot be read: No such file or directory",
        "latin.txt": "not UTF-8 text (byte 3)",
        "paper.pdf": ".pdf: kind not read",
        "pipe.txt": "not a regular file",
        "rows.jsonl:1": "empty text",
    }


def test_a_link_to_a_folder_above_is_not_walked(tmp_path: Path) -> None:
    _write(tmp_path, {"sub/a.txt": "One."})
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)

    loaded = load_documents(tmp_path)

    assert [document.id for document in loaded.documents] == ["sub/a"]
    assert [(item.path, item.reason) for item in loaded.skipped] == [("sub/loop", "link to a folder, not followed")]


def test_a_file_name_that_is_not_utf8_is_skipped(tmp_path: Path) -> None:
    _write(tmp_path, {"a.txt": "One."})
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_text("Two.")

    skipped = load_documents(tmp_path).skipped

    assert [(item.path, item.reason) for item in skipped] == [("\\xff.txt", "its name is not UTF-8")]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"id": "a", "text": "x"', "malformed JSON"),
        ("[" * 100_000, "malformed JSON"),
        ("[1, 2]", "is not an object"),
        ('{"text": "x"}', "no 'id'"),
        ('{"id": "a"}', "no 'text'"),
        ('{"id": 7, "text": "x"}', "'id' must be a string, not 7"),
        ('{"id": "a", "text": null}', "'text' must be a string, not None"),
        ('{"id": "a", "text": "x", "title": 3}', "'title' must be a string, not 3"),
        ('{"id": "a", "text": "x", "metadata": ["m"]}', "'metadata' must be an object, not ['m']"),
        ('{"id": " ", "text": "x"}', "'id' is empty"),
        ('{"id": "a", "text": "\\ud800"}', "cannot be stored"),
    ],
)
def test_a_malformed_row_is_refused_with_file_and_line(tmp_path: Path, line: str, complaint: str) -> None:
    _write(tmp_path, {"docs.jsonl": _row(id="good", text="Good.") + line + "\n"})

    with pytest.raises(RagError) as caught:
        load_documents(tmp_path)

    assert str(caught.value).startswith("docs.jsonl:2: ")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_id_with_two_texts_is_refused_and_both_places_named(tmp_path: Path) -> None:
    _write(tmp_path, {"a.txt": "One.", "docs.jsonl": _row(id="b", text="x") + _row(id="a", text="Another.")})

    with pytest.raises(RagError, match=r"'a' is given twice .* a\.txt and docs\.jsonl:2"):
        load_documents(tmp_path)


def test_an_id_repeated_with_the_same_text_is_kept_once_and_named(tmp_path: Path) -> None:
    _write(tmp_path, {"a.md": "One.", "a.txt": "One."})

    loaded = load_documents(tmp_path)

    assert len(loaded.documents) == 1
    assert [(item.path, item.reason) for item in loaded.skipped] == [("a.txt", "same id and text as a.md")]


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({}, "the folder is empty; kinds read: .txt, .md, .jsonl"),
        ({"a.pdf": "x"}, "found a.pdf (.pdf: kind not read); kinds read"),
        ({"1.txt": "", "2.txt": "", "3.txt": "", "4.txt": "", "5.txt": ""}, "3.txt (empty) and 2 more"),
    ],
)
def test_a_folder_without_documents_is_refused_saying_what_was_found(
    tmp_path: Path, files: dict[str, str | bytes], complaint: str
) -> None:
    with pytest.raises(RagError) as caught:
        load_documents(_write(tmp_path, files))

    assert complaint in str(caught.value)


@pytest.mark.parametrize("name", ["missing", "missing/deep.txt", "nul\x00", "x" * 5000])
def test_a_path_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RagError, match="no folder or file"):
        load_documents(tmp_path / name)


def test_content_hash_changes_with_every_part_and_not_with_key_order() -> None:
    document = Document("a", "T", "x", {"m": 1, "n": 2})

    assert content_hash(document) == content_hash(Document("a", "T", "x", {"n": 2, "m": 1}))
    others = [
        Document("b", "T", "x", {"m": 1, "n": 2}),
        Document("a", "U", "x", {"m": 1, "n": 2}),
        Document("a", "T", "y", {"m": 1, "n": 2}),
        Document("a", "T", "x", {"m": 1}),
    ]
    assert len({content_hash(other) for other in (document, *others)}) == 5


def test_content_hash_refuses_metadata_that_is_not_json() -> None:
    with pytest.raises(RagError, match="document 'a' cannot be stored"):
        content_hash(Document("a", "", "x", {"m": object()}))
