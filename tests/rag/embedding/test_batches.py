from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer as WordTokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from rag.embedding.batches import Tokenizer


@pytest.fixture
def words() -> WordTokenizer:
    """`a` to `d` are 3 to 6; [BOS] 1 and [EOS] 2 stand around a text, 0 fills up, 7 is unknown."""
    vocabulary = {"[PAD]": 0, "[BOS]": 1, "[EOS]": 2, "a": 3, "b": 4, "c": 5, "d": 6, "[UNK]": 7}
    tokenizer = WordTokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 1), ("[EOS]", 2)])
    # What a model's file brings along must not reach the batches.
    tokenizer.enable_padding(length=50)
    tokenizer.enable_truncation(4)
    return tokenizer


def test_texts_of_like_length_in_tokens_share_a_batch_the_longest_first(words: WordTokenizer) -> None:
    # 3, 6, 4 and 6 tokens; in letters the first is the longest.
    texts = ["unknownlongword", "a b c d", "a b", "d c b a"]

    first, second = Tokenizer(words, 256).batches(texts, batch_tokens=12)

    assert first.rows == (1, 3)
    assert first.texts == ("a b c d", "d c b a")
    np.testing.assert_array_equal(first.inputs["input_ids"], [[1, 3, 4, 5, 6, 2], [1, 6, 5, 4, 3, 2]])
    assert second.rows == (2, 0)
    np.testing.assert_array_equal(second.inputs["input_ids"], [[1, 3, 4, 2], [1, 7, 2, 0]])
    np.testing.assert_array_equal(second.inputs["attention_mask"], [[1, 1, 1, 1], [1, 1, 1, 0]])
    assert (first.num_tokens, second.num_tokens) == (12, 8)


@pytest.mark.parametrize("batch_tokens", [1, 5, 16, 1000])
def test_every_text_is_in_one_batch_and_only_a_text_alone_may_be_larger(
    words: WordTokenizer, batch_tokens: int
) -> None:
    texts = ["a " * (n % 7) for n in range(100)]

    batches = Tokenizer(words, 256).batches(texts, batch_tokens)

    assert sorted(row for batch in batches for row in batch.rows) == list(range(100))
    assert all(batch.num_tokens <= batch_tokens or len(batch.rows) == 1 for batch in batches)
    assert max(len(batch.rows) for batch in batches) <= 64


def test_a_text_longer_than_the_window_is_cut(words: WordTokenizer) -> None:
    (batch,) = Tokenizer(words, 4).batches(["a b c d"])

    np.testing.assert_array_equal(batch.inputs["input_ids"], [[1, 3, 4, 2]])


def test_spans_are_neither_cut_nor_filled_nor_special(words: WordTokenizer) -> None:
    tokenizer = Tokenizer(words, 4)

    assert tokenizer.spans(["a b c d b", ""]) == [[(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)], []]
    assert tokenizer.num_special == 2


def test_no_texts_are_no_batches(words: WordTokenizer) -> None:
    assert Tokenizer(words, 4).batches([]) == []
