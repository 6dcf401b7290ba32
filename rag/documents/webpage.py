"""HTML to Markdown as a reader of the page sees it: `title, text = read_page("<h1>Hours</h1><p hidden>x</p>")`.

Word files come by here too, as the HTML that their parser makes of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

_NEVER_SHOWN = ("script", "style", "template", "noscript", "iframe", "title", "colgroup")
_HIDING = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_MARKS = ("a", "b", "strong", "i", "em")
# A browser sets them apart; as the inline elements that they are, their words would run into the next.
_BLOCKS = ("summary", "option", "legend")
_SUPERSCRIPT = str.maketrans("0123456789+-\u2212", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻")
_MAX_SPAN = 1000


def read_page(html: str) -> tuple[str, str]:
    """The page's title, '' if it has none, and what is shown of it as Markdown.

    What the markup itself hides is left out; style sheets are not read. An image is its description, a link within the
    page its words. Spanned cells of a table are filled with empty ones, so that the columns stay true.
    """
    from bs4 import BeautifulSoup
    from markdownify import ATX, MarkdownConverter

    page = BeautifulSoup(html, "lxml")
    # A drawing has a title too.
    title = next((tag.get_text() for tag in page("title") if not tag.find_parent("svg")), "")
    _drop_hidden(page)
    _show_controls(page)
    _simplify_text(page)
    for table in page("table"):
        if table.find("table"):
            _flatten_layout(table)
        else:
            _fill_table(page, table)
    # Markdown's escapes would stand in quotations and part words; a table's first row is nearly always its header.
    converter = MarkdownConverter(
        heading_style=ATX, table_infer_header=True, escape_underscores=False, escape_asterisks=False
    )
    try:
        return title, converter.convert_soup(page)
    except RecursionError:
        return title, page.get_text("\n", strip=True)


def _drop_hidden(page: BeautifulSoup) -> None:
    for tag in page(_NEVER_SHOWN):
        tag.extract()
    for tag in page(lambda tag: tag.has_attr("hidden") or bool(_HIDING.search(str(tag.get("style", ""))))):
        tag.extract()


def _show_controls(page: BeautifulSoup) -> None:
    for image in page("img"):
        image.replace_with(str(image.get("alt") or ""))
    for field in page("input"):
        kind = str(field.get("type", "text")).lower()
        box = "[x] " if field.has_attr("checked") else "[ ] "
        shown = {"checkbox": box, "radio": box, "hidden": "", "password": ""}
        field.replace_with(shown.get(kind, str(field.get("value") or "")))
    for tag in page(_BLOCKS):
        tag.name = "p"


def _simplify_text(page: BeautifulSoup) -> None:
    for heading in page(_HEADINGS):
        # The pilcrow that leads to the heading itself is for the mouse.
        for mark in heading("a"):
            if not any(map(str.isalnum, mark.get_text())):
                mark.extract()
        for mark in heading(_MARKS):
            mark.unwrap()
    for link in page("a", href=re.compile(r"^\s*(?:#|javascript:|mailto:|tel:|data:)", re.IGNORECASE)):
        link.unwrap()
    for power in page("sup"):
        # 10<sup>6</sup> is not 106.
        if (shown := power.get_text().translate(_SUPERSCRIPT)) and not re.search(r"[^⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]", shown):
            power.replace_with(shown)


def _flatten_layout(table: Tag) -> None:
    """A table that holds tables is a layout, and Markdown has no tables in tables: its cells become blocks."""
    for part in table(["thead", "tbody", "tfoot", "tr", "td", "th", "caption"]):
        if part.find_parent("table") is table:
            part.name = "div"
    table.name = "div"


def _fill_table(page: BeautifulSoup, table: Tag) -> None:
    """Empty cells under those that span rows, no bar within a cell, no row without text."""
    # By column, the first row that no cell of the rows above hangs down to.
    free_from: dict[int, int] = {}
    for number, row in enumerate(table("tr")):
        taken = {column for column, free in free_from.items() if free > number}
        column = 0
        for cell in row(["td", "th"], recursive=False):
            column = _fill(page, cell.insert_before, taken, column)
            width = _span(cell, "colspan")
            free_from |= dict.fromkeys(range(column, column + width), number + _span(cell, "rowspan"))
            column += width
            for text in cell.find_all(string=lambda text: "|" in (text or "")):
                text.replace_with(text.replace("|", "\\|"))
        _fill(page, row.append, taken, column)
        if not row.get_text(strip=True):
            row.extract()


def _fill(page: BeautifulSoup, put: Callable[[Tag], object], taken: set[int], column: int) -> int:
    """The first column from this one on that no cell hangs down to; the others get an empty cell each."""
    while column in taken:
        put(page.new_tag("td"))
        column += 1
    return column


def _span(cell: Tag, name: str) -> int:
    digits = str(cell.get(name, ""))
    return min(max(int(digits), 1), _MAX_SPAN) if digits.isdecimal() and len(digits) < 9 else 1
