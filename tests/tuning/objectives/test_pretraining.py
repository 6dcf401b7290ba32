"""Documents as windows of tokens."""

from __future__ import annotations

from typing import Any

import pytest

from tuning.data.rows import TextWindow
from tuning.errors import TuningError
from tuning.methods.lora import LoraRecipe
from tuning.methods.registry import METHODS
from tuning.objectives.objective import IGNORED
from tuning.objectives.pretraining import PRETRAINING, Pretraining, document_windows


class Letters:
    """A token a letter, and 0 at the end."""

    eos_token_id: int | None = 0

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) - 96 for letter in text]}


def windows(*texts: str, window: int = 8, overlap: int = 2) -> list[TextWindow]:
    return document_windows(texts, Letters(), Pretraining(window=window, overlap=overlap))


def test_a_short_document_is_one_window_with_its_end() -> None:
    assert windows("abc") == [TextWindow((1, 2, 3, 0), 1)]


def test_a_window_begins_with_the_end_of_the_one_before_which_is_not_learned_again() -> None:
    # abcdefghijklm and the end: 14 tokens, in steps of 6.
    assert windows("abcdefghijklm") == [
        TextWindow((1, 2, 3, 4, 5, 6, 7, 8), 1),
        TextWindow((7, 8, 9, 10, 11, 12, 13, 0), 2),
    ]
    assert windows("abcdefghijklm", overlap=1) == [
        TextWindow((1, 2, 3, 4, 5, 6, 7, 8), 1),
        TextWindow((8, 9, 10, 11, 12, 13, 0), 1),
    ]


@pytest.mark.parametrize("length", range(1, 40))
@pytest.mark.parametrize("overlap", [1, 2, 7])
def test_every_token_but_the_first_is_learned_once(length: int, overlap: int) -> None:
    text = "abcdefghij" * 4
    found = windows(text[:length], overlap=overlap)
    learned = [one for window in found for one in window.ids[window.num_read :]]
    assert learned == [*Letters()(text[:length])["input_ids"][1:], 0]
    assert all(len(window.ids) <= 8 for window in found)
    # What a window learns first is predicted from what it reads.
    assert all(window.num_read > 0 for window in found)


def test_documents_do_not_share_windows_and_an_empty_one_has_none() -> None:
    assert windows("ab", "", "c") == [TextWindow((1, 2, 0), 1), TextWindow((3, 0), 1)]


def test_a_row_has_labels_for_what_is_learned() -> None:
    encoded = PRETRAINING.encode(None, TextWindow((5, 6, 7, 8), 2))
    assert (encoded.input_ids, encoded.labels) == ((5, 6, 7, 8), (IGNORED, IGNORED, 7, 8))


@pytest.mark.parametrize("method", ["prompt", "p_tuning", "prefix"])
def test_what_is_put_before_a_text_holds_no_documents(method: str) -> None:
    with pytest.raises(TuningError, match=f"objective must be another than 'pretraining' with {method}: what it trai"):
        METHODS[method].recipe(objective=Pretraining())


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"passages": 2}, r"passages \(2\) must be 0 with objective pretraining"),
        ({"max_length": 128}, r"max_length \(128\) must be at least 256, the objective's window"),
        (
            {"objective": "pretrain"},
            "objective must be one of supervised, .* not 'pretrain' .did you mean 'pretraining",
        ),
    ],
)
def test_numbers_that_do_not_go_with_documents_are_refused(numbers: dict[str, Any], said: str) -> None:
    with pytest.raises(TuningError, match=said):
        LoraRecipe(**{"objective": Pretraining(), **numbers})


def test_an_overlap_as_long_as_the_window_is_refused() -> None:
    with pytest.raises(TuningError, match=r"overlap \(8\) must be below window \(8\)"):
        Pretraining(window=8, overlap=8)
