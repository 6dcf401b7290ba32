"""A vector store of another program as the view that an index's vectors are searched in, in place of FAISS files.

index = IndexHome(home, store="qdrant", store_options={"url": "http://127.0.0.1:6333"}).open("faq", embedder)

The rows stay the truth: the store holds vectors under chunk numbers and nothing else, a hit counts only if the rows
have its chunk, and every score is the exact cosine with the vector in the rows. So a store that is behind, or ahead,
or shared with another process can make a search slower but not wrong.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rag.embedding.embedder import Embedder
from rag.langchain.factory import identity
from rag.langchain.vector_store import Connection, connect
from rag.search.numbers import NOTHING, Numbers, Vectors, best, is_in
from rag.search.view_file import read_view, write_view

_BLOCK = 16_384
# A hit of a store costs as much as reading this many vectors from the rows: 59 µs from Qdrant in this process, 12 µs
# from SQLite, 384 dimensions.
_HIT_COST = 5
# Among the nearest to a stored vector is itself. Stores may keep vectors in fewer bits, and an approximate index may
# miss one now and then.
_SAME = 0.99
_PROBES = 24
_PROBED = 10
_FOUND_SHARE = 0.9
# Among equal scores at the cut a store chooses as it likes: a few more are taken, and the first numbers kept.
_SLACK = 8
_SAMPLE = 20
_SAME_SCORE = 1e-6

# Reads vectors by chunk number from the rows: the numbers found, ascending, and their (m, d) float32 unit rows.
VectorsOf = Callable[[Numbers], tuple[Numbers, Vectors]]

log = logging.getLogger(__name__)


class StoreViews:
    """Holds the connection to one store, and knows which chunks were put there."""

    def __init__(
        self,
        factory: str,
        options: Mapping[str, Any],
        *,
        name: str,
        embedder: Embedder,
        vectors_of: VectorsOf,
        database: str = "",
    ) -> None:
        """The views of the index `name` in the store that `connect` opens, at the first use.

        `database` tells indexes of one name apart whose rows are in different databases: one store may serve them all.
        """
        # A collection holds vectors of one length, so that of another embedder is another one; its name is of letters,
        # digits and underscores, which every store takes.
        digest = hashlib.sha256(f"{name}\n{embedder.name}\n{database}".encode()).hexdigest()[:8]
        self.collection = f"{re.sub(r'[^A-Za-z0-9]', '_', name)}_{digest}"
        self.vectors_of = vectors_of
        self.identity = f"{identity(factory, options)}/{self.collection}"
        self._connect = partial(connect, factory, dict(options), name=self.collection, embedder=embedder)
        self._opened: Connection | None = None
        self._opening = threading.Lock()
        self._writing = threading.Lock()
        self._held: Numbers = NOTHING

    def build(self, numbers: Numbers, vectors: Vectors) -> StoreView:
        """The view of these chunks; the store is sent those of them that it was not sent before."""
        with self._writing:
            missing = ~is_in(numbers, self._held)
            if missing.any():
                self._connection().add(numbers[missing], vectors[missing])
            self._held = np.union1d(self._held, numbers)
        return StoreView(self, numbers)

    def load(self, file: Path, stamp: str) -> StoreView | None:
        """The view that `save` wrote down for this store, or None; also None if the store does not hold it any more."""
        sections = read_view(file, f"{stamp} {self.identity}")  # What one store holds says nothing of another.
        if sections is None:
            return None
        numbers = sections["numbers"]
        is_held = self._holds(numbers)
        with self._writing:
            self._held = np.union1d(self._held, numbers) if is_held else NOTHING
        if is_held:
            return StoreView(self, numbers)
        log.warning("the vector store does not hold what %s says; sending it again", file)
        return None

    def clear(self, numbers: Numbers) -> None:
        with self._writing:
            self._connection().remove(np.union1d(self._held, numbers))
            self._held = NOTHING

    def close(self) -> None:
        with self._opening:
            opened, self._opened = self._opened, None
            if opened is not None:
                opened.close()

    def change(self, added: Numbers, vectors: Vectors, removed: Numbers) -> None:
        """Sends the store an addition and a removal; both may be there already."""
        with self._writing:
            self._connection().add(added, vectors)
            self._connection().remove(removed)
            self._held = np.union1d(np.setdiff1d(self._held, removed), np.setdiff1d(added, removed))

    def nearest(self, vector: Vectors, k: int) -> Numbers:
        """The chunk numbers that the store finds, ascending; some may be of chunks that are gone."""
        return self._connection().nearest(vector, k)

    def _holds(self, numbers: Numbers) -> bool:
        """Whether some of the chunks, of those that the rows still have, are found by their own vectors."""
        if not len(numbers):
            return True
        probes, vectors = self.vectors_of(numbers[:: max(1, len(numbers) // _PROBES)])
        found = 0
        for vector in vectors:
            _, near = self.vectors_of(np.intersect1d(self.nearest(vector, _PROBED), numbers))
            found += bool(len(near)) and float((near @ vector).max()) >= _SAME
        return found > 0 and found >= _FOUND_SHARE * len(probes)

    def _connection(self) -> Connection:
        with self._opening:
            if self._opened is None:
                self._opened = self._connect()
            return self._opened


@dataclass(frozen=True, slots=True, eq=False)
class StoreView:
    """One generation of an index in the store. A search is exact in score and order, whatever the store is like.

    A generation that is no longer the newest may already lack the chunks that the next one removed.
    """

    _views: StoreViews
    numbers: Numbers
    num_changed: int = 0
    """Counts what was sent since `numbers` were last written down, which is to be sent again then."""

    def search(self, vector: Vectors, k: int, allowed: Numbers | None = None) -> tuple[Numbers, Vectors]:
        """See `VectorView`.

        The store is asked for as many as should hold k allowed ones. If they do not, as in a store that still has
        chunks that are gone, or if reading all the allowed vectors is cheaper, it is the rows that are searched.
        """
        wanted = self.numbers if allowed is None else np.intersect1d(self.numbers, allowed, assume_unique=True)
        k = min(k, len(wanted))
        if not k:
            return NOTHING, np.empty(0, dtype=np.float32)
        per_hit = 1.0 if allowed is None else 2 * len(self.numbers) / len(wanted)
        asked = math.ceil(k * per_hit) + _SLACK
        if allowed is None or asked * _HIT_COST <= len(wanted):
            found = np.intersect1d(self._views.nearest(vector, asked), wanted, assume_unique=True)
            if len(found) >= k:
                return _best(*self._views.vectors_of(found), vector, k)
            if allowed is None:
                log.warning("the vector store found %d of %d chunks; verify the index if this goes on", len(found), k)
        return self._search_rows(vector, k, wanted)

    def changed(self, added_numbers: Numbers, added_vectors: Vectors, removed_numbers: Numbers) -> StoreView:
        # The store has taken the change when this returns.
        self._views.change(added_numbers, added_vectors, removed_numbers)
        numbers = np.setdiff1d(np.union1d(self.numbers, added_numbers), removed_numbers, assume_unique=True)
        num_changed = self.num_changed + len(added_numbers) + len(removed_numbers)
        return StoreView(self._views, numbers, num_changed)

    def recall(self) -> float:
        """The share of the exact ten nearest of some of its own chunks that the store finds."""
        _, sample = self._views.vectors_of(self.numbers[:: max(1, len(self.numbers) // _SAMPLE)])
        found = exact = 0
        for vector in sample:
            _, nearest = self._search_rows(vector, 10, self.numbers)
            numbers = np.intersect1d(self._views.nearest(vector, len(nearest)), self.numbers)
            _, scores = _best(*self._views.vectors_of(numbers), vector, len(nearest))
            exact += len(nearest)
            # By the score: among equals any will do.
            found += int((scores >= nearest[-1] - _SAME_SCORE).sum())
        return found / exact if exact else 1.0

    def vectors_of(self, numbers: Numbers) -> Vectors:
        found, vectors = self._views.vectors_of(np.unique(numbers))
        rows = np.zeros((len(numbers), vectors.shape[1] if len(found) else 0), dtype=np.float32)
        is_there = np.isin(numbers, found)
        rows[is_there] = vectors[np.searchsorted(found, numbers[is_there])]
        return rows

    def save(self, file: Path, stamp: str) -> None:
        """Writes down, whole or not at all, which chunks the store holds. Raises OSError."""
        write_view(file, f"{stamp} {self._views.identity}", {"numbers": self.numbers})

    def _search_rows(self, vector: Vectors, k: int, wanted: Numbers) -> tuple[Numbers, Vectors]:
        found: tuple[Numbers, Vectors] = (NOTHING, np.empty(0, dtype=np.float32))
        for start in range(0, len(wanted), _BLOCK):
            numbers, scores = _best(*self._views.vectors_of(wanted[start : start + _BLOCK]), vector, k)
            found = best(np.concatenate([found[0], numbers]), np.concatenate([found[1], scores]), k)
        return found


def _best(numbers: Numbers, vectors: Vectors, vector: Vectors, k: int) -> tuple[Numbers, Vectors]:
    if not len(numbers):
        return numbers, np.empty(0, dtype=np.float32)
    return best(numbers, np.clip(vectors @ vector, -1.0, 1.0), k)
