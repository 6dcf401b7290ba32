from __future__ import annotations

import pytest

from rag.search.words import spellings_of, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The bells, rung at DUSK!", ["the", "bells", "rung", "at", "dusk", "~the", "~bell", "~rung", "~at", "~dusk"]),
        ("opens", ["opens", "~open"]),
        ("", []),
        ("?! ~…", []),
    ],
)
def test_words_are_spellings_and_stems(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("text", "spellings"),
    [
        ("snake_case and C3PO", ["snake", "case", "and", "c3po"]),
        ("Straße", ["strasse"]),
        ("naïve", ["naïve"]),
        ("東京都に行く", ["東京", "京都", "都に", "に行", "行く"]),
        ("愛", ["愛"]),
        ("GPU版を使う", ["gpu", "版を", "を使", "使う"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
    ],
)
def test_spellings_are_what_a_reader_would_call_words(text: str, spellings: list[str]) -> None:
    assert spellings_of(text) == spellings


@pytest.mark.parametrize("sign", ["x", "東", " ", "_", "7"])
def test_one_line_of_a_million_signs_is_no_matter(sign: str) -> None:
    assert all(len(word) <= 65 for word in words_of(sign * 1_000_000))
