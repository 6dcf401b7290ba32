"""What an index asks of the view that its vectors are searched in: `rag/search/dense.py` in FAISS files, or
`rag/langchain/store_view.py` in a vector store of another program.

Index.open(home, "faq", embedder, views=store_views("qdrant", {"url": ...}, name="faq", embedder=embedder))
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from rag.search.dense import DenseView, Vectors
from rag.search.numbers import Numbers

__all__ = ["FaissViews", "MakeViews", "Numbers", "VectorView", "VectorViews", "Vectors", "VectorsOf"]

# Reads vectors by chunk number from the rows: the numbers found, ascending, and their (m, d) float32 unit rows.
VectorsOf = Callable[[Numbers], tuple[Numbers, Vectors]]


class VectorView(Protocol):
    """The vectors of one generation of an index, by chunk number."""

    @property
    def numbers(self) -> Numbers:
        """The chunks that are found, ascending."""

    @property
    def num_changed(self) -> int:
        """How much has changed since the view was built: when it is much, the index builds anew."""

    def search(self, vector: Vectors, k: int, allowed: Numbers | None = None) -> tuple[Numbers, Vectors]:
        """Numbers and cosines in [-1, 1] of the k nearest to a (d,) unit vector, best first, ties by number.

        `allowed`, ascending, are the only chunks that may be found; None allows all.
        """

    def changed(self, added_numbers: Numbers, added_vectors: Vectors, removed_numbers: Numbers) -> VectorView:
        """The view after a change; this one stays as it is."""

    def vectors_of(self, numbers: Numbers) -> Vectors:
        """(m, d) float32 rows of chunks that are in the view, in the order of `numbers`."""

    def save(self, file: Path, stamp: str) -> None:
        """Writes the file whole or not at all. Raises OSError."""


class VectorViews(Protocol):
    """How the views of one index come to be."""

    def build(self, numbers: Numbers, vectors: Vectors) -> VectorView:
        """The view of n ascending chunk numbers and their (n, d) float32 unit rows."""

    def load(self, file: Path, stamp: str) -> VectorView | None:
        """What `save` wrote under this stamp, to the last bit, or None."""

    def clear(self, numbers: Numbers) -> None:
        """The index is removed, and with it these chunks."""

    def close(self) -> None:
        """Gives connections back; the next call opens new ones."""


class FaissViews:
    """Views in FAISS files, of which there is nothing to clear or to close but the files."""

    def build(self, numbers: Numbers, vectors: Vectors) -> VectorView:
        return DenseView.build(numbers, vectors)

    def load(self, file: Path, stamp: str) -> VectorView | None:
        return DenseView.load(file, stamp)

    def clear(self, numbers: Numbers) -> None:
        pass

    def close(self) -> None:
        pass


MakeViews = Callable[[VectorsOf], VectorViews]
