"""What Markdown says of a text's structure: `read_outline(text).headings((start, end))`."""

from __future__ import annotations

import functools
import itertools
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import Any

from rag.chunking.packing import Blocks, Range
from rag.chunking.tokens import Tokens

# A longer one is a paragraph that looks like a heading, and would crowd the text out of what is embedded.
_MAX_HEADING_CHARS = 120
_MAX_COLUMNS_CHARS = 240
_MAX_MARKED_CHARS = 1000

# markdown-it's line ends.
_LINE_END = re.compile(r"\r\n?|\n")
_LINE = re.compile(r"[^\r\n]+")
_HASH_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+\S", re.MULTILINE)
_INLINE_MARK = re.compile(r"[\\`*_\[\]<&!~]")
_NOT_SPACE = re.compile(r"\S")


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the text up to the next heading of any level, from the offset `start` on.

    `path` holds the headings that it stands under, its own the last; `level` is 1 to 6, 0 for the text before the first
    heading. `body` is the offset of the first character behind the heading line that is no white space; None if there
    is none.
    """

    start: int
    level: int
    path: tuple[str, ...]
    body: int | None


@dataclass(frozen=True, slots=True)
class Outline:
    """A text's sections in order (the first begins at 0), its tables and its code, all by offsets in the text.

    `columns` are the names of each table's columns in one line, '' where that would be too long.
    """

    sections: tuple[Section, ...]
    tables: tuple[Range, ...] = ()
    code: tuple[Range, ...] = ()
    columns: tuple[str, ...] = ()

    def headings(self, within: Range) -> tuple[str, ...]:
        """The headings under which all the text in the range stands, outermost first.

        Behind them the columns of the table that the range begins within: rows say little without.
        """
        last = bisect_left(self.tables, within[0], key=itemgetter(0)) - 1
        is_inside = last >= 0 and within[0] < self.tables[last][1]
        columns = (self.columns[last],) if is_inside and self.columns[last] else ()
        sections = self.sections_of(within)
        paths = [section.path for section in sections if section.body is not None] or [sections[-1].path]
        common = itertools.takewhile(lambda names: len(set(names)) == 1, zip(*paths, strict=False))
        return (*(names[0] for names in common), *columns)

    def sections_of(self, within: Range) -> tuple[Section, ...]:
        """The sections that have text in the range, at least one; those with their heading alone in it included."""
        first = bisect_right(self.sections, within[0], key=attrgetter("start")) - 1
        return self.sections[first : max(first + 1, bisect_left(self.sections, within[1], key=attrgetter("start")))]

    def blocks(self, text: str, tokens: Tokens, limit: int) -> Blocks:
        """What packing ranges of up to `limit` tokens has to keep to.

        Cuts are best before headings. A heading stays with the beginning of what follows it. A table or code stays
        whole; one of more than `limit` tokens is cut between lines, but a table's first row stays with the two above.
        """
        kept = [(section.start, section.body + 1) for section in self.sections if section.level and section.body]
        for start, end, head_lines in (*((*table, 3) for table in self.tables), *((*code, 1) for code in self.code)):
            whole = tokens.count(start, end) <= limit
            kept += [(start, end)] if whole else _lines(text, start, end, head_lines)
        return Blocks(
            breaks=[section.start for section in self.sections if section.level],
            kept=sorted(block for block in kept if tokens.count(*block) <= limit),
        )


def has_hash_heading(text: str) -> bool:
    """Whether a line looks like a `# heading`: a fast look before the outline is read."""
    return _HASH_HEADING.search(text) is not None


def read_outline(text: str) -> Outline:
    """The outline of Markdown text; text without any Markdown is one section without a heading.

    Headings in quotes and lists open no section, nor does one of more than 120 characters.
    """
    lines = [0, *(match.end() for match in _LINE_END.finditer(text)), len(text)]
    tables: list[Range] = []
    code: list[Range] = []
    headings: list[tuple[int, int, int, str]] = []
    columns: list[list[str]] = []
    tokens = _block_parser().parse(text)
    for index, token in enumerate(tokens):
        if token.type == "th_open":
            columns[-1].append(_plain(tokens[index + 1].content))
        if token.map is None:
            continue
        start, end = lines[token.map[0]], lines[min(token.map[1], len(lines) - 1)]
        end = start + len(text[start:end].rstrip())
        if token.type == "table_open":
            # A chunk begins behind the indentation.
            tables.append((_first_char(text, start, end) or start, end))
            columns.append([])
        elif token.type in ("fence", "code_block"):
            code.append((start, end))
        elif token.type == "heading_open" and token.level == 0:
            heading = _plain(tokens[index + 1].content)
            if len(heading) <= _MAX_HEADING_CHARS:
                headings.append((start, end, int(token.tag[1:]), heading))
    return Outline(tuple(_sections(text, headings)), tuple(tables), tuple(code), tuple(map(_line_of, columns)))


def _sections(text: str, headings: list[tuple[int, int, int, str]]) -> Iterator[Section]:
    ends = [*(start for start, _, _, _ in headings), len(text)]
    yield Section(0, 0, (), _first_char(text, 0, ends[0]))
    above: list[tuple[int, str]] = []
    for (start, end, level, heading), section_end in zip(headings, ends[1:], strict=True):
        above = [*((upper, name) for upper, name in above if upper < level), (level, heading)]
        yield Section(start, level, tuple(name for _, name in above if name), _first_char(text, end, section_end))


def _lines(text: str, start: int, end: int, head_lines: int) -> list[Range]:
    """The lines of the range that are not blank, the first `head_lines` of them as one."""
    found = (match for match in _LINE.finditer(text, start, end) if not match[0].isspace())
    lines = [(match.start(), match.start() + len(match[0].rstrip())) for match in found]
    return [(lines[0][0], lines[:head_lines][-1][1]), *lines[head_lines:]]


def _line_of(columns: list[str]) -> str:
    names = " | ".join(columns)
    return names if any(columns) and len(names) <= _MAX_COLUMNS_CHARS else ""


def _first_char(text: str, start: int, end: int) -> int | None:
    match = _NOT_SPACE.search(text, start, end)
    return match.start() if match else None


def _plain(heading: str) -> str:
    """A heading's words without its marks; as it is if it is far too long to be one."""
    if len(heading) <= _MAX_MARKED_CHARS and _INLINE_MARK.search(heading):
        parts = _inline_parser().parseInline(heading)[0].children or []
        words = {"text", "code_inline", "softbreak"}
        heading = "".join(part.content or " " for part in parts if part.type in words)
    return " ".join(heading.split())


# Parsers keep no state between texts, and making one takes longer than a short text.
@functools.cache
def _block_parser() -> Any:
    from markdown_it import MarkdownIt

    # Links and references do not matter here; without them the parser is several times as fast.
    return MarkdownIt("commonmark").enable("table").disable(["inline", "reference"])


@functools.cache
def _inline_parser() -> Any:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark")
