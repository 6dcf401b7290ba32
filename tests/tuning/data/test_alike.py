from __future__ import annotations

import random

import pytest
from rapidfuzz import fuzz

from tuning.data.alike import AlikeTexts


def test_texts_are_found_under_their_keys_the_most_similar_first() -> None:
    alike = AlikeTexts(90.0)
    for key, text in enumerate(["how do i top up my card", "how do i top up my cards", "where is my card"]):
        alike.add(key, text)
    assert alike.find("how do i top up my cards")[0] == (1, 100.0)
    # one insertion among 23 + 24 letters
    assert alike.find("how do i top up my cards")[1] == (0, pytest.approx(100 * (1 - 1 / 47)))
    assert alike.find("something else altogether") == []


def test_nothing_is_found_before_something_is_added_and_short_texts_are_texts() -> None:
    alike = AlikeTexts(90.0)
    assert alike.find("when") == []
    alike.add(7, "")
    alike.add(8, "ab")
    assert alike.find("") == [(7, 100.0)]
    assert alike.find("ab") == [(8, 100.0)]


def test_nearly_all_are_found_that_a_comparison_of_all_finds() -> None:
    rng = random.Random(0)
    words = ["transfer", "card", "pending", "money", "account", "where", "is", "my", "the", "not", "yet", "arrived"]
    texts = [" ".join(rng.choices(words, k=12)) for _ in range(60)]
    texts += [text.replace(rng.choice(text.split()), "now", 1) for text in texts]
    expected = {(a, b) for a in range(120) for b in range(a) if fuzz.ratio(texts[a], texts[b]) >= 90}
    alike, found = AlikeTexts(90.0), set()
    for key, text in enumerate(texts):
        found |= {(key, other) for other, _ in alike.find(text)}
        alike.add(key, text)
    assert found <= expected
    assert len(expected) >= 20
    assert len(found) >= 0.95 * len(expected)
