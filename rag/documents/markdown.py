"""Markdown's titles and tables: `split_title("# Hours\\n\\nNine to five.") == ("Hours", "Nine to five.")`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_HEADING = re.compile(r" {0,3}#[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*")
_FENCE = re.compile(r" {0,3}(```|~~~)")
# A longer line is no heading, and would be matched in quadratic time.
_MAX_HEADING = 500


def split_title(text: str) -> tuple[str, str]:
    """The first level-one heading outside code fences, and the text without it where it opens a longer text."""
    lines = text.split("\n")
    fence = ""
    for number, line in enumerate(lines):
        mark = _FENCE.match(line)
        if mark and (not fence or mark[1] == fence):
            fence = "" if fence else mark[1]
        heading = None if fence or len(line) > _MAX_HEADING else _HEADING.fullmatch(line)
        if heading and heading[1]:
            before, after = "".join(lines[:number]), "\n".join(lines[number + 1 :]).strip("\n")
            return heading[1], after if after.strip() and not before.strip() else text
    return "", text


def table(rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table with the first row as header; '' for no rows. Empty rows and last columns are left out."""
    kept = [[_cell(value) for value in row] for row in rows]
    kept = [row for row in kept if any(row)]
    width = max((place + 1 for row in kept for place, value in enumerate(row) if value), default=0)
    lines = [_line(row[:width] + [""] * (width - len(row))) for row in kept]
    return "\n".join([*lines[:1], _line(["---"] * width), *lines[1:]]) if lines else ""


def _cell(value: str) -> str:
    return " ".join(value.split()).replace("|", "\\|")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
