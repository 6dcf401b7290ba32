from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tuning.data.rows import TrainingRow
from tuning.errors import TuningError
from tuning.objectives.supervised import SUPERVISED
from tuning.training.batches import encode_rows, training_order

# Its tokenizers are transformers'.
pytestmark = pytest.mark.slow


def row(question: str, answer: str, role: str = "user") -> TrainingRow:
    return TrainingRow(({"role": role, "content": question},), answer)


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_base)


def test_rows_over_the_limit_are_left_out_and_counted(tokenizer: Any) -> None:
    rows = [row("one", "two"), row("one two three", "two"), row("sea", "blue")]
    encoded, dropped = encode_rows(tokenizer, rows, SUPERVISED, max_length=6)
    assert ([r.num_tokens for r in encoded], dropped) == ([6, 6], 1)


def test_it_is_an_error_when_all_rows_are_too_long(tokenizer: Any) -> None:
    with pytest.raises(TuningError, match=r"all 1 training rows are longer than max_length 5 \(the shortest has 6"):
        encode_rows(tokenizer, [row("one", "two")], SUPERVISED, max_length=5)


@pytest.mark.parametrize(
    ("epochs", "times"), [(1, {1: 50}), (3, {3: 50}), (0.5, {1: 25}), (1.5, {1: 25, 2: 25}), (0.01, {1: 1})]
)
def test_every_epoch_takes_every_row_once(epochs: float, times: dict[int, int]) -> None:
    order = training_order(range(50), epochs=epochs, batch_size=4, seed=0)
    assert Counter(Counter(order).values()) == times


def test_rows_of_a_batch_are_of_similar_length() -> None:
    lengths = [10 + (i * 37) % 64 for i in range(64)]  # 10..73, each once
    order = training_order(lengths, epochs=1, batch_size=8, seed=0)
    spreads = [
        max(lengths[i] for i in order[at : at + 8]) - min(lengths[i] for i in order[at : at + 8])
        for at in range(0, 64, 8)
    ]
    # One window of 64 rows, sorted: each batch holds eight consecutive lengths.
    assert spreads == [7] * 8
    assert [lengths[i] for i in order] != sorted(lengths), "the batches themselves are shuffled"


def test_only_the_last_batch_is_smaller() -> None:
    lengths = [5] * 8 + [50] * 3
    order = training_order(lengths, epochs=1, batch_size=2, seed=1)
    sizes = [len({lengths[i] for i in order[at : at + 2]}) for at in range(0, 11, 2)]
    assert len(order) == 11
    # Sorted pairs 5 5 | 5 5 | 5 5 | 5 5 | 50 50 | 50: no group mixes lengths, whatever the shuffle.
    assert sizes == [1] * 6


def test_the_order_follows_the_seed() -> None:
    orders = [training_order([5] * 30, epochs=2, batch_size=4, seed=seed) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
