from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest

from rag.chunking.outline import Outline, has_hash_heading, read_outline
from rag.chunking.tokens import tokenise

Spans = Callable[[Sequence[str]], list[list[tuple[int, int]]]]

GUIDE = """\
Before any heading.

# Guide

## Desk *hours*

Nine to five.

### Holidays

Closed.

## `Fines` & [fees](https://example.org)
Ten cents.
"""


def _sections(text: str) -> list[tuple[str, int, tuple[str, ...]]]:
    """Each section's first line, level and path."""
    return [
        (text[section.start :].partition("\n")[0], section.level, section.path)
        for section in read_outline(text).sections
    ]


def test_headings_open_sections_under_those_above_them() -> None:
    assert _sections(GUIDE) == [
        ("Before any heading.", 0, ()),
        ("# Guide", 1, ("Guide",)),
        ("## Desk *hours*", 2, ("Guide", "Desk hours")),
        ("### Holidays", 3, ("Guide", "Desk hours", "Holidays")),
        ("## `Fines` & [fees](https://example.org)", 2, ("Guide", "Fines & fees")),
    ]


def test_a_section_knows_where_its_text_begins() -> None:
    bodies = [section.body for section in read_outline(GUIDE).sections]

    assert [None if body is None else GUIDE[body:].partition("\n")[0] for body in bodies] == [
        "Before any heading.",
        None,
        "Nine to five.",
        "Closed.",
        "Ten cents.",
    ]


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("No Markdown at all.", [()]),
        ("", [()]),
        ("A\n=\n\nB\n-\nx", [(), ("A",), ("A", "B")]),
        ("### Deep first\n# Top\n#### Deep", [(), ("Deep first",), ("Top",), ("Top", "Deep")]),
        ("#\n\nx\n\n## Named", [(), (), ("Named",)]),
        ("#no heading\n\n    # code\n\n```\n# code\n```\n\n> # quoted\n\n- # listed", [()]),
        (f"# {'x' * 121}\n\n# {'x' * 120}", [(), ("x" * 120,)]),
        ("# One\r\n\r\nx\r\r# Two\ry", [(), ("One",), ("Two",)]),
    ],
)
def test_only_headings_open_sections(text: str, paths: list[tuple[str, ...]]) -> None:
    assert [section.path for section in read_outline(text).sections] == paths


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("| name | *euros* |", ("name | euros",)),
        ("name | a\\|b", ("name | a|b",)),
        ("  | name | euros |", ("name | euros",)),
        ("| | |", ()),
        (f"| {'x' * 120} | {'y' * 120} |", ()),
    ],
)
def test_rows_stand_under_the_columns_of_their_table(header: str, columns: tuple[str, ...]) -> None:
    text = f"# Prices\n\n{header}\n|---|---|\n| tea | 3 |\n| milk | 2 |\n\nAll in euros."
    outline = read_outline(text)
    header_start, row, behind = text.index(header.strip()), text.index("| milk"), text.index("All")

    assert outline.headings((row, len(text))) == ("Prices", *columns)
    assert outline.headings((header_start, row)) == outline.headings((behind, len(text))) == ("Prices",)


def test_the_columns_of_a_quoted_table_are_without_the_quote_s_mark() -> None:
    text = "> | a | b |\n> |---|---|\n> | 1 | 2 |"

    assert read_outline(text).headings((text.index("> | 1"), len(text))) == ("a | b",)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_tables_and_code_lie_where_they_stand_in_the_text(line_end: str) -> None:
    text = line_end.join(
        [
            "Prices:",
            "",
            "| a | b |",
            "|---|---|",
            "| 1 | 2 |",
            "",
            "```py",
            "x = 1",
            "",
            "```",
            "end",
            "",
            "    y = 2",
            "",
        ]
    )

    outline = read_outline(text)

    assert [text[start:end].split(line_end)[0] for start, end in outline.tables] == ["| a | b |"]
    assert [text[start:end].split(line_end)[-1] for start, end in outline.tables] == ["| 1 | 2 |"]
    assert [text[start:end] for start, end in outline.code] == [
        line_end.join(["```py", "x = 1", "", "```"]),
        "    y = 2",
    ]


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("Nine", "five.", ("Guide", "Desk hours")),
        ("## Desk", "five.", ("Guide", "Desk hours")),
        # A heading without text of its own does not count.
        ("# Guide", "five.", ("Guide", "Desk hours")),
        ("# Guide", "# Guide", ("Guide",)),
        ("Nine", "Closed.", ("Guide", "Desk hours")),
        ("Closed.", "Ten cents.", ("Guide",)),
        ("Before", "Ten cents.", ()),
    ],
)
def test_a_range_stands_under_the_headings_of_all_its_text(first: str, last: str, expected: tuple[str, ...]) -> None:
    outline = read_outline(GUIDE)

    assert outline.headings((GUIDE.index(first), GUIDE.index(last) + len(last))) == expected


def test_blocks_are_headings_with_what_follows_and_what_fits_whole(words: Spans) -> None:
    text = "# A\nx y\n\n| a |\n|---|\n| 1 |\n| 2 |\n\n```\np q\nr\n```\n"
    tokens = tokenise(text, words)

    def kept(limit: int) -> list[str]:
        return [text[start:end] for start, end in read_outline(text).blocks(text, tokens, limit).kept]

    heading, table, code = "# A\nx", "| a |\n|---|\n| 1 |\n| 2 |", "```\np q\nr\n```"
    assert kept(10) == [heading, table, code]
    # Too long, they keep their lines; the table's first row that of its names.
    assert kept(7) == [heading, "| a |\n|---|\n| 1 |", "| 2 |", code]
    assert kept(4) == [heading, "| 2 |", "```", "p q", "r", "```"]
    assert list(read_outline(text).blocks(text, tokens, 10).breaks) == [0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("# A", True), ("x\n   ### A b", True), ("#A", False), ("    # A", False), ("x # A", False), ("####### A", False)],
)
def test_a_fast_look_finds_lines_like_headings(text: str, expected: bool) -> None:
    assert has_hash_heading(text) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "# a\n\nx\n\n" * 10_000,
        "> " * 100_000,
        "- " * 100_000,
        "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 10_000,
        "|" * 100_000 + "\n" + "|-" * 50_000,
        "```\n" * 50_000,
        "[" * 100_000,
        "# " + "[" * 100_000,
        "# " + "*a_" * 300,
        "<div>\n" * 30_000,
    ],
    ids=["headings", "quotes", "lists", "table", "columns", "fences", "brackets", "long heading", "marks", "html"],
)
def test_hostile_markdown_takes_no_more_than_seconds(text: str) -> None:
    started = time.process_time()

    outline = read_outline(text)

    assert time.process_time() - started < 5
    assert isinstance(outline, Outline)
