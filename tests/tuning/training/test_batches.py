from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tuning.data.rows import TrainingRow
from tuning.errors import TuningError
from tuning.training.batches import IGNORED, encode_rows, training_order


def row(question: str, answer: str, role: str = "user") -> TrainingRow:
    return TrainingRow(({"role": role, "content": question},), answer)


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_base)


def test_the_loss_begins_with_the_first_token_of_the_answer_and_ends_with_its_end(tokenizer: Any) -> None:
    ((encoded,), dropped) = encode_rows(tokenizer, [row("what colour is sea", "blue")], max_length=100)
    tokens = ["[user]", "what", "colour", "is", "sea", "[end]", "[assistant]", "blue", "[end]"]
    assert tokenizer.convert_ids_to_tokens(encoded.input_ids) == tokens
    assert encoded.labels == (IGNORED,) * 7 + encoded.input_ids[7:]
    assert (encoded.num_tokens, dropped) == (9, 0)


def test_trl_tokenizes_a_row_in_the_same_way(tokenizer: Any, tiny_base: Path, tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = [row("what colour is sea", "blue"), row("two", "three one")]
    dataset = Dataset.from_list(
        [{"prompt": list(r.prompt), "completion": [{"role": "assistant", "content": r.completion}]} for r in rows]
    )
    config = SFTConfig(str(tmp_path), report_to="none", use_cpu=True, bf16=False)
    theirs = SFTTrainer(str(tiny_base), args=config, train_dataset=dataset, processing_class=tokenizer).train_dataset
    ours, _ = encode_rows(tokenizer, rows, max_length=100)
    assert [(tuple(r["input_ids"]), tuple(r["labels"])) for r in theirs] == [(r.input_ids, r.labels) for r in ours]


def test_rows_over_the_limit_are_left_out_and_counted(tokenizer: Any) -> None:
    rows = [row("one", "two"), row("one two three", "two"), row("sea", "blue")]
    encoded, dropped = encode_rows(tokenizer, rows, max_length=6)
    assert ([r.num_tokens for r in encoded], dropped) == ([6, 6], 1)


def test_it_is_an_error_when_all_rows_are_too_long(tokenizer: Any) -> None:
    with pytest.raises(TuningError, match=r"all 1 training rows are longer than max_length 5 \(the shortest has 6"):
        encode_rows(tokenizer, [row("one", "two")], max_length=5)


def test_a_role_that_the_template_refuses_is_a_plain_error(tokenizer: Any) -> None:
    with pytest.raises(TuningError, match="refuses a conversation of tool, assistant: no role tool"):
        encode_rows(tokenizer, [row("one", "two", role="tool")], max_length=100)


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
