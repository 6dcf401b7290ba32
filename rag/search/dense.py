"""The vectors of an index by number: `DenseView.build(numbers, vectors).search(vector, k=5)`.

A view never changes: `changed` gives a new one that shares what is the same, so that any number of threads may search
while another goes on. A view can always be made again from the rows, so a file that will not do is no error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from rag.search.faiss_index import FLAT_BELOW, FaissIndex
from rag.search.numbers import NOTHING, Numbers, Vectors, best, is_in, positions_of
from rag.search.view_file import read_view, write_view

# Vectors that are equal may differ in the last bit of a score: a few more are taken, and compared alike.
_SLACK = 8


class View(Protocol):
    """What an index searches in, of vectors or of words. It never changes."""

    @property
    def numbers(self) -> Numbers:
        """The chunks that are found, ascending."""

    @property
    def num_changed(self) -> int:
        """How much was added and removed since the view was built: when it is much, the index builds anew."""

    def changed(self, added_numbers: Numbers, added: Any, removed_numbers: Numbers, /) -> Self:
        """The view with (m,) ascending numbers and their (m, d) unit rows, or texts, added and others removed.

        A number that is added again is replaced, a removed one that is not there is passed over: a change may be
        applied twice.
        """

    def save(self, file: Path, stamp: str) -> None:
        """Writes what was built, whole or not at all; `stamp` names its content. Raises OSError."""


class VectorView(View, Protocol):
    """The vectors of an index: a `DenseView`, or those in another vector store (rag/langchain/store_view.py)."""

    def search(self, vector: Vectors, k: int, allowed: Numbers | None = None) -> tuple[Numbers, Vectors]:
        """Numbers and cosines in [-1, 1] of the k nearest to a (d,) unit vector, best first, ties by number.

        `allowed`, ascending, are the only chunks that may be found; None allows all.
        """

    def vectors_of(self, numbers: Numbers) -> Vectors:
        """(m, d) float32 rows in the order of `numbers`, zeros for a chunk that is unknown."""

    def recall(self) -> float:
        """Of the exact ten nearest, the share that a search finds, over a sample made from the view."""


@dataclass(frozen=True, slots=True, eq=False)
class DenseView:
    """Unit vectors by number. The main part is what `build` was given; what `changed` added lies beside it."""

    _numbers: Numbers
    _main: FaissIndex | None
    """The vectors of `_numbers` in their order, None if there are none."""

    _removed: Numbers = field(default_factory=NOTHING.copy)
    """Positions in the main part, ascending, that are in the view no more."""

    _added_numbers: Numbers = field(default_factory=NOTHING.copy)
    _added_vectors: Vectors = field(default_factory=lambda: np.empty((0, 0), dtype=np.float32))

    @classmethod
    def build(cls, numbers: Numbers, vectors: Vectors, *, flat_below: int = FLAT_BELOW) -> DenseView:
        """The view of (n,) ascending numbers and their (n, d) float32 unit rows.

        Exact below `flat_below`; from there on approximate, with a recall that was checked (`FaissIndex.build`).
        """
        main = FaissIndex.build(vectors, flat_below=flat_below) if len(numbers) else None
        return cls(np.array(numbers, dtype=np.int64), main)

    @classmethod
    def load(cls, file: Path, stamp: str) -> DenseView | None:
        # Nothing is copied: the vectors lie on the file's pages.
        sections = read_view(file, stamp)
        if sections is None:
            return None
        return cls(sections["numbers"], FaissIndex.read(sections) if len(sections["numbers"]) else None)

    def save(self, file: Path, stamp: str) -> None:
        assert not self.num_changed, "what was added is in the rows"
        write_view(file, stamp, {"numbers": self._numbers, **(self._main.sections() if self._main else {})})

    def changed(self, added_numbers: Numbers, added_vectors: Vectors, removed_numbers: Numbers) -> DenseView:
        # The main part is shared; the added vectors are compared one by one, so that `build` pays once `num_changed` is
        # a tenth of the view.
        vectors = added_vectors
        gone = np.union1d(removed_numbers, added_numbers)
        kept = ~is_in(self._added_numbers, gone)
        numbers = np.concatenate([self._added_numbers[kept], added_numbers])
        if not len(added_numbers):
            vectors = self._added_vectors[kept]
        elif kept.any():
            vectors = np.concatenate([self._added_vectors[kept], vectors])
        order = np.argsort(numbers)
        removed = np.union1d(self._removed, positions_of(self._numbers, gone))
        return DenseView(self._numbers, self._main, removed, numbers[order], vectors[order])

    @property
    def num_changed(self) -> int:
        return len(self._added_numbers) + len(self._removed)

    @property
    def numbers(self) -> Numbers:
        return np.union1d(np.delete(self._numbers, self._removed), self._added_numbers)

    def vectors_of(self, numbers: Numbers) -> Vectors:
        main = self._main.vectors if self._main else self._added_vectors
        vectors = np.zeros((len(numbers), main.shape[1]), dtype=np.float32)
        # What was added again is in both parts, and the second counts.
        for held, rows in ((self._numbers, main), (self._added_numbers, self._added_vectors)):
            here = is_in(numbers, held)
            if here.any():
                vectors[here] = rows[np.searchsorted(held, numbers[here])]
        return vectors

    def search(self, vector: Vectors, k: int, allowed: Numbers | None = None) -> tuple[Numbers, Vectors]:
        """See `VectorView`. Fewer than k come back only if fewer are allowed. Runs on the calling thread alone."""
        query = np.ascontiguousarray(vector, dtype=np.float32)
        numbers, vectors = NOTHING, np.empty((0, len(query)), dtype=np.float32)
        if self._main and k > 0:
            positions = None
            if allowed is not None:
                positions = positions_of(self._numbers, allowed)
                positions = positions[~is_in(positions, self._removed)]
            found = self._main.search(query, k, allowed=positions, excluded=self._removed)
            numbers, vectors = self._numbers[found], self._main.vectors[found]
        if len(self._added_numbers) and k > 0:
            added = np.arange(len(self._added_numbers))
            if allowed is not None:
                added = positions_of(self._added_numbers, allowed)
            likeness = np.einsum("ij,j->i", self._added_vectors[added], query)
            if len(added) > k + _SLACK:
                added = added[np.argpartition(-likeness, k + _SLACK)[: k + _SLACK]]
            numbers = np.concatenate([numbers, self._added_numbers[added]])
            vectors = np.concatenate([vectors, self._added_vectors[added]])
        # Compared alike wherever they came from, so that equal vectors have equal scores.
        scores = np.clip(np.einsum("ij,j->i", vectors, query), -1.0, 1.0)
        return best(numbers, scores, max(k, 0))

    def recall(self) -> float:
        return self._main.recall() if self._main else 1.0
