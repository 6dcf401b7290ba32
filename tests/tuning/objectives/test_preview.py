from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuning.data.rows import TrainingRow
from tuning.objectives.objective import IGNORED
from tuning.objectives.preview import look_at, unlearnable
from tuning.objectives.supervised import encode_completion

# Its tokenizer is transformers'.
pytestmark = pytest.mark.slow

ROW = TrainingRow(({"role": "user", "content": "what colour is sea"},), "blue green")


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_base)


def test_tokens_are_marked_where_they_are_trained(tokenizer: Any) -> None:
    seen = look_at(tokenizer, encode_completion(tokenizer, ROW))
    assert [token.text for token in seen.tokens if token.is_trained] == ["blue", "green", "[end]"]
    assert seen.num_trained == 3
    assert seen.pieces == (("[user] what colour is sea [end] [assistant]", False), ("blue green [end]", True))


def test_a_row_of_masked_tokens_or_without_an_end_teaches_nothing_good(tokenizer: Any) -> None:
    encoded = encode_completion(tokenizer, ROW)
    assert unlearnable(tokenizer, encoded) is None
    masked = replace(encoded, labels=(IGNORED,) * encoded.num_tokens)
    assert unlearnable(tokenizer, masked) == "no token is trained: all of them are masked"
    assert look_at(tokenizer, masked).num_trained == 0
    endless = replace(encoded, labels=(*encoded.labels[:-1], IGNORED))
    assert unlearnable(tokenizer, endless) == (
        "no trained token is '[end]', so that a model trained with it would not stop"
    )
