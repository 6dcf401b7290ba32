from __future__ import annotations

from math import log
from pathlib import Path

import numpy as np
import pytest

from rag.search.lexical import LexicalView, spellings_of, words_of

NONE = np.empty(0, dtype=np.int64)
TEXTS = ["The desk opens at nine.", "Books are due in three weeks.", "A desk, a desk, a kingdom for a desk!", ""]
NUMBERS = np.array([2, 5, 6, 9])


def found(view: LexicalView, query: str, k: int = 9, allowed: list[int] | None = None) -> list[int]:
    numbers, scores = view.search(query, k, None if allowed is None else np.array(allowed, dtype=np.int64))
    assert (scores > 0).all()
    assert (np.diff(scores) <= 0).all()
    return [int(number) for number in numbers]


@pytest.fixture
def view() -> LexicalView:
    return LexicalView.build(NUMBERS, TEXTS)


def test_scores_are_lucenes() -> None:
    # One of 2 texts has the word: ln(1 + 1.5 / 1.5). It stands there twice, in 6 words where the mean is 4, and so does
    # its stem: 2 / (2 + 1.2 (0.5 + 0.5 6/4)).
    score = 2 * log(2) * 2 / (2 + 1.2 * 1.25)
    assert LexicalView.build(np.array([1, 2]), ["red red blue", "green"]).search("red", 5)[1].tolist() == pytest.approx(
        [score]
    )
    added = LexicalView.build(NONE, []).changed(np.array([1, 2]), ["red red blue", "green"], NONE)
    assert added.search("red", 5)[1].tolist() == pytest.approx([score])


def test_only_texts_that_share_a_word_are_found(view: LexicalView) -> None:
    assert found(view, "When does the DESK open?") == [2, 6]
    assert found(view, "zebra") == found(view, "") == found(view, "?!") == []
    assert found(view, "books or desk", k=1) == [5]
    assert found(view, "desk", k=0) == []


def test_a_question_of_common_words_alone_finds_something(view: LexicalView) -> None:
    assert found(view, "are the in") == [5, 2]


def test_equal_scores_are_in_the_order_of_their_numbers_at_the_cut_too() -> None:
    view = LexicalView.build(np.arange(50), ["same words"] * 50)
    assert found(view, "words", k=3) == [0, 1, 2]


def test_a_filter_leaves_out_all_other_numbers(view: LexicalView) -> None:
    after = view.changed(np.array([20]), ["Another desk"], NONE)
    assert sorted(found(after, "desk", allowed=[2, 3, 20])) == [2, 20]
    assert found(after, "desk", allowed=[]) == []


def test_a_change_gives_a_new_view_and_leaves_the_old_one(view: LexicalView) -> None:
    after = view.changed(np.array([20, 21]), ["A zebra at the desk", " "], np.array([6, 77]))
    assert found(after, "zebra") == [20]
    assert found(after, "desk") == [2, 20]
    assert after.numbers.tolist() == [2, 5, 9, 20, 21]
    assert after.num_changed == 3
    assert found(view, "zebra") == []
    assert found(view, "desk") == [6, 2]


def test_a_change_may_be_applied_twice_and_added_texts_replaced_and_removed(view: LexicalView) -> None:
    once = view.changed(np.array([20, 5]), ["A zebra", "A giraffe"], np.array([6]))
    twice = once.changed(np.array([20, 5]), ["A zebra", "A giraffe"], np.array([6]))
    for after in (once, twice):
        assert found(after, "zebra giraffe") == [5, 20]
        assert found(after, "weeks") == []
        assert after.numbers.tolist() == [2, 5, 9, 20]
        assert after.num_changed == 4
    assert found(twice.changed(np.array([20]), ["A lion"], np.array([5])), "zebra giraffe lion") == [20]


def test_added_texts_rank_as_if_they_had_been_there_from_the_start() -> None:
    texts = [f"word{number % 7} word{number % 11} common" + " filler" * (number % 5) for number in range(100)]
    whole = LexicalView.build(np.arange(100), texts)
    grown = (
        LexicalView.build(NONE, [])
        .changed(np.arange(60), texts[:60], NONE)
        .changed(np.arange(60, 100), texts[60:], NONE)
    )
    for query in ("word3 word4", "common", "filler word6"):
        expected, actual = whole.search(query, 20), grown.search(query, 20)
        assert actual[0].tolist() == expected[0].tolist()
        assert actual[1].tolist() == pytest.approx(expected[1].tolist(), rel=1e-5)


@pytest.mark.parametrize("is_empty", [False, True])
def test_a_saved_view_is_the_same_view(is_empty: bool, tmp_path: Path) -> None:
    numbers, texts = (NONE, []) if is_empty else (np.array([2, 6, 20, 21]), [*TEXTS[::2], "Une girafe naïve", "東京都"])
    saved = LexicalView.build(numbers, texts)
    saved.save(tmp_path / "1.view", "s")
    loaded = LexicalView.load(tmp_path / "1.view", "s")
    assert loaded is not None
    change = (np.array([30]), ["girafe zebra"], np.array([6]))
    for before, after in ((saved, loaded), (saved.changed(*change), loaded.changed(*change))):
        assert after.numbers.tolist() == before.numbers.tolist()
        assert after.num_changed == before.num_changed
        for query in ("desk", "girafe naïve", "東京", "books", "zebra"):
            assert after.search(query, 5)[0].tolist() == before.search(query, 5)[0].tolist()
            assert after.search(query, 5)[1].tolist() == before.search(query, 5)[1].tolist()


def test_a_damaged_file_and_one_of_another_stamp_are_refused(view: LexicalView, tmp_path: Path) -> None:
    file = tmp_path / "1.view"
    view.save(file, "s")
    assert LexicalView.load(file, "t") is None
    file.write_bytes(file.read_bytes()[:-1])
    assert LexicalView.load(file, "s") is None


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


@pytest.mark.slow
@pytest.mark.parametrize("sign", ["x", "東", " ", "_", "7"])
def test_one_line_of_a_million_signs_is_no_matter(sign: str) -> None:
    assert all(len(word) <= 65 for word in words_of(sign * 1_000_000))
