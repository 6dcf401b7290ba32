from __future__ import annotations

from pathlib import Path

import pytest
from fakes.files import pdf_file, zip_file

from rag.documents.limits import Limits
from rag.documents.load import read_upload
from rag.errors import RagError


@pytest.mark.parametrize(
    ("name", "data", "title", "text"),
    [
        ("notes/b.txt", b"One.", "b", "One."),
        ("a.pdf", pdf_file(["One.", "Two."]), "a", "One.\n\nTwo."),
        ("rows.jsonl", b'{"id": "a", "title": "A", "text": "x"}\n{"id": "b", "text": "y"}', "rows", "## A\n\nx\n\ny"),
        ("chat.jsonl", b'{"messages": []}\n', "chat", '{"messages": []}\n'),
        ("rows.csv", b"text\nx\ny\n", "rows", "x\n\ny"),
        ("table.csv", b"k,v\n1,2\n", "table", "| k | v |\n| --- | --- |\n| 1 | 2 |"),
    ],
)
def test_an_upload_is_one_document_under_the_id_given(
    tmp_path: Path, name: str, data: bytes, title: str, text: str
) -> None:
    (tmp_path / "upload").write_bytes(data)

    document = read_upload(name, tmp_path / "upload", document_id="file-1")

    assert (document.id, document.title, document.text, document.source) == ("file-1", title, text, name)
    assert document.metadata == {}


@pytest.mark.parametrize(
    ("name", "data", "complaint"),
    [
        ("a.zip", zip_file({"a.txt": "x"}), "'a.zip': .zip: kind not read; kinds read: .txt"),
        ("a", b"x", "'a': no suffix: kind not read"),
        ("a.txt", b" \n", "'a.txt': empty"),
        ("a.pdf", pdf_file(["x"], password="p"), "'a.pdf': protected by a password"),
        ("a.docx", b"x", "'a.docx': no docx file"),
        ("a.json", b"{", "'a.json': malformed JSON"),
        ("a.jsonl", b'{"id": "a", "text": "x"}\n{}', "'a.jsonl': row 2: no 'id'"),
        ("a.txt", b"x" * 2000, "'a.txt': 2000 bytes, over the limit of 1500 bytes"),
    ],
)
def test_an_upload_that_cannot_be_read_is_refused_in_one_line(
    tmp_path: Path, name: str, data: bytes, complaint: str
) -> None:
    (tmp_path / "upload").write_bytes(data)

    with pytest.raises(RagError) as caught:
        read_upload(name, tmp_path / "upload", document_id="f", limits=Limits(max_file_bytes=1500))

    assert str(caught.value).startswith(complaint)
    assert "\n" not in str(caught.value)
