from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.chunking.chunk import Chunk, ChunkSettings
from rag.chunking.split import split_documents
from rag.documents.document import Document

Spans = Callable[[Sequence[str]], list[list[tuple[int, int]]]]
STRATEGIES = ["tokens", "structure", "parent_child"]

MARKDOWN = [
    "# Top", "## Second", "### Third", "Setext\n---", "#", "A word. Two words! Three?", "one two three four five six",
    "- a list\n- of two", "| a | b |\n|---|---|\n| one | two |\n| three | four |", "```py\nx = 1\n\ny = 2\n```",
    "    code by\n    indent", "> a quote", "internationalisation" * 2, "図書館は九時に開く。五時に閉まる。",
    "x" * 300, " " * 300, "\t", "\r\n", "é🙂", "...", "<div>\n# no heading\n</div>", "```\nnever closed", "Top\n===",
    "- a\n  - b\n    1. c\n       d", "| a | b |\n|---|---|\n| " + "word " * 40 + "| x |", "---\ntitle: x\n---",
    "هل تفتح المكتبة؟ نعم.", "今天休息!明天呢?" * 3, "สวัสดีชาวโลก" * 3, "👨\u200d👩\u200d👧🏳️\u200d🌈" * 4, "e\u0301" * 9,
]  # fmt: skip


def _split(text: str, spans: Spans, settings: ChunkSettings, **document: object) -> list[Chunk]:
    return split_documents([replace(Document("a", "", text), **document)], settings, spans)


def _texts(text: str, spans: Spans, *settings: object) -> list[str]:
    return [chunk.text for chunk in _split(text, spans, ChunkSettings(*settings))]  # type: ignore[arg-type]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_document_that_fits_is_one_stripped_chunk(words: Spans, strategy: str) -> None:
    document = Document("a", "T", "\n # One two.\n\n## Three.\n", {"m": 1}, source="a.md")

    (chunk,) = split_documents([document], ChunkSettings(5, 0, strategy, 5), words)

    assert (chunk.document_id, chunk.title, chunk.position, chunk.source) == ("a", "T", 0, "a.md")
    assert (chunk.text, chunk.start, chunk.end) == ("# One two.\n\n## Three.", 2, 23)
    assert chunk.metadata == {"m": 1}
    assert chunk.context == ((2, 23) if strategy == "parent_child" else None)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_blank_document_has_no_chunks(words: Spans, strategy: str) -> None:
    assert (
        split_documents([Document("a", "T", " \n "), Document("b", "", "")], ChunkSettings(strategy=strategy), words)
        == []
    )


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(st.sampled_from(MARKDOWN) | st.text(max_size=20), max_size=30),
    joint=st.sampled_from(["\n\n", "\n", " ", "\r\n"]),
    chunk_tokens=st.integers(1, 30) | st.just(1_000_000_000),
    overlap_tokens=st.integers(0, 29),
    parent_tokens=st.integers(30, 60),
    strategy=st.sampled_from(STRATEGIES),
)
def test_chunks_are_slices_within_the_limits_that_hold_all_of_the_text(
    pieces: Spans,
    parts: list[str],
    joint: str,
    chunk_tokens: int,
    overlap_tokens: int,
    parent_tokens: int,
    strategy: str,
) -> None:
    text = joint.join(parts)
    overlap_tokens = min(overlap_tokens, chunk_tokens - 1)
    document = Document("a", "", text)
    parent_tokens = max(parent_tokens, chunk_tokens)
    chunk_settings = ChunkSettings(chunk_tokens, overlap_tokens, strategy, parent_tokens)  # type: ignore[arg-type]

    chunks = split_documents([document], chunk_settings, pieces)

    covered = 0
    for position, chunk in enumerate(chunks):
        assert chunk.position == position
        assert chunk.text == text[chunk.start : chunk.end]
        assert chunk.text == chunk.text.strip() != ""
        assert len(pieces([chunk.text])[0]) <= chunk_tokens
        assert len(chunk.text) <= 16 * chunk_tokens + 15
        assert chunk.end > covered
        if chunk.start < covered:
            assert len(pieces([text[chunk.start : covered]])[0]) <= overlap_tokens
        else:
            assert not text[covered : chunk.start].strip()
        if chunk.context:
            assert chunk.context[0] <= chunk.start < chunk.end <= chunk.context[1]
            assert len(pieces([text[slice(*chunk.context)]])[0]) <= parent_tokens
        covered = chunk.end
    assert not text[covered:].strip()
    assert all(a.start < b.start for a, b in itertools.pairwise(chunks))
    assert len({chunk.id for chunk in chunks}) == len(chunks)
    parents = sorted({chunk.context for chunk in chunks if chunk.context})
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(parents))
    others = [Document("before", "", "one two"), document, Document("after", "", text)]
    assert split_documents(others, chunk_settings, pieces)[-2 * len(chunks) :][: len(chunks)] == chunks


def test_chunk_ids_differ_by_document_position_title_and_text_and_repeat_otherwise(words: Spans) -> None:
    documents = [
        Document("a", "T", "x x x x"),
        Document("b", "T", "x x"),
        Document("c", "T", "x x"),
        Document("d", "T", "y y"),
    ]
    chunk_settings = ChunkSettings(2, 0)

    ids = [chunk.id for chunk in split_documents(documents, chunk_settings, words)]

    assert len(set(ids)) == 5
    assert ids == [chunk.id for chunk in split_documents(documents, chunk_settings, words)]
    (retitled,) = split_documents([Document("b", "U", "x x")], chunk_settings, words)
    assert retitled.id not in ids


def test_chunk_ids_differ_by_the_headings_above_them(words: Spans) -> None:
    first, second = (_split(f"# {name}\n\nx x x\n\ny y y", words, ChunkSettings(5, 0)) for name in ("A", "B"))

    assert [chunk.text for chunk in first][1:] == [chunk.text for chunk in second][1:] == ["y y y"]
    assert first[1].id != second[1].id


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_chunk_is_on_the_page_where_it_begins(words: Spans, strategy: str) -> None:
    text = "a b c\n\nd e f\n\ng h i\n\nj k l"
    pages = (0, text.index("d"), text.index("e"), text.index("j"))

    chunks = _split(text, words, ChunkSettings(3, 0, strategy, 3), pages=pages)  # type: ignore[arg-type]

    assert [(chunk.text, chunk.page) for chunk in chunks] == [("a b c", 1), ("d e f", 2), ("g h i", 3), ("j k l", 4)]
    assert [chunk.page for chunk in _split(text, words, ChunkSettings(3, 0))] == [None] * 4


GUIDE = """\
# Guide

## Hours

The desk opens at nine. It closes at five. On Sundays it is closed all day long.

## Fines

A late book costs ten cents a day. A lost one costs its price and two dollars.

### Exceptions

Nobody pays during the holidays, nor for a book that was lent to a class."""


def test_sections_are_not_mixed_and_their_headings_are_kept(words: Spans) -> None:
    chunks = _split(GUIDE, words, ChunkSettings(40, 0, "structure"))

    assert [(chunk.text.split("\n")[0], chunk.headings) for chunk in chunks] == [
        ("# Guide", ("Guide", "Hours")),
        ("## Fines", ("Guide", "Fines")),
    ]
    assert [chunk.headings for chunk in _split(GUIDE, words, ChunkSettings(30, 0, "structure"))] == [
        ("Guide", "Hours"),
        ("Guide", "Fines"),
        ("Guide", "Fines", "Exceptions"),
    ]


def test_headings_are_kept_by_every_strategy(words: Spans) -> None:
    for strategy in STRATEGIES:
        chunks = _split(GUIDE, words, ChunkSettings(8, 0, strategy, 30))  # type: ignore[arg-type]
        (nobody,) = [chunk for chunk in chunks if "Nobody pays" in chunk.text]
        (lent,) = [chunk for chunk in chunks if "lent" in chunk.text]
        assert lent.headings == ("Guide", "Fines", "Exceptions")
        assert nobody.start < lent.start


@pytest.mark.parametrize(
    "expected",
    [
        # A heading without text goes with what follows, whatever its size.
        ["# A\n\n## B\n\na b c d e f g h", "## C\n\nx y z u v w"],
        # Of less than a quarter of a chunk, it takes in the next, once.
        ["## A\n\nx\n\n## B\n\na b c d", "## C\n\na b c d e f"],
        ["## A\n\nx\n\n## B\n\nx", "## C\n\nx\n\n## D\n\na b c d"],
        # If they do not fit, or the next heading is above its own, it joins the one before, or nobody.
        ["## A\n\na b c d e\n\n## B\n\nx", "## C\n\na b c d e f g h i j"],
        ["# A\n\na b c d e\n\n## B\n\nx", "# C\n\na b c d"],
        ["# A\n\na b c d e\n\n## B\n\nx"],
        ["## A\n\na b c d e f g h i", "## B\n\nx", "# C\n\na b c d"],
        # Two that are no smaller stay apart, although both would fit.
        ["## A\n\na b", "## B\n\na b c d", "## C\n\na b c d e f"],
        # A cut inside a section is best before a lower heading, and never behind one.
        ["## A\n\na b c d e.", "### B\n\nf g h i j k"],
        ["## A\n\na b c d e f g.", "### B\n\nc d e"],
    ],
)
def test_small_sections_join_and_others_do_not(words: Spans, expected: list[str]) -> None:
    assert _texts("\n\n".join(expected), words, 13, 0, "structure") == expected


def _rows(names: str) -> str:
    return "\n".join(f"| {name} | {name} |" for name in names)


def test_a_table_that_fits_is_whole(words: Spans) -> None:
    table = f"| a | b |\n|---|---|\n{_rows('cde')}"
    text = f"One two three four five six seven eight nine ten.\n\n{table}\n\nOne two three four."

    assert _texts(text, words, 24, 0, "structure") == text.split("\n\n")
    assert all(table in part or "|" not in part for part in _texts(text, words, 24, 4, "structure"))
    assert not all(table in part or "|" not in part for part in _texts(text, words, 24, 0, "tokens"))


def test_a_table_that_does_not_fit_is_cut_between_rows(words: Spans) -> None:
    table = f"| a | b |\n|---|---|\n{_rows('cdefghij')}"
    text = f"One. Two three.\n\n{table}"

    chunks = _texts(text, words, 18, 3, "structure")

    assert chunks[0] == "One. Two three.\n\n| a | b |\n|---|---|\n" + _rows("c")
    assert chunks[1:] == [_rows("def"), _rows("ghi"), _rows("j")]


def test_code_that_fits_is_whole_and_other_code_is_cut_between_lines(words: Spans) -> None:
    code = "```py\nfirst = one + two\n\nlast = three + four\n```"
    text = f"One two three four five six.\n\n{code}\n\nSeven eight nine."

    assert code in "".join(_texts(text, words, 14, 3, "structure"))
    assert _texts(text, words, 8, 0, "structure") == [
        "One two three four five six.",
        "```py\nfirst = one + two",
        "last = three + four\n```",
        "Seven eight nine.",
    ]


def test_children_have_the_window_around_them_as_context(words: Spans) -> None:
    chunks = _split(GUIDE, words, ChunkSettings(12, 0, "parent_child", 30))

    windows = [GUIDE[slice(*context)] for context in dict.fromkeys(chunk.context for chunk in chunks) if context]
    assert [window.split("\n")[0] for window in windows] == ["# Guide", "## Fines", "### Exceptions"]
    assert [window.split()[-1] for window in windows] == ["long.", "dollars.", "class."]
    assert all(chunk.text in GUIDE[slice(*chunk.context)] for chunk in chunks if chunk.context)
    assert len(chunks) > len(windows)


def test_a_real_tokenizers_pieces_fill_chunks_by_their_limit(pieces: Spans) -> None:
    text = " ".join(re.findall(r"\w+", GUIDE)) * 20

    chunks = _split(text, pieces, ChunkSettings(50, 0))

    assert all(45 <= len(pieces([chunk.text])[0]) <= 50 for chunk in chunks[:-1])
