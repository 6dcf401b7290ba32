from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest

from rag.errors import RagError
from rag.search.rerank import Reranker, load_reranker


def make_cross_encoder(folder: Path, *, num_labels: int = 1) -> str:
    """A cross-encoder of a few thousand random weights, saved as sentence-transformers saves one."""
    import torch
    from sentence_transformers import CrossEncoder
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "boat", "lake", "desk", "opens", "when", "the"]
    source = folder / "source"
    source.mkdir(parents=True)
    (source / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
        num_labels=num_labels,
        initializer_range=1.0,
    )
    BertForSequenceClassification(config).save_pretrained(source)
    BertTokenizerFast(str(source / "vocab.txt"), model_max_length=64).save_pretrained(source)
    CrossEncoder(str(source)).save(str(folder / "model"))
    return str(folder / "model")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_cross_encoder(tmp_path_factory.mktemp("reranker"))


TEXTS = ["boat lake", "desk opens", "", "the " * 500, "lake boat the desk", "opens"]


def test_scores_are_the_logistic_function_of_the_models_output_in_the_texts_order(model: str) -> None:
    from math import exp

    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    scores = load_reranker(model).scores("when the desk opens", TEXTS)
    logits = CrossEncoder(model).predict([("when the desk opens", text) for text in TEXTS], activation_fn=Identity())
    assert scores == pytest.approx([1 / (1 + exp(-logit)) for logit in logits.tolist()], abs=1e-5)
    assert len(set(scores)) > 3
    assert load_reranker(model).scores("desk", []) == []


def test_a_reranker_is_loaded_once_and_shared_by_threads(model: str) -> None:
    assert load_reranker(model) is load_reranker(model)
    expected = load_reranker(model).scores("desk", TEXTS)
    results: list[list[float]] = []
    threads = [Thread(target=lambda: results.append(load_reranker(model).scores("desk", TEXTS))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [pytest.approx(expected, abs=1e-6)] * 4


def test_a_missing_and_an_unfit_reranker_are_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "nowhere")
    with pytest.raises(RagError, match="nowhere"):
        load_reranker(missing)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RagError, match=r"empty.*cannot be loaded"):
        load_reranker(str(tmp_path / "empty"))
    with pytest.raises(RagError, match="3 outputs"):
        Reranker(make_cross_encoder(tmp_path / "three", num_labels=3))
