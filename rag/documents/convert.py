"""Formats to Markdown with their pages: `convert("pdf", data, limits)`, as the child process of worker.py calls it.

The parsers are those of well-kept packages; why these is measured in docs/adr/0010.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from datetime import datetime, time
from functools import cache
from typing import Any

from rag.documents.archive import check_office
from rag.documents.clean import clean
from rag.documents.converted import Converted
from rag.documents.encoding import check_text
from rag.documents.limits import Limits
from rag.documents.markdown import split_title, table
from rag.errors import RagError

# Raised whenever a conversion or the cleaning gives another text for the same bytes.
CONVERSION = 1
PACKAGES = ("markitdown", "mammoth", "markdownify", "pypdfium2", "pdfplumber", "openpyxl")

_PAGED = ("pdf", "pptx", "xlsx")
_SLIDE = re.compile(r"^<!-- Slide number: (\d+) -->$", re.MULTILINE)
_IMAGE_DATA = re.compile(r"!\[([^\]\n]*)\]\(data:[^)\n]*\)")
_SPACES_AT_END = re.compile(r"[ \t]+$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{3,}")
# Titles that programs write of their own accord.
_NO_TITLES = frozenset({"powerpoint presentation", "word document", "untitled", "document", "presentation"})
# Markdown's escapes would stand in quotations and part words; a table's first row is nearly always its header.
_MARKDOWN: dict[str, Any] = {"escape_underscores": False, "escape_asterisks": False, "table_infer_header": True}
_TITLE_STYLE = "p[style-name='Title'] => h1:fresh"
# Fewer lines make no table; far more are a drawing, in which looking for tables takes minutes.
_TABLE_LINES = range(4, 2000)
# At up to 0.3 s a page the search must end before the time limit does; the pages behind keep their plain text.
_MAX_TABLE_PAGES = 200


def convert(kind: str, data: bytes, limits: Limits) -> Converted:
    """The file as clean text. `kind` is html, pdf, docx, pptx or xlsx.

    Raises RagError with the reason if the file is encrypted, torn, without text or over a limit. Other exceptions are
    those of a parser that met a file it cannot read.
    """
    if kind in ("docx", "pptx", "xlsx"):
        check_office(io.BytesIO(data), limits)
    title, parts = _FORMATS[kind](data)
    title = " ".join(clean(title).split())
    text, pages = _join(_tidy(part) for part in parts)
    if kind not in _PAGED:
        pages = ()
    if not text:
        is_scan = kind == "pdf"
        raise RagError("no text in it; a scan needs text recognition (OCR) first" if is_scan else "empty")
    if len(text) > limits.max_text_chars:
        raise RagError(f"{len(text)} characters, over the limit of {limits.max_text_chars} (max_text_chars)")
    if title.lower() in _NO_TITLES:
        title = ""
    if kind != "pdf" and (found := split_title(text))[0] and title in ("", found[0]):
        # Where pages count, their offsets must stay true.
        title, text = (found[0], text) if pages else found
    return Converted(title, text, pages)


def _pdf(data: bytes) -> tuple[str, list[str]]:
    """A part a page. Bookmarks make headings, ruled tables become Markdown."""
    import pypdfium2
    from pypdfium2.raw import FPDF_PAGEOBJ_PATH

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        is_locked = "password" in str(error).lower()
        raise RagError("protected by a password; save it without one" if is_locked else "corrupt PDF") from error
    headings: dict[int, list[tuple[int, str]]] = {}
    for bookmark in document.get_toc(max_depth=6):
        target = bookmark.get_dest()
        if target and (place := target.get_index()) is not None:
            headings.setdefault(place, []).append((bookmark.level, bookmark.get_title()))
    parts = []
    with ExitStack() as opened:

        @cache
        def ruled_pages() -> Any:
            import pdfplumber

            return opened.enter_context(pdfplumber.open(io.BytesIO(data))).pages

        num_searched = 0
        for number in range(len(document)):
            page = document[number]
            text_page = page.get_textpage()
            text = text_page.get_text_bounded()
            lines = sum(1 for _ in page.get_objects(filter=[FPDF_PAGEOBJ_PATH]))
            if text.strip() and lines in _TABLE_LINES and num_searched < _MAX_TABLE_PAGES:
                num_searched += 1
                text = _with_tables(text, text_page, ruled_pages()[number])
            parts.append(_mark_headings(clean(text), headings.get(number, ())))
            page.close()
    return document.get_metadata_value("Title"), parts


def _with_tables(text: str, text_page: Any, ruled_page: Any) -> str:
    """The page's text with its tables as Markdown, if every character is kept by that; else as it stands."""
    try:
        found = sorted((found.bbox[1], found.bbox[3], found.extract()) for found in ruled_page.find_tables())
    except Exception:
        # Its parser gave up on a page that pdfium reads; the page has its text all the same.
        found = []
    height = top = ruled_page.height
    ruled_page.close()
    kept = Counter(_characters(text))
    pieces: list[str] = []
    for upper, lower, rows in found:
        cells = [[cell or "" for cell in row] for row in rows]
        if len(cells) > 1 and max(map(len, cells)) > 1:
            above = text_page.get_text_bounded(bottom=height - upper, top=top)
            kept.subtract(_characters(above + "".join(cell for row in cells for cell in row)))
            pieces += [above, table(cells)]
            top = height - lower
    pieces.append(text_page.get_text_bounded(top=top))
    kept.subtract(_characters(pieces[-1]))
    return text if any(kept.values()) else "\n\n".join(piece for piece in pieces if piece.strip())


def _characters(text: str) -> str:
    return "".join(clean(text).split())


def _mark_headings(text: str, headings: Sequence[tuple[int, str]]) -> str:
    """The text with the lines that are bookmarks' titles made headings."""
    lines = text.split("\n")
    for level, title in headings:
        wanted = _characters(title)
        place = next((place for place, line in enumerate(lines) if wanted and _characters(line) == wanted), None)
        if place is not None:
            lines[place] = f"\n{'#' * min(level + 1, 6)} {lines[place].strip()}\n"
    return "\n".join(lines)


def _html(data: bytes) -> tuple[str, list[str]]:
    from markitdown import StreamInfo
    from markitdown.converters import HtmlConverter

    # The parser would leave such bytes out, and a damaged file would look like an empty one.
    check_text(data)
    text = HtmlConverter().convert(io.BytesIO(data), StreamInfo(extension=".html"), **_MARKDOWN)
    return text.title or "", [text.markdown]


def _docx(data: bytes) -> tuple[str, list[str]]:
    from markitdown import StreamInfo
    from markitdown.converters import DocxConverter

    stream = io.BytesIO(data)
    text = DocxConverter().convert(stream, StreamInfo(extension=".docx"), style_map=_TITLE_STYLE, **_MARKDOWN)
    return _core_title(data), [_IMAGE_DATA.sub(r"\1", text.markdown)]


def _pptx(data: bytes) -> tuple[str, list[str]]:
    """A part a slide, its notes at its end."""
    from markitdown import StreamInfo
    from markitdown.converters import PptxConverter

    text = PptxConverter().convert(io.BytesIO(data), StreamInfo(extension=".pptx")).markdown
    # A slide's own text may look like a mark; the numbers tell.
    marks: list[re.Match[str]] = []
    for mark in _SLIDE.finditer(text):
        if int(mark[1]) == len(marks) + 1:
            marks.append(mark)
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return _core_title(data), [text[mark.end() : end] for mark, end in zip(marks, ends, strict=True)]


def _xlsx(data: bytes) -> tuple[str, list[str]]:
    """A part a sheet: its name as heading, and one table of its values; those of formulas as last computed."""
    from openpyxl import load_workbook

    workbook = load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    parts = []
    for sheet in workbook.worksheets:
        # The size that a file states may be far from that of its content.
        sheet.reset_dimensions()
        rows = table([_shown(value) for value in row] for row in sheet.iter_rows(values_only=True))
        parts.append(f"## {sheet.title}\n\n{rows}" if rows else "")
    return workbook.properties.title or "", parts


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        # Fifteen digits, as spreadsheets show: 0.1 * 3 is 0.3.
        return f"{value:.15g}"
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(sep=" ")
    return str(value)


def _core_title(data: bytes) -> str:
    """The title among the properties that docx and pptx share; '' if there is none."""
    import zipfile

    from openpyxl.packaging.core import DocumentProperties
    from openpyxl.xml.functions import fromstring

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return DocumentProperties.from_tree(fromstring(archive.read("docProps/core.xml"))).title or ""
    except (KeyError, TypeError, ValueError, SyntaxError):
        return ""


def _tidy(part: str) -> str:
    return _BLANK_LINES.sub("\n\n", _SPACES_AT_END.sub("", clean(part))).strip()


def _join(parts: Iterable[str]) -> tuple[str, tuple[int, ...]]:
    """The parts a blank line apart, and where each begins; an empty part begins where the text before it ends."""
    pieces: list[str] = []
    starts = []
    length = 0
    for part in parts:
        if part and length:
            pieces.append("\n\n")
            length += 2
        starts.append(length)
        pieces.append(part)
        length += len(part)
    return "".join(pieces), tuple(starts)


_FORMATS: dict[str, Callable[[bytes], tuple[str, list[str]]]] = {
    "html": _html,
    "pdf": _pdf,
    "docx": _docx,
    "pptx": _pptx,
    "xlsx": _xlsx,
}
