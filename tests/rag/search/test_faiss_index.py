from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import rag.search.faiss_index as faiss_index
from rag.search.dense import DenseView
from rag.search.faiss_index import CANARY_RECALL, FLAT_BELOW, FaissIndex

DIMENSION = 24
COUNT = 8_000
NUMBERS = np.arange(COUNT, dtype=np.int64) * 3 + 7


def clustered(count: int, seed: int = 0) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    centres = random.normal(size=(100, DIMENSION))
    vectors = centres[np.arange(count) % 100] + 0.7 * random.normal(size=(count, DIMENSION))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


VECTORS = clustered(COUNT)
QUERIES = clustered(100, seed=1)


@pytest.fixture(scope="module")
def view() -> DenseView:
    return DenseView.build(NUMBERS, VECTORS, flat_below=COUNT)


def recall(view: DenseView, places: NDArray[np.int64], k: int = 10, *, is_filtered: bool = True) -> float:
    """Of the exact k best among the vectors at these places, the share that the view finds."""
    shares = []
    for query in QUERIES:
        best = places[np.argsort(-(VECTORS[places] @ query), kind="stable")[:k]]
        numbers, _ = view.search(query, k, NUMBERS[places] if is_filtered else None)
        assert set(numbers.tolist()) <= set(NUMBERS[places].tolist())
        assert len(numbers) == min(k, len(places))
        shares.append(np.isin(NUMBERS[best], numbers).mean())
    return float(np.mean(shares))


@pytest.mark.slow
def test_many_vectors_are_searched_in_lists_that_pass_the_canary(view: DenseView) -> None:
    index = view._main.index
    assert index is not None
    assert index.lists is not None
    assert 0 < index.lists.num_probed < 4 * COUNT**0.5 / 2
    assert index.recall() >= CANARY_RECALL
    assert recall(view, np.arange(COUNT), is_filtered=False) >= 0.99


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.1, 0.4, 0.9])
def test_recall_stays_whatever_share_a_filter_leaves(view: DenseView, share: float) -> None:
    places = np.sort(np.random.default_rng(2).choice(COUNT, size=round(COUNT * share), replace=False))
    assert recall(view, places) >= 0.99


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_recall_stays_when_what_a_filter_leaves_is_far_from_the_query(view: DenseView, share: float) -> None:
    least_like_all = np.argsort(VECTORS @ QUERIES.mean(axis=0), kind="stable")
    assert recall(view, np.sort(least_like_all[: round(COUNT * share)])) >= 0.99


def test_removed_vectors_are_passed_over_in_the_lists(view: DenseView) -> None:
    gone = np.zeros(COUNT, dtype=np.bool_)
    for query in QUERIES:
        gone[np.argsort(-(VECTORS @ query))[:20]] = True
    after = view.changed(NUMBERS[:0], VECTORS[:0], NUMBERS[gone])
    assert recall(after, np.flatnonzero(~gone), is_filtered=False) >= 0.99


def test_lists_are_read_from_the_file(view: DenseView, tmp_path: Path) -> None:
    view.save(tmp_path / "1.view", "s")
    loaded = DenseView.load(tmp_path / "1.view", "s")
    assert loaded is not None
    for query in QUERIES[:20]:
        for allowed in (None, NUMBERS[::2]):
            expected, actual = view.search(query, 10, allowed), loaded.search(query, 10, allowed)
            assert actual[0].tolist() == expected[0].tolist()
            assert actual[1].tolist() == expected[1].tolist()


@pytest.mark.slow
def test_vectors_that_no_lists_serve_are_searched_exactly() -> None:
    """Random directions have no near neighbours: every list holds some of the ten best."""
    random = np.random.default_rng(3).normal(size=(COUNT, 48)).astype(np.float32)
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    index = FaissIndex.build(random, flat_below=COUNT)
    assert index.lists is None
    assert index.recall() == 1.0
    found = index.search(random[5], 10, allowed=None, excluded=np.empty(0, dtype=np.int64))
    assert set(np.argsort(-(random @ random[5]))[:10]) <= set(found)


def test_few_vectors_are_searched_exactly() -> None:
    assert FLAT_BELOW > COUNT
    assert FaissIndex.build(VECTORS).lists is None
    assert FaissIndex.build(VECTORS, flat_below=COUNT).lists is not None


def test_the_thread_count_of_the_caller_is_left_as_it_was(view: DenseView) -> None:
    faiss = faiss_index._faiss()
    before = faiss.omp_get_max_threads()
    view.search(QUERIES[0], 5)
    assert faiss.omp_get_max_threads() == before
