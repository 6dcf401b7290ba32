"""Markdown's titles and tables: `split_title("# Hours\\n\\nNine to five.") == ("Hours", "Nine to five.")`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# Only what lies at the very start, between lines of dashes, is front matter.
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.{0,20000}?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_HEADING = re.compile(r" {0,3}#[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*")
_UNDERLINE = re.compile(r" {0,3}=+[ \t]*")
_FENCE = re.compile(r" {0,3}(```|~~~)")
# A longer line is no heading, and would be matched in quadratic time.
_MAX_HEADING = 500


def split_title(text: str) -> tuple[str, str]:
    """The title of YAML front matter, or the first level-one heading outside of that and of code fences.

    The text comes without the heading where it opens a longer text.
    """
    front = _FRONT_MATTER.match(text)
    if front and (title := _front_title(front[1])):
        return title, text
    lines = text.split("\n")
    fence = ""
    first = text.count("\n", 0, front.end()) if front else 0
    for number, line in enumerate(lines[first:], start=first):
        mark = _FENCE.match(line)
        if mark and (not fence or mark[1] == fence):
            fence = "" if fence else mark[1]
        if fence or len(line) > _MAX_HEADING:
            continue
        heading = _HEADING.fullmatch(line)
        is_underlined = bool(line.strip()) and number + 1 < len(lines) and _UNDERLINE.fullmatch(lines[number + 1])
        if title := heading[1] if heading else line.strip() if is_underlined else "":
            before = "".join(lines[:number])
            after = "\n".join(lines[number + (1 if heading else 2) :]).strip("\n")
            return title, after if after.strip() and not before.strip() else text
    return "", text


def _front_title(front_matter: str) -> str:
    import yaml

    try:
        values = yaml.safe_load(front_matter)
    except (yaml.YAMLError, ValueError, RecursionError):
        return ""
    title = values.get("title") if isinstance(values, dict) else None
    return " ".join(str(title).split()) if isinstance(title, (str, int, float)) else ""


def table(rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table with the first row as header; '' for no rows. Empty rows and columns are left out."""
    kept = [[" ".join(value.split()).replace("|", "\\|") for value in row] for row in rows]
    kept = [row for row in kept if any(row)]
    columns = sorted({place for row in kept for place, value in enumerate(row) if value})
    lines = [_line([row[place] if place < len(row) else "" for place in columns]) for row in kept]
    return "\n".join([*lines[:1], _line(["---"] * len(columns)), *lines[1:]]) if lines else ""


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
