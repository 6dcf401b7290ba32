"""Formats to Markdown with their pages: `convert("pdf", data, limits)`, as the process of child.py calls it.

The parsers are those of well-kept packages; why these is measured in docs/adr/0010.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

from rag.documents.archive import OFFICE_FOLDERS, check_office
from rag.documents.clean import clean
from rag.documents.encoding import decode
from rag.documents.limits import Limits
from rag.documents.markdown import split_title, table
from rag.documents.pdf import read_pdf
from rag.documents.webpage import read_page
from rag.documents.word import read_word
from rag.errors import RagError

# Raised whenever a conversion or the cleaning gives another text for the same bytes.
CONVERSION = 4
PACKAGES = ("markitdown", "mammoth", "markdownify", "beautifulsoup4", "lxml", "pypdfium2", "pdfplumber", "openpyxl")

_PAGED = ("pdf", "pptx", "xlsx")
_SLIDE = re.compile(r"^<!-- Slide number: (\d+) -->$", re.MULTILINE)
# A picture as its description and a file name that markitdown makes up.
_PICTURE = re.compile(r"^!\[([^\]\n]*)\]\(\w*\.jpg\)$", re.MULTILINE)
_SLIDE_TITLE = re.compile(r"^# .*", re.MULTILINE)
# What a number's format writes as it stands: "text", \x.
_FORMAT_TEXT = re.compile(r'"[^"]*"|\\.')
_SPACES_AT_END = re.compile(r"[ \t]+$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{3,}")
# Titles that programs write of their own accord.
_NO_TITLES = frozenset({"powerpoint presentation", "word document", "untitled", "document", "presentation"})


@dataclass(frozen=True, slots=True)
class Converted:
    """A file as text. `title` is '' if the file names none.

    `text` is Markdown where the format has headings and tables. `pages` holds the offset in `text`, in characters, at
    which each page, slide or sheet begins; () if the format has none.
    """

    title: str
    text: str
    pages: tuple[int, ...] = ()


def convert(kind: str, data: bytes, limits: Limits) -> Converted:
    """The file as clean text. `kind` is html, pdf, docx, pptx or xlsx.

    Raises RagError with the reason if the file is encrypted, torn, without text or over a limit. Other exceptions are
    those of a parser that met a file it cannot read.
    """
    if kind in OFFICE_FOLDERS:
        check_office(kind, io.BytesIO(data), limits)
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


def _html(data: bytes) -> tuple[str, list[str]]:
    from bs4.dammit import EncodingDetector

    title, text = read_page(decode(data, EncodingDetector.find_declared_encoding(data, is_html=True)))
    return title, [text]


def _docx(data: bytes) -> tuple[str, list[str]]:
    return _core_title(data), [read_page(read_word(data))[1]]


def _pptx(data: bytes) -> tuple[str, list[str]]:
    """A part a slide, its notes at its end."""
    from markitdown import StreamInfo
    from markitdown.converters import PptxConverter

    text = PptxConverter().convert(io.BytesIO(data), StreamInfo(extension=".pptx")).markdown
    text = _PICTURE.sub(r"\1", text)
    # A title may be broken into lines, a heading may not.
    text = _SLIDE_TITLE.sub(lambda title: title[0].replace("\v", " "), text)
    # A slide's own text may look like a mark; the numbers tell.
    marks: list[re.Match[str]] = []
    for mark in _SLIDE.finditer(text):
        if int(mark[1]) == len(marks) + 1:
            marks.append(mark)
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return _core_title(data), [text[mark.end() : end] for mark, end in zip(marks, ends, strict=True)]


def _xlsx(data: bytes) -> tuple[str, list[str]]:
    """A part a sheet: its name as heading, and one table of its values; those of formulas as last computed.

    A hidden sheet or a chart's is an empty part, so that the pages of the others are their places in the file.
    """
    from openpyxl import load_workbook

    workbook = load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    parts = []
    charts = workbook.chartsheets
    for sheet in (workbook[name] for name in workbook.sheetnames):
        rows = ""
        if sheet not in charts and sheet.sheet_state == "visible":
            # The size that a file states may be far from that of its content.
            sheet.reset_dimensions()
            rows = table([_shown(cell) for cell in row] for row in sheet.iter_rows())
        parts.append(f"## {sheet.title}\n\n{rows}" if rows else "")
    return workbook.properties.title or "", parts


def _shown(cell: Any) -> str:
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, (int, float)) and "%" in _FORMAT_TEXT.sub("", cell.number_format):
        return f"{value * 100:.13g}%"
    if isinstance(value, float):
        # Fifteen digits, as spreadsheets show: 0.1 * 3 is 0.3.
        return f"{value:.15g}"
    if isinstance(value, timedelta):
        minutes, seconds = divmod(abs(round(value.total_seconds())), 60)
        return f"{'-' if value < timedelta() else ''}{minutes // 60}:{minutes % 60:02}:{seconds:02}"
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
    text = ""
    starts = []
    for part in parts:
        if part and text:
            text += "\n\n"
        starts.append(len(text))
        text += part
    return text, tuple(starts)


_FORMATS: dict[str, Callable[[bytes], tuple[str, list[str]]]] = {
    "html": _html,
    "pdf": read_pdf,
    "docx": _docx,
    "pptx": _pptx,
    "xlsx": _xlsx,
}
