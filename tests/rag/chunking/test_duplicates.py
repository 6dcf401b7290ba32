from __future__ import annotations

import itertools
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.chunking.duplicates import near_duplicates

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

    assert near_duplicates(texts) == [(2, 0, 1.0), (3, 0, 1.0)]


def test_similarity_is_the_share_of_common_word_triples() -> None:
    words = [f"w{number}" for number in range(22)]
    other = [*words[:-1], "end"]

    # 20 triples each, 19 in both.
    assert near_duplicates([" ".join(words), " ".join(other)]) == [(1, 0, 19 / 21)]
    assert near_duplicates([" ".join(words), " ".join(other)], threshold=0.95) == []


def _triples(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[start : start + 3]) for start in range(max(1, len(words) - 2))}


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    texts=st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=30).map(" ".join), max_size=12),
    threshold=st.sampled_from([0.1, 0.3, 0.5, 0.8, 0.9, 1.0]),
)
def test_exactly_the_pairs_that_comparing_all_finds_are_found(texts: list[str], threshold: float) -> None:
    expected, kept = [], []
    for index, text in enumerate(texts):
        similarities = [
            len(_triples(text) & _triples(texts[k])) / len(_triples(text) | _triples(texts[k])) for k in kept
        ]
        best = max(similarities, default=0.0)
        if best >= threshold:
            expected.append((index, kept[similarities.index(best)], best))
        else:
            kept.append(index)

    assert near_duplicates(texts, threshold=threshold) == expected


def test_copies_with_one_word_changed_are_found_among_many_texts() -> None:
    rng = random.Random(0)
    originals = [_text(rng, 80) for _ in range(300)]
    texts = [" ".join(words) for words in originals]
    for words in originals:
        changed = list(words)
        changed[rng.randrange(80)] = "changed"
        texts.append(" ".join(changed))

    found = near_duplicates(texts)

    assert [(number, original) for number, original, _ in found] == [(300 + i, i) for i in range(300)]
    assert all(0.9 <= similarity < 1 for _, _, similarity in found)


@pytest.mark.slow
def test_letters_of_one_template_are_not_compared_with_each_other() -> None:
    rng = random.Random(0)
    template = _text(rng, 80)
    letters = []
    for _ in range(3000):
        words = list(template)
        for place in (5, 40, 70):
            words[place] = "".join(rng.choices(ALPHABET, k=6))
        letters.append(" ".join(words))
    clock = time.process_time()

    assert near_duplicates(letters) == []

    # 0.2 s; 4.5 million comparisons take a minute.
    assert time.process_time() - clock < 10


@pytest.mark.slow
def test_forms_that_share_one_of_their_rarest_triples_are_not_even_looked_at() -> None:
    rng = random.Random(0)
    template = _text(rng, 80)
    forms = [" ".join([*template, *(str(rng.randrange(100)) for _ in range(8))]) for _ in range(12_000)]
    clock = time.process_time()

    assert near_duplicates(forms) == []

    # 1 s; to look at 72 million pairs takes 15 s.
    assert time.process_time() - clock < 6


def test_a_thousand_copies_give_a_row_each() -> None:
    found = near_duplicates(["the same words over and over"] * 1000)

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
    assert [number for number, _, _ in near_duplicates(texts)] == [
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

    # 60 triples, three of them changed by each step: 57/63 is above 0.9, 54/66 below.
    assert len(shingles[0] & shingles[1]) == 57
    assert [row[:2] for row in near_duplicates(texts)] == [(1, 0), (3, 2)]
