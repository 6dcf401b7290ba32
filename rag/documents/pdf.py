"""PDF files, a text a page: `title, pages = read_pdf(data)`."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache
from itertools import islice
from typing import Any

from rag.documents.clean import clean
from rag.documents.markdown import table
from rag.errors import RagError

# What programs put before the name of the file that they printed.
_PRINTED_FROM = re.compile(r"^Microsoft (?:Word|PowerPoint|Excel) - ")
# What pdfium makes of a hyphen at the end of a line, with the character that it joins to it.
_LINE_HYPHEN = re.compile("\x02(.?)")
_CELL_HYPHEN = re.compile(r"(?<=[^\W\d_])-\n")
# Fewer lines make no table; far more are a drawing, in which looking for tables takes minutes.
_TABLE_LINES = range(4, 2000)
# At up to 0.3 s a page the search must end before the time limit does; the pages behind keep their plain text.
_MAX_TABLE_PAGES = 200
_MAX_HEADING_LINES = 3
# The first pieces of text tell how a page is turned.
_NUM_TOLD = 20


def read_pdf(data: bytes) -> tuple[str, list[str]]:
    """The title that the file names, and the text of each page as it is shown, forms and notes on it included.

    Bookmarks make headings, ruled tables become Markdown. Raises RagError if it is no PDF or protected.
    """
    import pypdfium2
    from pypdfium2.raw import FPDF_PAGEOBJ_PATH

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        is_locked = "password" in str(error).lower()
        raise RagError("protected by a password; save it without one" if is_locked else "corrupt PDF") from error
    # Without this, fields that hold a value and no picture of it would be empty.
    document.init_forms()
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
            page = _open_page(document, number)
            turned = _turn_upright(page)
            text_page = page.get_textpage()
            text = text_page.get_text_bounded(*turned)
            lines = sum(1 for _ in page.get_objects(filter=[FPDF_PAGEOBJ_PATH]))
            if text.strip() and lines in _TABLE_LINES and not turned and num_searched < _MAX_TABLE_PAGES:
                num_searched += 1
                text = _with_tables(text, text_page, ruled_pages()[number])
            parts.append(_mark_headings(_read(text), headings.get(number, ())))
            page.close()
    return _PRINTED_FROM.sub("", document.get_metadata_value("Title")), parts


def _open_page(document: Any, number: int) -> Any:
    """The page, with what lies on it (fields of a form, notes, stamps) made part of it."""
    from pypdfium2 import raw

    page = document[number]
    if raw.FPDFPage_GetAnnotCount(page) > 0 and raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY) == (
        raw.FLATTEN_SUCCESS
    ):
        page.close()
        page = document[number]
    return page


def _turn_upright(page: Any) -> tuple[float, ...]:
    """Turns a page so that its text runs from left to right, however it is shown.

    Lines that run up or down pdfium reads from the last to the first, or joins without a space. Gives the bounds
    (left, bottom, right, top) of a page whose content had to be turned; else ().
    """
    from pypdfium2 import PdfMatrix
    from pypdfium2.raw import FPDF_PAGEOBJ_TEXT

    page.set_rotation(0)
    pieces = islice(page.get_objects(filter=[FPDF_PAGEOBJ_TEXT], max_depth=1), _NUM_TOLD)
    matrices = [piece.get_matrix() for piece in pieces]
    slopes = [matrix.b for matrix in matrices if abs(matrix.b) > abs(matrix.a)]
    if 2 * len(slopes) <= len(matrices):
        return ()
    is_upward = slopes[0] > 0
    left, bottom, right, top = page.get_bbox()
    turn = PdfMatrix().rotate(90, ccw=not is_upward)
    for item in page.get_objects(max_depth=1):
        item.transform(turn)
    return (bottom, -right, top, -left) if is_upward else (-top, left, -bottom, right)


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
        cells = [[_read(_CELL_HYPHEN.sub("\x02", cell or "")) for cell in row] for row in rows]
        if len(cells) > 1 and max(map(len, cells)) > 1:
            above = text_page.get_text_bounded(bottom=height - upper, top=top)
            kept.subtract(_characters(above + "".join(cell for row in cells for cell in row)))
            pieces += [above, table(cells)]
            top = height - lower
    pieces.append(text_page.get_text_bounded(top=top))
    kept.subtract(_characters(pieces[-1]))
    return text if any(kept.values()) else "\n\n".join(piece for piece in pieces if piece.strip())


def _read(text: str) -> str:
    """Clean text with the words whole that line ends part; 2020-21 and Nord-Süd keep their hyphen."""
    return clean(_LINE_HYPHEN.sub(lambda hyphen: hyphen[1] if hyphen[1].islower() else f"-{hyphen[1]}", text))


def _characters(text: str) -> str:
    return "".join(_read(text).split())


def _mark_headings(text: str, headings: Sequence[tuple[int, str]]) -> str:
    """The text with the lines that are bookmarks' titles made headings; a long title may take several lines."""
    lines = text.split("\n")
    for level, title in headings:
        wanted = _characters(title)
        known = [_characters(line) for line in lines] if wanted else []
        spans = ((place, place + size) for size in range(1, _MAX_HEADING_LINES + 1) for place in range(len(known)))
        if found := next((span for span in spans if "".join(known[slice(*span)]) == wanted), None):
            heading = " ".join(" ".join(lines[slice(*found)]).split())
            lines[slice(*found)] = [f"\n{'#' * min(level + 1, 6)} {heading}\n"]
    return "\n".join(lines)
