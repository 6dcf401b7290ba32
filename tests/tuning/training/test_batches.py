from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tuning.data.rows import TrainingRow
from tuning.errors import TuningError
from tuning.objectives.objective import IGNORED, EncodedRow
from tuning.objectives.supervised import SUPERVISED
from tuning.training.batches import alike_rows, encode_rows, training_order

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


def tokens(*ids: int) -> EncodedRow:
    """A row of these ids, the last of which is the answer."""
    return EncodedRow(ids, (*[IGNORED] * (len(ids) - 1), ids[-1]))


def test_rows_that_begin_alike_are_found_whatever_all_rows_begin_with() -> None:
    head, passage, other = (1, 2, 3, 4, 5, 6), (20, 21, 22, 23), (30, 31, 32, 33)
    rows = [
        tokens(*head, *passage, 7, 8),
        tokens(*head, *other, 7, 8),
        tokens(*head, 40, 8),
        tokens(*head, *passage, 9, 10, 8),
        tokens(*head, *other, 9, 8),
        tokens(*head, *passage, 11, 8),
    ]
    assert alike_rows(rows) == [[0, 3, 5], [1, 4]]
    assert alike_rows([tokens(*head, one, 8) for one in range(40, 44)]) == []


def test_rows_that_begin_alike_fill_half_batches_together() -> None:
    lengths, alike = [40 + i // 2 for i in range(64)], [[i, i + 1] for i in range(0, 48, 2)]
    order = training_order(lengths, epochs=2, batch_size=4, seed=0, alike=alike)
    assert Counter(Counter(order).values()) == {2: 64}
    halves = [sorted(order[at : at + 2]) for at in range(0, 128, 2)]
    together = sum(half in alike for half in halves)
    assert together >= 2 * len(alike) - 3, "only where a window ends is a pair cut"
    lone = training_order(lengths, epochs=1, batch_size=4, seed=0)
    assert training_order(lengths, epochs=1, batch_size=4, seed=0, alike=[]) == lone


def test_more_rows_than_half_a_batch_begin_alike_and_are_dealt_out_anew_in_every_epoch() -> None:
    order = training_order([9] * 32, epochs=2, batch_size=8, seed=0, alike=[list(range(16))])
    halves = [frozenset(order[at : at + 4]) for at in range(0, 64, 4)]
    full = [half for half in halves if half <= set(range(16))]
    assert len(full) == 8
    assert set(full[:4]) != set(full[4:])


def test_the_order_follows_the_seed() -> None:
    orders = [training_order([5] * 30, epochs=2, batch_size=4, seed=seed) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
