from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest

from rag.chunking.packing import Blocks, pack
from rag.chunking.tokens import tokenise

Spans = Callable[[Sequence[str]], list[list[tuple[int, int]]]]


def _packed(text: str, spans: Spans, limit: int, overlap: int = 0, blocks: Blocks = Blocks()) -> list[str]:
    tokens = tokenise(text, spans)
    return [text[start:end] for start, end in pack(text, tokens, (0, len(text)), limit, overlap=overlap, blocks=blocks)]


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("", 3, []),
        (" \n\t ", 3, []),
        (" a b c\n", 3, ["a b c"]),
        # A paragraph before a line, a line before a sentence, a sentence before a word.
        ("a b c\n\nd\ne. f g", 5, ["a b c", "d\ne. f g"]),
        ("a b c d\n\ne\nf. g h", 7, ["a b c d", "e\nf. g h"]),
        ("a b c d\ne. f g h", 7, ["a b c d", "e. f g h"]),
        ("a b c? d e f g", 5, ["a b c?", "d e f g"]),
        ("a b (c!) d e f g", 5, ["a b (c!)", "d e f g"]),
        ("a b c d e f g", 5, ["a b c d e", "f g"]),
        # A cut that leaves the range no more than half full is too dear.
        ("a.\n\nb c d e f g h", 6, ["a.\n\nb c d e f", "g h"]),
        ("a b c.\n\nd e f g h", 6, ["a b c.\n\nd e f", "g h"]),
        ("a b c d.\n\ne f g h", 6, ["a b c d.", "e f g h"]),
        # A blank line may hold spaces.
        ("a b c d\n  \t\ne\nf g", 6, ["a b c d", "e\nf g"]),
        ("a b 3.14 c d e", 5, ["a b 3.14 c d", "e"]),
        # Sentences of other scripts.
        ("هل تفتح المكتبة؟ نعم في التاسعة", 5, ["هل تفتح المكتبة؟", "نعم في التاسعة"]),
        ("پہلا جملہ ہے۔ دوسرا جملہ", 4, ["پہلا جملہ ہے۔", "دوسرا جملہ"]),
        ("यह हिंदी है। वह भी है।", 5, ["यह हिंदी है।", "वह भी है।"]),
    ],
)
def test_a_range_ends_at_the_best_cut_within_reach(words: Spans, text: str, limit: int, expected: list[str]) -> None:
    assert _packed(text, words, limit) == expected


@pytest.mark.parametrize(
    ("text", "limit", "overlap", "expected"),
    [
        ("0 1 2 3 4 5 6 7 8 9", 4, 2, ["0 1 2 3", "2 3 4 5", "4 5 6 7", "6 7 8 9"]),
        ("0 1 2 3 4 5", 3, 2, ["0 1 2", "1 2 3", "2 3 4", "3 4 5"]),
        # Whole sentences are repeated if a sentence ends the range, those that fit; none may.
        ("a b. c d. e f. g h.", 6, 3, ["a b. c d. e f.", "e f. g h."]),
        ("a b. c d. e f. g h.", 6, 4, ["a b. c d. e f.", "c d. e f. g h."]),
        ("a b. c d. e f. g h.", 6, 1, ["a b. c d. e f.", "g h."]),
        ("a b c\n\nd e f\n\ng h i", 6, 3, ["a b c\n\nd e f", "d e f\n\ng h i"]),
    ],
)
def test_a_range_begins_with_the_overlap(
    words: Spans, text: str, limit: int, overlap: int, expected: list[str]
) -> None:
    assert _packed(text, words, limit, overlap) == expected


def test_a_range_of_one_character_leaves_nothing_to_repeat(pieces: Spans) -> None:
    assert _packed("a b: c", pieces, 2, 1, Blocks(kept=((2, 4),))) == ["a", "b:", "c"]


def test_a_script_without_spaces_is_cut_at_its_full_stops_and_repeated_by_characters() -> None:
    def characters(texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [[(index, index + 1) for index in range(len(text))] for text in texts]

    assert _packed("図書館は九時に開く。五時に閉まる。", characters, 12) == ["図書館は九時に開く。", "五時に閉まる。"]
    # As full-width signs are after cleaning.
    assert _packed("今天休息!明天开门吗?九点", characters, 8) == ["今天休息!", "明天开门吗?九点"]
    assert _packed("今天休息!明天开门吗?九点", characters, 11, 6) == ["今天休息!明天开门吗?", "明天开门吗?九点"]
    assert _packed("一二三四五六七八", characters, 4, 1) == ["一二三四", "四五六七", "七八"]


def test_a_word_is_cut_only_if_it_is_longer_than_a_range(pieces: Spans) -> None:
    assert _packed("aaaabbbb ccccdddd eeeeffff", pieces, 3) == ["aaaabbbb", "ccccdddd", "eeeeffff"]
    assert _packed("aaaabbbbccccdddd", pieces, 3) == ["aaaabbbbcccc", "dddd"]


def test_an_unbroken_run_that_is_one_token_is_cut_by_its_characters(words: Spans) -> None:
    packed = _packed("x" * 10_000, words, 10)

    assert "".join(packed) == "x" * 10_000
    assert max(map(len, packed)) == 10 * 16 + 15


def test_white_space_is_in_no_range_but_between_its_words(words: Spans) -> None:
    assert _packed("a b" + " " * 100_000 + "c d", words, 4) == ["a b", "c d"]
    assert _packed("a" + " " * 100_000 + "b c d", words, 4, 2) == ["a", "b c d"]


def test_a_character_of_many_tokens_is_a_range_of_its_own() -> None:
    def bytes_of(texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [[(i, i + 1) for i, char in enumerate(text) for _ in char.encode()] for text in texts]

    assert _packed("🙂🙂a", bytes_of, 2) == ["🙂", "🙂", "a"]
    assert _packed("🙂a🙂", bytes_of, 5, 4) == ["🙂a", "a🙂"]


@pytest.mark.parametrize(
    ("text", "limit", "overlap", "blocks", "expected"),
    [
        # A break before a paragraph.
        ("a b c d\ne\n\nf g", 6, 0, Blocks(breaks=(8,)), ["a b c d", "e\n\nf g"]),
        # What is kept is not cut, though the range stays short.
        ("a. b c d e f", 5, 0, Blocks(kept=((3, 12),)), ["a.", "b c d e f"]),
        # Two of which the second begins in the first: both whole, or else the second.
        ("a b c d e", 4, 0, Blocks(kept=((2, 5), (4, 9))), ["a", "b c d e"]),
        ("a b c d e f", 4, 0, Blocks(kept=((2, 5), (4, 11))), ["a", "b", "c d e f"]),
        # The overlap gives way, and does not begin inside.
        ("a b c d e f g h", 4, 2, Blocks(kept=((8, 15),)), ["a b c d", "e f g h"]),
        ("a b c d e f", 4, 2, Blocks(kept=((2, 7),)), ["a b c d", "e f"]),
        # It does not fit: cut all the same.
        ("a b c d e f", 4, 0, Blocks(kept=((0, 11),)), ["a b c d", "e f"]),
    ],
)
def test_packing_keeps_to_blocks(
    words: Spans, text: str, limit: int, overlap: int, blocks: Blocks, expected: list[str]
) -> None:
    assert _packed(text, words, limit, overlap, blocks) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "word " * 100_000,
        "x" * 500_000,
        "\n" * 500_000 + "x",
        "x" + " \n" * 250_000 + "x",
        "." * 500_000,
        ". " * 250_000,
        ".\n" * 250_000,
    ],
    ids=["words", "run", "lines", "gap", "points", "sentences", "short lines"],
)
def test_half_a_million_characters_take_no_more_than_seconds(words: Spans, text: str) -> None:
    started = time.process_time()

    num_ranges = len(_packed(text, words, 160, 20))

    assert time.process_time() - started < 5
    assert num_ranges <= 500_000 / 100
