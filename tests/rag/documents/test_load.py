from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from fakes.files import docx_file, pdf_file, pptx_file, xlsx_file

from rag.documents.conversions import Conversions
from rag.documents.convert import Converted
from rag.documents.document import FILE, Document, content_hash
from rag.documents.limits import Limits
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

    assert loaded.documents == tuple(
        Document(name, title, text, {**metadata, FILE: "docs.jsonl"})
        for name, title, text, metadata in [("a", "A", "x", {"n": 1}), ("b", "", "y\u2028z", {})]
    )


def test_what_cannot_be_read_is_skipped_and_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    _write(
        tmp_path,
        {
            "binary.txt": b"PK\x00\x01",
            "blank.md": " \n",
            "good.txt": "Good.",
            "broken.pdf": b"%PDF",
            "locked.pdf": pdf_file(["Secret."], password="x"),
            "photo.jpg": b"\xff\xd8",
            "rows.jsonl": _row(id="r", text="  ") + "{\n" + _row(id="s", text="Row."),
            "scan.pdf": pdf_file([""]),
            "unseen.txt": "\u200b\u200b",
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
        "broken.pdf": "corrupt PDF",
        "locked.pdf": "protected by a password; save it without one",
        "photo.jpg": ".jpg: kind not read",
        "pipe.txt": "not a regular file",
        "rows.jsonl:1": "empty text",
        "rows.jsonl:2": "malformed JSON (EOF while parsing an object at column 1); correct it",
        "scan.pdf": "no text in it; a scan needs text recognition (OCR) first",
        "unseen.txt": "empty",
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
        ('{"id": [7], "text": "x"}', "'id' must be a string, not [7]"),
        ('{"id": "a", "text": null}', "'text' must be a string, not None"),
        ('{"id": "a", "text": "x", "title": 3}', "'title' must be a string, not 3"),
        ('{"id": "a", "text": "x", "metadata": ["m"]}', "'metadata' must be an object, not ['m']"),
        ('{"id": " ", "text": "x"}', "'id' is empty"),
        ('{"id": "a", "text": "\\ud800"}', "cannot be stored"),
        ('{"id": "a\\u0000", "text": "x"}', "cannot be stored"),
        ('{"id": "a", "text": "x", "metadata": {"k": ["\\u0000"]}}', "cannot be stored"),
    ],
)
def test_a_malformed_row_of_the_one_file_is_refused_with_its_line(tmp_path: Path, line: str, complaint: str) -> None:
    _write(tmp_path, {"docs.jsonl": _row(id="good", text="Good.") + line + "\n"})

    with pytest.raises(RagError) as caught:
        load_documents(tmp_path / "docs.jsonl")

    assert str(caught.value).startswith("docs.jsonl:2: ")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_row_that_is_malformed_among_other_files_is_skipped_and_the_first_of_many_are_named(tmp_path: Path) -> None:
    _write(tmp_path, {"a.txt": "Kept.", "log.jsonl": '{"level": 3}\n' * 25})

    loaded = load_documents(tmp_path)

    assert [document.id for document in loaded.documents] == ["a"]
    assert [item.path for item in loaded.skipped] == [*(f"log.jsonl:{n}" for n in range(1, 21)), "log.jsonl"]
    assert loaded.skipped[-1].reason == "5 more malformed rows"


def test_an_id_with_two_texts_in_one_file_is_refused_and_both_places_named(tmp_path: Path) -> None:
    _write(tmp_path, {"docs.jsonl": _row(id="a", text="x") + _row(id="a", text="Another.")})

    with pytest.raises(RagError, match=r"'a' is given twice .* docs\.jsonl:1 and docs\.jsonl:2"):
        load_documents(tmp_path / "docs.jsonl")


def test_a_row_whose_id_has_another_text_in_the_folder_is_skipped_and_both_places_named(tmp_path: Path) -> None:
    _write(tmp_path, {"a.txt": "One.", "docs.jsonl": _row(id="b", text="x") + _row(id="a", text="Another.")})

    loaded = load_documents(tmp_path)

    assert [document.text for document in loaded.documents] == ["One.", "x"]
    reason = "its id 'a' has another text in a.txt; rename or remove one"
    assert [(item.path, item.reason) for item in loaded.skipped] == [("docs.jsonl:2", reason)]


def test_rows_of_two_tables_that_count_from_one_are_all_read(tmp_path: Path) -> None:
    _write(tmp_path, {"a.csv": "id,text\n1,One.\n2,Two.\n", "b.csv": "id,text\n1,Uno.\n2,Two.\n3,Tre.\n"})

    loaded = load_documents(tmp_path)

    assert [(document.id, document.text) for document in loaded.documents] == [
        ("1", "One."),
        ("2", "Two."),
        ("b.csv:1", "Uno."),
        ("3", "Tre."),
    ]
    assert [(item.path, item.reason) for item in loaded.skipped] == [("b.csv:2", "same id and text as a.csv:2")]


def test_files_that_differ_by_suffix_alone_are_all_read(tmp_path: Path) -> None:
    _write(tmp_path, {"a.md": "One.", "a.txt": "Two.", "a.html": "<p>Three.</p>", "a.csv": "k,v\n1,2\n"})

    loaded = load_documents(tmp_path)

    assert [(document.id, document.text) for document in loaded.documents] == [
        ("a.csv", "| k | v |\n| --- | --- |\n| 1 | 2 |"),
        ("a.html", "Three."),
        ("a", "One."),
        ("a.txt", "Two."),
    ]


def test_an_id_repeated_with_the_same_text_is_kept_once_and_named(tmp_path: Path) -> None:
    _write(tmp_path, {"a.md": "One.", "a.txt": "One."})

    loaded = load_documents(tmp_path)

    assert len(loaded.documents) == 1
    assert [(item.path, item.reason) for item in loaded.skipped] == [("a.txt", "same id and text as a.md")]


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({}, "the folder is empty; kinds read: .txt, .md, .html, .htm, .pdf, .docx, .pptx, .xlsx, .csv"),
        ({"a.exe": "x"}, "found a.exe (.exe: kind not read); kinds read"),
        ({"1.txt": "", "2.txt": "", "3.txt": "", "4.txt": "", "5.txt": ""}, "3.txt (empty) and 2 more"),
    ],
)
def test_a_folder_without_documents_is_refused_saying_what_was_found(
    tmp_path: Path, files: dict[str, str | bytes], complaint: str
) -> None:
    with pytest.raises(RagError) as caught:
        load_documents(_write(tmp_path, files))

    assert complaint in str(caught.value)


def test_the_kinds_that_are_read_are_named_only_where_that_helps(tmp_path: Path) -> None:
    with pytest.raises(RagError, match=r"found a.txt \(empty\)$"):
        load_documents(_write(tmp_path, {"a.txt": ""}))


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


@pytest.mark.slow
def test_each_format_keeps_its_title_headings_pages_and_source(tmp_path: Path) -> None:
    _write(
        tmp_path,
        {
            "a.pdf": pdf_file(["First page.", "Second page."], title="Rules"),
            "b.docx": docx_file(title="Desk"),
            "c.pptx": pptx_file([("Welcome", "Come in."), ("Hours", "Nine to five.")]),
            "d.xlsx": xlsx_file({"Fees": [["Item", "Fee"], ["Late", 5]]}),
            "e.html": "<title>Rooms</title><body><h1>Study</h1><p>Booked at the counter.",
            "f.json": '{"name": "Ann"}',
            "g.csv": "id;title;text;team\n7;Ann;Likes tea.;blue\n;;Likes milk.;red\n",
            "h.json": json.dumps([{"text": "One."}, {"id": "two", "text": "Two.", "metadata": {"n": 2}}]),
        },
    )

    loaded = load_documents(tmp_path)

    assert loaded.skipped == ()
    by_id = {document.id: document for document in loaded.documents}
    assert {key: document.title for key, document in by_id.items()} == {
        "a.pdf": "Rules",
        "b.docx": "Desk",
        "c.pptx": "Welcome",
        "d.xlsx": "d",
        "e.html": "Rooms",
        "f.json": "f",
        "7": "Ann",
        "g.csv:2": "",
        "h.json:1": "",
        "two": "",
    }
    assert {key: (document.source, document.metadata) for key, document in by_id.items()} == {
        **{name: (name, {"source": name}) for name in ("a.pdf", "b.docx", "c.pptx", "d.xlsx", "e.html", "f.json")},
        "7": ("g.csv", {"source": "g.csv", "team": "blue"}),
        "g.csv:2": ("g.csv", {"source": "g.csv", "team": "red"}),
        "h.json:1": ("", {FILE: "h.json"}),
        "two": ("", {FILE: "h.json", "n": 2}),
    }
    assert by_id["a.pdf"].text == "First page.\n\nSecond page."
    assert by_id["a.pdf"].pages == (0, 13)
    assert [by_id["c.pptx"].text[start:] for start in by_id["c.pptx"].pages][1] == "# Hours\nNine to five."
    assert "## Weekdays" in by_id["b.docx"].text
    assert by_id["d.xlsx"].text == "## Fees\n\n| Item | Fee |\n| --- | --- |\n| Late | 5 |"
    assert by_id["e.html"].text == "# Study\n\nBooked at the counter."
    assert by_id["f.json"].text == '{\n "name": "Ann"\n}'


class _Cache(Conversions):
    def __init__(self) -> None:
        self.kept: dict[str, Converted] = {}
        self.num_put = 0

    def __len__(self) -> int:
        return len(self.kept)

    def get(self, digest: str) -> Converted | None:
        return self.kept.get(digest)

    def put(self, digest: str, converted: Converted) -> None:
        self.kept[digest] = converted
        self.num_put += 1


def test_a_file_is_converted_again_only_when_its_bytes_change(tmp_path: Path) -> None:
    cache = _Cache()
    _write(tmp_path, {"a.html": "<p>One.</p>", "copy.html": "<p>One.</p>", "b.txt": "Text.", "bad.pdf": "x"})

    first = load_documents(tmp_path, cache=cache)
    assert cache.num_put == 1
    cache.kept = {key: Converted("kept", "from the cache") for key in cache.kept}
    assert [document.text for document in load_documents(tmp_path, cache=cache).documents] == [
        "from the cache",
        "Text.",
        "from the cache",
    ]
    _write(tmp_path, {"a.html": "<p>Two.</p>"})
    changed = load_documents(tmp_path, cache=cache)

    assert [document.text for document in first.documents] == ["One.", "Text.", "One."]
    assert changed.documents[0].text == "Two."
    assert cache.num_put == 2


def test_progress_counts_files_those_that_are_skipped_too(tmp_path: Path) -> None:
    _write(tmp_path, {"a.txt": "One.", "b.exe": "x", "c.jsonl": _row(id="c", text="x") + _row(id="d", text="y")})
    calls: list[tuple[int, int]] = []

    load_documents(str(tmp_path), progress=lambda done, total: calls.append((done, total)))

    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_a_file_over_the_size_limit_is_refused_without_being_read(tmp_path: Path) -> None:
    _write(tmp_path, {"a.txt": "One."})
    with (tmp_path / "huge.txt").open("wb") as stream:
        stream.truncate(500_000_000)

    loaded = load_documents(tmp_path)

    reason = "500.0 MB, over the limit of 100.0 MB (max_file_bytes)"
    assert [(item.path, item.reason) for item in loaded.skipped] == [("huge.txt", reason)]


def test_one_line_of_5_mb_is_read_and_one_over_the_text_limit_is_not(tmp_path: Path) -> None:
    _write(tmp_path, {"long.md": "# " + " #" * 2_500_000, "longer.txt": "x" * 6_000_000})

    loaded = load_documents(tmp_path, limits=Limits(max_text_chars=5_500_000))

    assert [len(document.text) for document in loaded.documents] == [5_000_002]
    assert [item.reason for item in loaded.skipped] == [
        "6000000 characters, over the limit of 5500000 (max_text_chars)"
    ]


def test_text_is_cleaned_before_it_is_a_document(tmp_path: Path) -> None:
    rows = _row(id="r", title="p\u200bay", text="ﬁnd it")
    _write(tmp_path, {"a.md": "# T\u00adop\r\n\r\nwi\u200bde", "b.jsonl": rows})

    assert [(document.title, document.text) for document in load_documents(tmp_path).documents] == [
        ("Top", "wide"),
        ("pay", "find it"),
    ]


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_how_a_file_of_rows_is_called_is_no_content(tmp_path: Path, kind: str) -> None:
    row = _row(id="a", text="One.", metadata={"n": 1})
    _write(tmp_path, {f"{name}.{kind}": f"[{row}]" if kind == "json" else row for name in ("one", "other")})

    first, second = (load_documents(tmp_path / f"{name}.{kind}").documents[0] for name in ("one", "other"))

    assert content_hash(first) == content_hash(second)
    assert content_hash(first) == content_hash(Document("a", "", "One.", {"n": 1}))


def test_half_a_surrogate_pair_spoils_no_more_than_its_row(tmp_path: Path) -> None:
    files = {
        "rows.json": '[{"id": "a", "text": "x \\ud83d"}, {"id": "b", "text": "y"}]',
        "page.json": '{"a": "x \\ud83d y"}',
    }

    loaded = load_documents(_write(tmp_path, files))

    assert [document.id for document in loaded.documents] == ["page.json", "b"]
    assert [item.path for item in loaded.skipped] == ["rows.json:1"]
