from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from eval.generation.readings import NoProbabilities, packed, reading_of, unpacked

PLACES = [None, {"5": {"logprob": -0.12345678, "decoded_token": " a"}}, {"7": {"logprob": -1}, "9": {"logprob": -0.5}}]


def told(places: Any) -> Any:
    return SimpleNamespace(choices=[SimpleNamespace(prompt_logprobs=places)])


def test_a_reading_begins_where_it_is_wanted_and_has_texts_where_a_text_was_read() -> None:
    assert reading_of(told(PLACES), (1, 5, 7), 2) == (((7, -1.0, ""), (9, -0.5, "")),)
    assert reading_of(told(PLACES), "b a", 1) == (((5, -0.123457, " a"),), ((7, -1.0, ""), (9, -0.5, "")))


def test_what_is_kept_is_what_was_read() -> None:
    reading = reading_of(told(PLACES), "b a", 1)
    assert unpacked(packed(reading)) == reading
    with pytest.raises(ValueError, match="incorrect header"):
        unpacked(b"damaged")


@pytest.mark.parametrize(
    "places", [None, PLACES[:2], "prose", [None, None, None], [None, {}, PLACES[2]], [None, PLACES[1], {"x": {}}]]
)
def test_anything_else_is_refused(places: Any) -> None:
    with pytest.raises(NoProbabilities):
        reading_of(told(places), (1, 5, 7), 1)
    with pytest.raises(NoProbabilities):
        reading_of(SimpleNamespace(choices=None), "a", 1)
