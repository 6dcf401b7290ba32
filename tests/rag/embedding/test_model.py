from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag.embedding.model import Model, batches_of
from rag.embedding.settings import Precision

TEXTS = ["loan desk", "late " * 30, "desk desk late loan", "", "the loan of a late desk"] * 30


def test_texts_of_like_length_share_a_batch_the_longest_first() -> None:
    assert batches_of([3, 6, 4, 6], 12) == [[1, 3], [2, 0]]


@pytest.mark.parametrize("batch_tokens", [1, 5, 16, 1000])
def test_every_text_is_in_one_batch_and_only_a_text_alone_may_be_larger(batch_tokens: int) -> None:
    lengths = [n % 7 for n in range(100)]

    batches = batches_of(lengths, batch_tokens)

    assert sorted(place for batch in batches for place in batch) == list(range(100))
    assert all(len(batch) * lengths[batch[0]] <= batch_tokens or len(batch) == 1 for batch in batches)
    assert max(map(len, batches)) <= 64


def test_no_texts_are_no_batches() -> None:
    assert batches_of([], 12) == []


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transformer of one layer with random weights that reads 16 tokens."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "loan", "desk", "late", "the", "of", "a"]
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=16,
    )
    BertModel(config).save_pretrained(folder / "bert")
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=16).save_pretrained(folder / "bert")
    bert = Transformer(str(folder / "bert"), max_seq_length=16)
    SentenceTransformer(modules=[bert, Pooling(32)], device="cpu").save(str(folder / "model"))
    return folder / "model"


@pytest.mark.model
@pytest.mark.parametrize(("precision", "least_cosine"), [("float32", 0.999999), ("bfloat16", 0.999)])
def test_the_vectors_are_those_of_the_library(tiny: Path, precision: Precision, least_cosine: float) -> None:
    from sentence_transformers import SentenceTransformer

    expected = SentenceTransformer(str(tiny), device="cpu").encode(TEXTS, normalize_embeddings=True)
    model = Model(tiny, precision, threads=2)
    done: list[tuple[int, int]] = []

    vectors = model.vectors(TEXTS, lambda *counts: done.append(counts))

    assert (model.dimension, model.window, model.num_special) == (32, 16, 2)
    assert (vectors.shape, vectors.dtype) == ((150, 32), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert (vectors * expected).sum(axis=1).min() >= least_cosine
    assert done[-1] == (150, 150)


@pytest.mark.model
def test_a_model_that_is_no_transformer_is_run_as_its_library_does(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "loan": 1, "desk": 2, "late": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    library: Any = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)], device="cpu")
    library.save(str(tmp_path))
    texts = ["loan desk", "late", "desk desk late loan"] * 30
    model = Model(tmp_path, "float32", threads=2)

    np.testing.assert_allclose(model.vectors(texts), library.encode(texts, normalize_embeddings=True), atol=1e-6)
    assert model.window is None
