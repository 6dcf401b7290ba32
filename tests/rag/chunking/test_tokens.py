from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from rag.chunking.tokens import Tokens, tokenise

Spans = Callable[[Sequence[str]], list[list[tuple[int, int]]]]

#          one  two    three
TEXT = "  aaa bb  cccc"
TOKENS = Tokens([2, 6, 10], [5, 8, 14])


@pytest.mark.parametrize(
    ("start", "end", "expected"), [(0, 14, 3), (2, 5, 1), (0, 2, 0), (4, 7, 2), (5, 6, 0), (8, 11, 1)]
)
def test_a_slice_counts_the_tokens_that_overlap_it(start: int, end: int, expected: int) -> None:
    assert TOKENS.count(start, end) == expected


def test_a_long_unbroken_run_counts_by_its_characters() -> None:
    assert Tokens([0], [160]).count(0, 160) == 10
    assert Tokens([0], [16]).count(0, 16) == 1


@pytest.mark.parametrize(("limit", "end"), [(1, 6), (2, 10), (3, 3 * 16 + 15)])
def test_reach_is_the_farthest_end_within_the_limit(limit: int, end: int) -> None:
    assert TOKENS.reach(0, limit) == end
    assert TOKENS.count(0, end) <= limit < TOKENS.count(0, end + 1)


@pytest.mark.parametrize(("limit", "start"), [(1, 8), (2, 5), (3, 0)])
def test_reach_back_is_the_earliest_start_within_the_limit(limit: int, start: int) -> None:
    assert TOKENS.reach_back(14, limit) == start


def test_reach_stops_in_a_long_unbroken_run() -> None:
    run = Tokens([0], [1000])

    assert run.reach(100, 2) == 100 + 2 * 16 + 15
    assert run.reach_back(900, 2) == 900 - 2 * 16 - 15


def test_tokens_lie_where_the_tokenizer_finds_them_in_the_whole_text(pieces: Spans) -> None:
    texts = [
        "",
        "One, two.",
        " ".join(f"word{number}" for number in range(300)),
        "\n\n  A longer word: internationalisation!  \n",
        "一二 三",
        "One, two.",
    ]

    found = [tokenise(text, pieces) for text in texts]

    assert [list(zip(tokens.starts, tokens.ends, strict=True)) for tokens in found] == pieces(texts)


def test_the_tokenizer_never_gets_a_very_long_word(words: Spans) -> None:
    lengths = []

    def measuring(texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        lengths.extend(len(text) for text in texts)
        return words(texts)

    tokens = tokenise("x" * 5_000, measuring)

    assert max(lengths) == 1_000
    assert tokens.ends[-1] == 5_000


def test_offsets_that_step_back_are_put_in_order() -> None:
    tokens = tokenise("abcd", lambda texts: [[(0, 2), (1, 2), (0, 1), (3, 4)] for _ in texts])

    assert (tokens.starts, tokens.ends) == ([0, 1, 1, 3], [2, 2, 2, 4])
