"""What a file is by its first bytes, whatever its name says: `check_signature("txt", data)`."""

from __future__ import annotations

from rag.errors import RagError

_NONE: frozenset[str] = frozenset()
_OFFICE = frozenset({"docx", "pptx", "xlsx"})
# How a file begins, the kinds that begin so, what it is and what to do with it.
_SIGNATURES = (
    (b"%PDF-", frozenset({"pdf"}), "a PDF; give it the suffix .pdf"),
    (b"PK\x03\x04", _OFFICE, "a zip archive or an Office file; give it the suffix of its kind"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _OFFICE, "an old Office file; save it as .docx, .pptx or .xlsx"),
    (b"{\\rtf1", _NONE, "an RTF file; save it as .docx"),
    (b"\x89PNG", _NONE, "an image; it needs text recognition (OCR) first"),
    (b"\xff\xd8\xff", _NONE, "an image; it needs text recognition (OCR) first"),
    (b"GIF8", _NONE, "an image; it needs text recognition (OCR) first"),
    (b"\x1f\x8b", _NONE, "compressed (gzip); unpack it first"),
)
# Text may hold a page's source; what is no text was meant to be something else.
_PAGES = (b"<!doctype html", b"<html")


def check_signature(kind: str, data: bytes) -> None:
    """Raises RagError with what the file is, if it is clearly of another kind than its suffix says."""
    for head, kinds, found in _SIGNATURES:
        if data.startswith(head) and kind not in kinds:
            raise RagError(f"not {kind} but {found}")
    if kind in {"pdf", *_OFFICE} and data[:500].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGES):
        raise RagError(f"not {kind} but a web page; give it the suffix .html")
