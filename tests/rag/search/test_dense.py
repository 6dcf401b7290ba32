from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rag.search.dense import DenseView

NONE = np.empty(0, dtype=np.int64)


def unit(*angles: float) -> NDArray[np.float32]:
    """Unit vectors in the plane, by their angles in degrees."""
    radians = np.radians(angles)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def random_vectors(count: int, dimension: int = 16, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def found(view: DenseView, vector: NDArray[np.float32], k: int, allowed: list[int] | None = None) -> list[int]:
    numbers, _ = view.search(vector, k, None if allowed is None else np.array(allowed, dtype=np.int64))
    return [int(number) for number in numbers]


@pytest.fixture
def view() -> DenseView:
    return DenseView.build(np.array([5, 9, 10, 40]), unit(0, 30, 60, 90))


def test_the_nearest_come_first_with_their_cosines(view: DenseView) -> None:
    numbers, scores = view.search(unit(20)[0], 3)
    assert numbers.tolist() == [9, 5, 10]
    assert scores.tolist() == pytest.approx(np.cos(np.radians([10, 20, 40])), abs=1e-6)


def test_fewer_than_k_come_back_only_if_there_are_fewer(view: DenseView) -> None:
    assert found(view, unit(0)[0], 1000) == [5, 9, 10, 40]
    assert found(view, unit(0)[0], 0) == []
    assert found(view, unit(0)[0], 3, allowed=[9, 40, 77]) == [9, 40]
    assert found(view, unit(0)[0], 3, allowed=[]) == []


def test_equal_vectors_are_in_the_order_of_their_numbers_wherever_they_lie() -> None:
    same = np.repeat(random_vectors(1, 384), 30, axis=0)
    view = DenseView.build(np.arange(20), same[:20]).changed(np.arange(20, 30), same[20:], np.array([3]))
    numbers, scores = view.search(same[0], 25)
    assert numbers.tolist() == [0, 1, 2, *range(4, 26)]
    assert len(set(scores.tolist())) == 1


def test_a_change_gives_a_new_view_and_leaves_the_old_one(view: DenseView) -> None:
    after = view.changed(np.array([50, 51]), unit(1, 80), np.array([5, 77]))
    assert found(after, unit(0)[0], 9) == [50, 9, 10, 51, 40]
    assert after.numbers.tolist() == [9, 10, 40, 50, 51]
    assert after.num_changed == 3
    assert found(view, unit(0)[0], 9) == [5, 9, 10, 40]
    assert view.num_changed == 0


def test_a_change_may_be_applied_twice(view: DenseView) -> None:
    change = (np.array([50]), unit(1), np.array([5]))
    once = view.changed(*change)
    twice = once.changed(*change)
    assert found(twice, unit(0)[0], 9) == found(once, unit(0)[0], 9) == [50, 9, 10, 40]
    assert twice.num_changed == once.num_changed == 2


def test_an_added_number_can_be_removed_again_and_a_known_one_replaced(view: DenseView) -> None:
    after = view.changed(np.array([50]), unit(1), NONE).changed(np.array([9]), unit(-1), np.array([50]))
    assert found(after, unit(0)[0], 2) == [5, 9]
    assert after.vectors_of(np.array([9])).tolist() == unit(-1).tolist()


def test_a_filter_holds_for_added_vectors_and_never_brings_removed_ones_back(view: DenseView) -> None:
    after = view.changed(np.array([50, 51]), unit(1, 2), np.array([5]))
    assert found(after, unit(0)[0], 9, allowed=[5, 10, 51]) == [51, 10]


def test_vectors_come_by_number_in_the_order_asked(view: DenseView) -> None:
    after = view.changed(np.array([50]), unit(1), np.array([5]))
    assert after.vectors_of(np.array([50, 40, 9])).tolist() == unit(1, 90, 30).tolist()
    assert after.vectors_of(np.array([77, 9])).tolist() == [[0.0, 0.0], *unit(30).tolist()]


def test_an_empty_view_finds_nothing_and_can_grow(tmp_path: Path) -> None:
    empty = DenseView.build(NONE, np.empty((0, 0), dtype=np.float32))
    empty.save(tmp_path / "0.view", "s")
    loaded = DenseView.load(tmp_path / "0.view", "s")
    assert loaded is not None
    for view in (empty, loaded):
        assert found(view, unit(0)[0], 3) == []
        assert len(view.numbers) == 0
        assert found(view.changed(np.array([3]), unit(10), NONE), unit(0)[0], 3) == [3]


def test_a_saved_view_is_the_same_view(view: DenseView, tmp_path: Path) -> None:
    view.save(tmp_path / "1.view", "s")
    loaded = DenseView.load(tmp_path / "1.view", "s")
    assert loaded is not None
    change = (np.array([50]), unit(1), np.array([5]))
    for before, after in ((view, loaded), (view.changed(*change), loaded.changed(*change))):
        assert after.numbers.tolist() == before.numbers.tolist()
        assert after.num_changed == before.num_changed
        for angle in (0, 45, 200):
            expected, actual = before.search(unit(angle)[0], 9), after.search(unit(angle)[0], 9)
            assert actual[0].tolist() == expected[0].tolist()
            assert actual[1].tolist() == expected[1].tolist()
    assert found(loaded.changed(NONE, np.empty((0, 2), dtype=np.float32), np.array([5])), unit(0)[0], 1) == [9]


def test_a_damaged_file_and_one_of_another_stamp_are_refused(view: DenseView, tmp_path: Path) -> None:
    file = tmp_path / "1.view"
    view.save(file, "s")
    assert DenseView.load(file, "t") is None
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert DenseView.load(file, "s") is None
    assert DenseView.load(tmp_path / "2.view", "s") is None


def test_threads_search_a_view_at_once() -> None:
    vectors = random_vectors(2_000)
    view = DenseView.build(np.arange(2_000), vectors)
    wrong: list[int] = []

    def search(start: int) -> None:
        for number in range(start, 2_000, 4):
            if found(view, vectors[number], 1) != [number]:
                wrong.append(number)

    threads = [threading.Thread(target=search, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
