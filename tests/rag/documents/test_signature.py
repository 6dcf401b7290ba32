from __future__ import annotations

from pathlib import Path

import pytest
from fakes.files import docx_file, pdf_file, xlsx_file, zip_file

from rag.documents.load import read_upload
from rag.errors import RagError

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
PAGE = b"\n<!DOCTYPE html><html><body>Log in.</body></html>"


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.txt", pdf_file(["x"]), "not txt but a PDF; give it the suffix .pdf"),
        ("a.csv", xlsx_file({"A": [["x"]]}), "not csv but a zip archive or an Office file"),
        ("a.md", OLE, "not md but an old Office file"),
        ("a.txt", b"{\\rtf1 x}", "not txt but an RTF file; save it as .docx"),
        ("a.html", b"\x89PNG\r\n", "not html but an image"),
        ("a.jsonl", b"\x1f\x8b\x08", "not jsonl but compressed (gzip); unpack it first"),
        ("a.docx", pdf_file(["x"]), "not docx but a PDF; give it the suffix .pdf"),
        ("a.docx", xlsx_file({"A": [["x"]]}), "not docx but xlsx; give it the suffix .xlsx"),
        ("a.xlsx", docx_file(), "not xlsx but docx; give it the suffix .docx"),
        ("a.pdf", PAGE, "not pdf but a web page; give it the suffix .html"),
        ("a.pptx", PAGE, "not pptx but a web page; give it the suffix .html"),
        ("a.xlsx", b"a,b\n1,2\n", "no xlsx file"),
        ("a.docx", zip_file({"a.txt": "x"}), "corrupt, or no docx file"),
    ],
)
def test_a_file_of_another_kind_than_its_suffix_says_is_called_what_it_is(
    tmp_path: Path, name: str, data: bytes, reason: str
) -> None:
    (tmp_path / "file").write_bytes(data)

    with pytest.raises(RagError) as caught:
        read_upload(name, tmp_path / "file", document_id="a")

    assert str(caught.value).startswith(f"{name!r}: {reason}")


@pytest.mark.parametrize(("name", "data"), [("a.txt", PAGE), ("a.pdf", b"HTTP/1.1 200 OK\r\n\r\n" + pdf_file(["x"]))])
def test_what_may_begin_so_is_read(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)

    assert read_upload(name, tmp_path / "file", document_id="a").text
