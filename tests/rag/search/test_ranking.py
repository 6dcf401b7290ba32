from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rag.errors import RagError
from rag.search.dense import DenseView
from rag.search.lexical import LexicalView
from rag.search.ranking import Ranking, Reranker, fuse, load_reranker, pick_diverse, retrieve
from rag.search.settings import SearchSettings

TEXTS = {
    1: "red apples in a basket on the long table",
    2: "green pears in a basket on the long table",
    3: "red apples in a basket on the long table",
    4: "a boat on the lake",
}
VECTORS = np.array([[1, 0, 0], [0.8, 0.6, 0], [1, 0, 0], [0, 0, 1]], dtype=np.float32)
NUMBERS = np.array(list(TEXTS))
DENSE = DenseView.build(NUMBERS, VECTORS)
LEXICAL = LexicalView.build(NUMBERS, TEXTS.values())


class LongestFirst:
    """A reranker that likes long texts."""

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        return [min(len(text) / 100, 1.0) for text in texts]


def search(settings: SearchSettings, k: int = 4, query: str = "boat", **given: Any) -> list[tuple[int, float]]:
    parts: dict[str, Any] = {
        "vector": lambda: np.array([1, 0, 0], dtype=np.float32),
        "dense": lambda: DENSE,
        "lexical": lambda: LEXICAL,
        "allowed": None,
        "texts_of": lambda numbers: [TEXTS[number] for number in numbers],
    } | given
    return retrieve(query, parts.pop("vector"), k, settings, **parts)


def numbers(hits: list[tuple[int, float]]) -> list[int]:
    return [number for number, _ in hits]


def refuse() -> Any:
    raise AssertionError("not needed")


def test_only_what_a_mode_needs_is_loaded() -> None:
    assert numbers(search(SearchSettings(mode="dense"), lexical=refuse, texts_of=refuse)) == [1, 3, 2, 4]
    assert numbers(search(SearchSettings(mode="bm25"), dense=refuse, vector=refuse, texts_of=refuse)) == [4]
    nothing = np.empty(0, dtype=np.int64)
    assert search(SearchSettings(), allowed=nothing, dense=refuse, vector=refuse) == []


def test_scores_are_those_of_the_step_that_ranked() -> None:
    assert search(SearchSettings(mode="dense"), k=3) == [(1, 1.0), (3, 1.0), (2, pytest.approx(0.8))]
    assert search(SearchSettings(mode="bm25"))[0][1] == pytest.approx(float(LEXICAL.search("boat", 1)[1][0]))
    # Vectors 1, 1, 0.8, 0 and words 0, 0, 0, 1, at equal weights.
    assert search(SearchSettings(mode="hybrid", dense_weight=0.5)) == [
        (1, 0.5),
        (3, 0.5),
        (4, 0.5),
        (2, pytest.approx(0.4)),
    ]


def test_a_filter_reaches_both_rankings() -> None:
    allowed = np.array([2, 3])
    assert numbers(search(SearchSettings(mode="hybrid"), query="red boat", allowed=allowed)) == [3, 2]


def test_a_reranker_sees_the_candidates_and_decides() -> None:
    settings = SearchSettings(mode="dense", reranker="longest", candidates=3)
    assert search(settings, k=2, reranker=LongestFirst()) == [(2, pytest.approx(0.41)), (1, pytest.approx(0.40))]
    assert numbers(search(replace(settings, candidates=1), k=1, reranker=LongestFirst())) == [1]


def test_a_threshold_drops_what_scores_less() -> None:
    assert numbers(search(SearchSettings(mode="dense", threshold=0.8 - 1e-6))) == [1, 3, 2]
    assert search(SearchSettings(threshold=1.1)) == []


def test_a_threshold_on_a_fusion_is_one_of_cosines() -> None:
    """4 holds the word and has the highest fused score, but is not like the query at all."""
    assert numbers(search(SearchSettings(mode="hybrid", threshold=0.5))) == [1, 3, 2]
    assert numbers(search(SearchSettings(mode="hybrid", threshold=-0.1))) == [4, 1, 3, 2]


def test_distinct_drops_what_repeats_a_better_passage() -> None:
    assert numbers(search(SearchSettings(mode="dense", distinct=True), k=3)) == [1, 2, 4]


def test_mmr_spreads_the_choice_and_keeps_the_scores() -> None:
    # After 1: 3 gains 0.3 - 0.7, 2 gains 0.24 - 0.56, 4 gains 0 - 0.
    hits = search(SearchSettings(mode="dense", mmr=0.3), k=2)
    assert hits == [(1, 1.0), (4, 0.0)]
    assert numbers(search(SearchSettings(mode="dense", mmr=1.0), k=3)) == [1, 3, 2]
    assert numbers(search(SearchSettings(mode="bm25", mmr=0.5), query="red apples boat", k=2))[0] == 4


def test_mmr_looks_at_the_candidates_and_gives_k() -> None:
    assert numbers(search(SearchSettings(mode="dense", mmr=0.3, candidates=2), k=2)) == [1, 3]


def test_k_above_the_candidates_is_filled() -> None:
    vector: NDArray[np.float32] = np.array([0, 0, 1], dtype=np.float32)
    hits = search(SearchSettings(mode="hybrid", candidates=1), k=4, vector=lambda: vector)
    assert sorted(numbers(hits)) == [1, 2, 3, 4]


def ranking(**scores: float) -> Ranking:
    """n3=0.5 is number 3 with the score 0.5."""
    return (
        np.array([int(name[1:]) for name in scores], dtype=np.int64),
        np.array(list(scores.values()), dtype=np.float32),
    )


def as_dict(fused: Ranking) -> dict[int, float]:
    return {int(number): pytest.approx(float(score)) for number, score in zip(*fused, strict=True)}


def test_minmax_brings_the_best_to_one_and_the_last_to_zero() -> None:
    fused = fuse(ranking(n1=0.9, n2=0.6, n3=0.5), ranking(n2=12.0, n4=7.0, n1=2.0), method="minmax", dense_weight=0.5)
    # 1: (1 + 0) / 2; 2: (0.25 + 1) / 2; 3: (0 + absent) / 2; 4: (absent + 0.5) / 2
    assert as_dict(fused) == {2: 0.625, 1: 0.5, 4: 0.25, 3: 0.0}
    assert fused[0].tolist() == [2, 1, 4, 3]


def test_rrf_looks_at_ranks_alone() -> None:
    fused = fuse(ranking(n1=0.9, n2=0.6), ranking(n2=900.0, n3=7.0), method="rrf", dense_weight=0.75)
    # rank r gives 61 / (60 + r)
    assert as_dict(fused) == {2: 0.75 * 61 / 62 + 0.25, 1: 0.75, 3: 0.25 * 61 / 62}
    assert fused[0].tolist() == [2, 1, 3]


@pytest.mark.parametrize("method", ["minmax", "rrf"])
def test_a_number_that_one_ranking_found_has_nothing_from_the_other(method: str) -> None:
    fused = fuse(ranking(n1=0.9), ranking(n2=3.0), method=method, dense_weight=0.7)  # type: ignore[arg-type]
    assert as_dict(fused) == {1: 0.7, 2: 0.3}


@pytest.mark.parametrize("method", ["minmax", "rrf"])
def test_an_empty_ranking_leaves_the_other_as_it_is(method: str) -> None:
    fused = fuse(ranking(n1=0.9, n2=0.1), ranking(), method=method, dense_weight=0.5)  # type: ignore[arg-type]
    assert fused[0].tolist() == [1, 2]
    assert len(fuse(ranking(), ranking(), method=method, dense_weight=0.5)[0]) == 0  # type: ignore[arg-type]


def test_equal_scores_are_all_the_best_and_go_by_number() -> None:
    fused = fuse(ranking(n7=0.5, n3=0.5), ranking(), method="minmax", dense_weight=1.0)
    assert fused[0].tolist() == [3, 7]
    assert fused[1].tolist() == [1, 1]


@pytest.mark.parametrize(("weight", "order"), [(1.0, [1, 2]), (0.0, [2, 1])])
def test_the_weight_decides_between_them(weight: float, order: list[int]) -> None:
    fused = fuse(ranking(n1=0.9, n2=0.1), ranking(n2=3.0, n1=1.0), method="minmax", dense_weight=weight)
    assert fused[0].tolist() == order


# Places 0 and 1 say the same, 2 something else.
ALIKE = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
RELEVANCE = np.array([0.9, 0.8, 0.5], dtype=np.float32)


@pytest.mark.parametrize(
    ("weight", "k", "chosen"),
    [
        (1.0, 3, [0, 1, 2]),  # likeness to the query alone
        (0.5, 3, [0, 2, 1]),  # 2: 0.25 - 0; 1: 0.4 - 0.5
        (0.5, 1, [0]),
        (0.5, 9, [0, 2, 1]),
        (0.0, 2, [0, 2]),
    ],
)
def test_choices_weigh_relevance_against_what_was_chosen(weight: float, k: int, chosen: list[int]) -> None:
    assert pick_diverse(RELEVANCE, ALIKE, k, weight) == chosen


def test_nothing_is_chosen_of_nothing() -> None:
    assert pick_diverse(RELEVANCE[:0], ALIKE[:0], 3, 0.5) == []


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


SENTENCES = ["boat lake", "desk opens", "", "the " * 500, "lake boat the desk", "opens"]


@pytest.mark.slow
def test_scores_are_the_logistic_function_of_the_models_output_in_the_texts_order(model: str) -> None:
    from math import exp

    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    scores = load_reranker(model).scores("when the desk opens", SENTENCES)
    logits = CrossEncoder(model).predict(
        [("when the desk opens", text) for text in SENTENCES], activation_fn=Identity()
    )
    assert scores == pytest.approx([1 / (1 + exp(-logit)) for logit in logits.tolist()], abs=1e-5)
    assert len(set(scores)) > 3
    assert load_reranker(model).scores("desk", []) == []


@pytest.mark.slow
def test_a_reranker_is_loaded_once_and_shared_by_threads(model: str) -> None:
    assert load_reranker(model) is load_reranker(model)
    expected = load_reranker(model).scores("desk", SENTENCES)
    results: list[list[float]] = []
    threads = [Thread(target=lambda: results.append(load_reranker(model).scores("desk", SENTENCES))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [pytest.approx(expected, abs=1e-6)] * 4


@pytest.mark.slow
def test_a_missing_and_an_unfit_reranker_are_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "nowhere")
    with pytest.raises(RagError, match="nowhere"):
        load_reranker(missing)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RagError, match=r"empty.*cannot be loaded"):
        load_reranker(str(tmp_path / "empty"))
    with pytest.raises(RagError, match="3 outputs"):
        Reranker(make_cross_encoder(tmp_path / "three", num_labels=3))
