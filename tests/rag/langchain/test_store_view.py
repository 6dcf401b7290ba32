import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.stores import BrokenStore, ShortStore
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.errors import RagError
from rag.langchain.store_view import StoreViews
from rag.search.numbers import Numbers

IN_MEMORY = "langchain_core.vectorstores:InMemoryVectorStore"
QDRANT = ("qdrant", {"location": ":memory:"})
Vectors = np.ndarray[Any, np.dtype[np.float32]]


class Rows:
    """What the database knows: vectors by number. Counts how many were read."""

    def __init__(self, numbers: Numbers, vectors: Vectors) -> None:
        self.vectors = dict(zip(numbers.tolist(), vectors, strict=True))
        self.num_read = 0

    def vectors_of(self, numbers: Numbers) -> tuple[Numbers, Vectors]:
        found = sorted(number for number in numbers.tolist() if number in self.vectors)
        self.num_read += len(found)
        rows = np.array([self.vectors[number] for number in found], dtype=np.float32).reshape(len(found), 8)
        return np.array(found, dtype=np.int64), rows


def some_vectors(count: int, *, seed: int = 0, dimension: int = 8) -> tuple[Numbers, Vectors]:
    vectors = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return np.arange(1, count + 1, dtype=np.int64) * 3, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make_views(rows: Rows, factory: str = IN_MEMORY, options: dict[str, Any] | None = None) -> StoreViews:
    class Eight:
        name, dimension, max_tokens = "eight@1", 8, None

        def embed(self, texts: Any, *, progress: Any = None) -> Vectors:
            return np.eye(8, dtype=np.float32)[np.zeros(len(texts), dtype=int)]

    return StoreViews(factory, options or {}, name="faq", embedder=Eight(), vectors_of=rows.vectors_of)  # type: ignore[arg-type]


def exact(numbers: Numbers, vectors: Vectors, query: Vectors, k: int, allowed: set[int] | None = None) -> list[int]:
    scored = sorted((-float(row @ query), number) for number, row in zip(numbers.tolist(), vectors, strict=True))
    return [number for _, number in scored if allowed is None or number in allowed][:k]


@pytest.mark.slow
@pytest.mark.parametrize(("factory", "options"), [(IN_MEMORY, {}), QDRANT])
def test_a_search_gives_exact_cosines_best_first(factory: str, options: dict[str, Any]) -> None:
    numbers, vectors = some_vectors(60)
    view = make_views(Rows(numbers, vectors), factory, options).build(numbers, vectors)
    for query in vectors[::7]:
        found, scores = view.search(query, 5)
        assert found.tolist() == exact(numbers, vectors, query, 5)
        np.testing.assert_allclose(scores, vectors[found // 3 - 1] @ query, atol=1e-6)
    assert len(view.search(vectors[0], 1000)[0]) == 60
    assert (len(view.search(vectors[0], 0)[0]), view.recall()) == (0, 1.0)


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_filters_are_right_at_every_selectivity(data: st.DataObject) -> None:
    numbers, vectors = some_vectors(200)
    view = make_views(Rows(numbers, vectors)).build(numbers, vectors)
    share = data.draw(st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0]))
    chosen = np.random.default_rng(data.draw(st.integers(0, 99))).random(200) < share
    # Numbers that the view does not know are allowed, too.
    allowed = np.union1d(numbers[chosen], np.array([1, 10_000], dtype=np.int64))
    query, k = vectors[data.draw(st.integers(0, 199))], data.draw(st.sampled_from([1, 5, 300]))
    assert view.search(query, k, allowed)[0].tolist() == exact(numbers, vectors, query, k, set(allowed.tolist()))


def test_a_filter_that_lets_much_through_does_not_read_all_rows() -> None:
    numbers, vectors = some_vectors(2_000)
    rows = Rows(numbers, vectors)
    view = make_views(rows).build(numbers, vectors)
    assert view.search(vectors[0], 3, numbers[:1_500])[0].tolist() == exact(
        numbers[:1_500], vectors[:1_500], vectors[0], 3
    )
    assert rows.num_read < 50


def test_a_store_that_finds_too_little_is_helped_by_the_rows() -> None:
    numbers, vectors = some_vectors(50)
    view = make_views(Rows(numbers, vectors), "fakes.stores:ShortStore").build(numbers, vectors)
    assert view.search(vectors[0], 8)[0].tolist() == exact(numbers, vectors, vectors[0], 8)
    assert view.recall() == pytest.approx(ShortStore.at_most / 10)


@pytest.mark.parametrize(("factory", "options"), [(IN_MEMORY, {}), QDRANT])
def test_a_change_is_sent_and_an_older_view_does_not_see_what_is_new(factory: str, options: dict[str, Any]) -> None:
    numbers, vectors = some_vectors(40)
    rows = Rows(numbers, vectors)
    old = make_views(rows, factory, options).build(numbers[:30], vectors[:30])
    new = old.changed(numbers[30:], vectors[30:], numbers[:5])
    assert (new.numbers.tolist(), new.num_changed) == (numbers[5:].tolist(), 15)
    assert new.search(vectors[35], 1)[0].tolist() == [numbers[35]]
    assert numbers[35] not in old.search(vectors[35], 30)[0]
    assert numbers[0] not in new.search(vectors[0], 40)[0]
    # The same change again, as after a crash.
    again = old.changed(numbers[30:], vectors[30:], numbers[:5])
    assert again.search(vectors[35], 35)[0].tolist() == exact(numbers[5:], vectors[5:], vectors[35], 35)


def test_chunks_that_the_rows_have_lost_are_not_found() -> None:
    numbers, vectors = some_vectors(20)
    rows = Rows(numbers, vectors)
    view = make_views(rows).build(numbers, vectors)
    del rows.vectors[3]
    assert view.search(vectors[0], 20)[0].tolist() == exact(numbers[1:], vectors[1:], vectors[0], 19)
    np.testing.assert_array_equal(view.vectors_of(np.array([6, 3])), [vectors[1], np.zeros(8)])


def test_what_the_store_holds_is_written_down_and_believed_only_if_it_does(tmp_path: Path) -> None:
    numbers, vectors = some_vectors(30)
    rows, file = Rows(numbers, vectors), tmp_path / "1.faiss"
    options = {"path": str(tmp_path / "qdrant")}
    views = make_views(rows, "qdrant", options)
    views.build(numbers, vectors).save(file, "one")
    views.close()
    again = make_views(rows, "qdrant", options)
    view = again.load(file, "one")
    assert view is not None
    assert view.search(vectors[4], 3)[0].tolist() == exact(numbers, vectors, vectors[4], 3)
    assert again.load(file, "two") is None
    again.clear(numbers)
    assert again.load(file, "one") is None, "the store was emptied"
    # Then it is all sent again, though this process has sent it before.
    assert again.build(numbers, vectors).recall() == 1.0
    again.close()
    elsewhere = make_views(rows, "qdrant", {"path": str(tmp_path / "other")})
    assert elsewhere.load(file, "one") is None, "the file is of another store"
    data = bytearray(file.read_bytes())
    data[20] ^= 1
    file.write_bytes(data)
    assert make_views(rows, "qdrant", options).load(file, "one") is None


@pytest.mark.parametrize(
    ("factory", "options", "fault"),
    [
        (
            "fakes.stores:BrokenStore",
            {"password": "s3cret"},
            r"failed \(ConnectionError: refused for \*\*\*\); see that",
        ),
        ("qdrant", {"url": "http://127.0.0.1:9", "timeout": 1, "check_compatibility": False}, "cannot be opened"),
    ],
)
def test_a_store_that_is_away_is_told_in_one_line(factory: str, options: dict[str, Any], fault: str) -> None:
    numbers, vectors = some_vectors(5)
    with pytest.raises(RagError, match=fault) as caught:
        make_views(Rows(numbers, vectors), factory, options).build(numbers, vectors).search(vectors[0], 1)
    assert "\n" not in str(caught.value)
    assert BrokenStore is not None


@pytest.mark.parametrize(("num_lost", "is_held"), [(1, True), (15, False), (30, False)])
def test_a_store_may_miss_one_but_not_many(tmp_path: Path, num_lost: int, is_held: bool) -> None:
    numbers, vectors = some_vectors(30)
    views, file = make_views(Rows(numbers, vectors)), tmp_path / "1.faiss"
    views.build(numbers, vectors).save(file, "one")
    views._connection().remove(numbers[:num_lost])
    assert (views.load(file, "one") is not None) == is_held


def test_searches_go_on_while_the_store_is_written() -> None:
    numbers, vectors = some_vectors(1_500)
    rows = Rows(numbers, vectors)
    view = make_views(rows).build(numbers[:1_000], vectors[:1_000])
    expected = exact(numbers[:500], vectors[:500], vectors[7], 3)
    failures: list[object] = []
    is_over = threading.Event()

    def search() -> None:
        while not is_over.is_set():
            found = view.search(vectors[7], 3, numbers[:500])[0].tolist()
            if found != expected:
                failures.append(found)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    new = view.changed(numbers[1_000:], vectors[1_000:], numbers[500:700])
    is_over.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(new.numbers) == 1_300
