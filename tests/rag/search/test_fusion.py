from __future__ import annotations

import numpy as np
import pytest

from rag.search.fusion import Ranking, fuse


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
