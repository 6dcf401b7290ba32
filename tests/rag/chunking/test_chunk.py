from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from rag.chunking.chunk import Chunk, ChunkSettings, embedding_text, warn_long
from rag.errors import RagError


@pytest.mark.parametrize(
    ("title", "headings", "text", "expected"),
    [
        ("Fines", (), "Ten cents a day.", "Fines\nTen cents a day."),
        ("Fines", (), "All fines are ten cents.", "All fines are ten cents."),
        ("", (), "Ten cents.", "Ten cents."),
        ("Guide", ("Desk", "Fines"), "Ten cents.", "Guide\nDesk\nFines\nTen cents."),
        ("Guide", ("Guide", "Fines"), "Ten cents.", "Guide\nFines\nTen cents."),
        ("Guide", ("Desk", "Fines"), "## Fines\n\nTen cents.", "Guide\nDesk\n## Fines\n\nTen cents."),
    ],
)
def test_title_and_headings_are_embedded_where_the_text_does_not_say_them(
    title: str, headings: tuple[str, ...], text: str, expected: str
) -> None:
    assert embedding_text(Chunk("id", "a", title, text, 0, headings=headings)) == expected


def test_a_chunk_ends_behind_its_text() -> None:
    assert Chunk("id", "a", "", "four", 0, start=10).end == 14


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"chunk_tokens": 0}, "chunk_tokens must be a whole number of at least 1, not 0"),
        ({"chunk_tokens": -1}, "chunk_tokens must be"),
        ({"chunk_tokens": 10, "overlap_tokens": -1}, "overlap_tokens must be"),
        ({"chunk_tokens": 10, "overlap_tokens": 10}, "overlap_tokens must be"),
        ({"chunk_tokens": True}, "chunk_tokens must be a whole number of at least 1, not True"),
        ({"overlap_tokens": 2.5}, "overlap_tokens must be a whole number"),
        ({"parent_tokens": "many"}, "parent_tokens must be a whole number of at least 1, not 'many'"),
        ({"strategy": "sentences"}, "strategy must be one of tokens, structure, parent_child, not 'sentences'"),
        ({"strategy": ["tokens"]}, "strategy must be one of"),
        ({"strategy": "parent_child", "chunk_tokens": 500}, r"parent_tokens must be at least chunk_tokens \(500\)"),
        (
            {"max_tokens": 3, "zeal": 1},
            r"max_tokens: unknown key \(did you mean 'parent_tokens'\?\); zeal: unknown key \(there is chunk_tokens, ",
        ),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RagError, match=message):
        ChunkSettings(**settings)


def test_settings_survive_json() -> None:
    settings = ChunkSettings(100, 10, "parent_child", 300)

    assert ChunkSettings(**json.loads(json.dumps(asdict(settings)))) == settings


def test_long_chunks_need_no_parent_unless_they_have_one() -> None:
    assert ChunkSettings(800, 400).parent_tokens < 800


@pytest.mark.parametrize(("max_tokens", "is_long"), [(None, False), (160, False), (256, False), (159, True)])
def test_chunks_that_the_embedder_cuts_off_are_warned_of(max_tokens: int | None, is_long: bool) -> None:
    warning = warn_long(ChunkSettings(160, 0), max_tokens)

    assert (warning is not None) == is_long
    if warning:
        assert "chunk_tokens is 160" in warning
        assert "first 159 tokens" in warning
