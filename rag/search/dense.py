"""The vectors of an index by number: `DenseView.build(numbers, vectors).search(vector, k=5)`.

A view never changes: `changed` gives a new one that shares what is the same, so that any number of threads may search
while another goes on. A view can always be made again from the rows, so a file that will not do is no error.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from rag.search.faiss_index import FLAT_BELOW, FaissIndex
from rag.search.numbers import NOTHING, Numbers, Vectors, best, is_in, positions_of
from rag.search.view_file import read_view, write_view


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
class _Part:
    """Vectors in the order of their numbers (`index` is None if there are none), and the positions that are void."""

    numbers: Numbers = field(default_factory=NOTHING.copy)
    index: FaissIndex | None = None
    removed: Numbers = field(default_factory=NOTHING.copy)


@dataclass(frozen=True, slots=True, eq=False)
class DenseView:
    """Unit vectors by number. The main part is what `build` was given; what `changed` added lies beside it."""

    _main: _Part
    _added: _Part = field(default_factory=_Part)

    @classmethod
    def build(cls, numbers: Numbers, vectors: Vectors, *, flat_below: int = FLAT_BELOW) -> DenseView:
        """The view of (n,) ascending numbers and their (n, d) float32 unit rows.

        Exact below `flat_below`; from there on approximate, with a recall that was checked (`FaissIndex.build`).
        """
        index = FaissIndex.build(vectors, flat_below=flat_below) if len(numbers) else None
        return cls(_Part(np.array(numbers, dtype=np.int64), index))

    @classmethod
    def load(cls, file: Path, stamp: str) -> DenseView | None:
        # Nothing is copied: the vectors lie on the file's pages.
        sections = read_view(file, stamp)
        if sections is None:
            return None
        numbers = sections["numbers"]
        return cls(_Part(numbers, FaissIndex.read(sections) if len(numbers) else None))

    def save(self, file: Path, stamp: str) -> None:
        assert not self.num_changed, "what was added is in the rows"
        index = self._main.index
        write_view(file, stamp, {"numbers": self._main.numbers, **(index.sections() if index else {})})

    def changed(self, added_numbers: Numbers, added_vectors: Vectors, removed_numbers: Numbers) -> DenseView:
        # The main part is shared; the added vectors are compared one by one, so that `build` pays once `num_changed` is
        # a tenth of the view.
        gone = np.union1d(removed_numbers, added_numbers)
        kept = ~is_in(self._added.numbers, gone)
        numbers = np.concatenate([self._added.numbers[kept], added_numbers])
        vectors = [self._added.index.vectors[kept]] if self._added.index else []
        if len(added_numbers):
            vectors.append(added_vectors)
        added = _Part()
        if len(numbers):
            order = np.argsort(numbers)
            index = FaissIndex.build(np.concatenate(vectors)[order], flat_below=len(numbers) + 1)
            added = _Part(numbers[order], index)
        removed = np.union1d(self._main.removed, positions_of(self._main.numbers, gone))
        return DenseView(replace(self._main, removed=removed), added)

    @property
    def num_changed(self) -> int:
        return len(self._added.numbers) + len(self._main.removed)

    @property
    def numbers(self) -> Numbers:
        return np.union1d(np.delete(self._main.numbers, self._main.removed), self._added.numbers)

    def vectors_of(self, numbers: Numbers) -> Vectors:
        # What was added again is in both parts, and the second counts.
        parts = [(part.numbers, part.index.vectors) for part in (self._main, self._added) if part.index]
        vectors = np.zeros((len(numbers), parts[0][1].shape[1] if parts else 0), dtype=np.float32)
        for held, rows in parts:
            here = is_in(numbers, held)
            vectors[here] = rows[np.searchsorted(held, numbers[here])]
        return vectors

    def search(self, vector: Vectors, k: int, allowed: Numbers | None = None) -> tuple[Numbers, Vectors]:
        """See `VectorView`. Fewer than k come back only if fewer are allowed. Runs on the calling thread alone."""
        query = np.ascontiguousarray(vector, dtype=np.float32)
        numbers, vectors = NOTHING, np.empty((0, len(query)), dtype=np.float32)
        for part in (self._main, self._added):
            if part.index is None:
                continue
            positions = None
            if allowed is not None:
                positions = positions_of(part.numbers, allowed)
                positions = positions[~is_in(positions, part.removed)]
            found = part.index.search(query, k, allowed=positions, excluded=part.removed)
            numbers = np.concatenate([numbers, part.numbers[found]])
            vectors = np.concatenate([vectors, part.index.vectors[found]])
        # Compared alike wherever they came from, so that equal vectors have equal scores.
        scores = np.clip(np.einsum("ij,j->i", vectors, query), -1.0, 1.0)
        return best(numbers, scores, k)

    def recall(self) -> float:
        return self._main.index.recall() if self._main.index else 1.0
