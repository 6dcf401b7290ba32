from __future__ import annotations

import itertools
import random

import pytest

from rag.chunking.duplicates import drop_near_duplicates, near_duplicates
from rag.errors import RagError

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def _text(rng: random.Random, num_words: int) -> list[str]:
    return ["".join(rng.choices(ALPHABET, k=6)) for _ in range(num_words)]


def test_a_repeated_text_is_named_with_the_first_that_says_it() -> None:
    texts = [
        "the desk opens at nine",
        "something else altogether here",
        "The desk opens at nine!",
        "the desk opens at nine",
    ]

    assert near_duplicates([10, 20, 30, 40], texts) == [(30, 10, 1.0), (40, 10, 1.0)]


def test_similarity_is_the_share_of_common_word_triples() -> None:
    words = [f"w{number}" for number in range(22)]
    other = [*words[:-1], "end"]

    # 20 triples each, 19 in both.
    assert near_duplicates([1, 2], [" ".join(words), " ".join(other)]) == [(2, 1, 19 / 21)]
    assert near_duplicates([1, 2], [" ".join(words), " ".join(other)], threshold=0.95) == []


def test_nearly_all_pairs_that_comparing_all_finds_are_found() -> None:
    rng = random.Random(0)
    originals = [_text(rng, 80) for _ in range(300)]
    texts = [" ".join(words) for words in originals]
    for words in originals:
        changed = list(words)
        changed[rng.randrange(80)] = "changed"
        texts.append(" ".join(changed))

    found = near_duplicates(range(600), texts)

    kept = drop_near_duplicates(texts)
    expected = set(range(600)) - set(kept)
    assert len(expected) == 300
    assert {number for number, _, _ in found} <= expected
    assert len(found) >= 297
    assert all(number - original == 300 for number, original, _ in found)
    assert all(0.9 <= similarity < 1 for _, _, similarity in found)
    assert near_duplicates(range(600), texts) == found


def test_a_thousand_copies_give_a_row_each() -> None:
    found = near_duplicates(range(1000), ["the same words over and over"] * 1000)

    assert found == [(number, 0, 1.0) for number in range(1, 1000)]


@pytest.mark.parametrize(
    ("texts", "kept"),
    [
        ([], [0][:0]),
        (["", " "], [0]),
        (["one", "one", "two"], [0, 2]),
        (["Ten cents.", "ten cents", "ten dollars"], [0, 2]),
        (["!!!", "???", "!!!"], [0, 1]),
        (["図書館は九時に開きます", "図書館は九時に開きます。", "図書館は五時に閉まります"], [0, 2]),
    ],
)
def test_short_and_odd_texts_are_told_apart(texts: list[str], kept: list[int]) -> None:
    assert drop_near_duplicates(texts) == kept
    assert [number for number, _, _ in near_duplicates(range(len(texts)), texts)] == [
        index for index in range(len(texts)) if index not in kept
    ]


def test_of_a_chain_of_changes_only_those_near_a_kept_text_are_dropped() -> None:
    words = [f"w{number}" for number in range(62)]
    chain = [words]
    for step in range(4):
        changed = list(chain[-1])
        changed[10 * step + 5] = "changed"
        chain.append(changed)
    texts = [" ".join(words) for words in chain]
    shingles = [set(itertools.pairwise(itertools.pairwise(words))) for words in chain]

    kept = drop_near_duplicates(texts)

    # 60 triples, three of them changed by each step: 57/63 is above 0.9, 54/66 below.
    assert len(shingles[0] & shingles[1]) == 57
    assert kept == [0, 2, 4]
    assert [row[:2] for row in near_duplicates(range(5), texts)] == [(1, 0), (3, 2)]


@pytest.mark.parametrize("threshold", [0, -1, 1.1])
def test_a_threshold_that_is_no_share_is_refused(threshold: float) -> None:
    with pytest.raises(RagError, match="threshold must be above 0 and at most 1"):
        near_duplicates([], [], threshold=threshold)
