"""What FAISS does for an index: the nearest of many unit vectors, by their positions.

nearest = FaissIndex.build(vectors)
positions = nearest.search(query, k=10, allowed=positions_of_a_filter)

faiss is imported here and nowhere else.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag.search.numbers import NOTHING, Vectors
from rag.search.view_file import Section, Sink

Positions = NDArray[np.int64]

# Below, every vector is compared: exact, and fast enough. See docs/adr/0011 for this and for what is used above.
FLAT_BELOW = 50_000

# The lists are used if searches of a sample find, on average, this share of the exact ten nearest.
CANARY_RECALL = 0.995

_CANARY_K = 10
_CANARY_QUERIES = 100
_LISTS_PER_ROOT = 4
_TRAINED_PER_LIST = 40
# Equal vectors may differ in the last bit of FAISS's score, and those in the lists are rounded to a byte a dimension:
# a few more than k are taken, for the caller to compare exactly.
_SLACK = 8
_LISTS_SLACK = 32

# Comparing so many times the vectors that the lists would give takes as long as finding them there.
_EXACT_UP_TO = 2

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Lists:
    """The vectors once more, each in the list of the centre it is nearest to, rounded to a byte a dimension."""

    index: Any
    """A faiss.IndexIVFScalarQuantizer whose ids are positions."""

    centres: Vectors
    """(lists, d) float32: a search reads the lists whose centres are nearest to it."""

    list_of: NDArray[np.int32]
    """The list of each position."""

    num_probed: int
    """Lists to read for the ten nearest."""


@dataclass(frozen=True, slots=True, eq=False)
class FaissIndex:
    """An immutable set of (n, d) float32 unit vectors, n at least 1; searches may run in several threads at once."""

    flat: Any
    """A faiss.IndexFlatIP."""

    lists: _Lists | None
    """None if every vector is compared."""

    _memory: Mapping[str, Any] = field(default_factory=dict)
    """What the two point into if they were read."""

    @classmethod
    def build(cls, vectors: Vectors, *, flat_below: int = FLAT_BELOW) -> FaissIndex:
        """Over (n, d) float32 unit rows; in lists from `flat_below` rows on, where the canary allows it."""
        flat = _faiss().IndexFlatIP(vectors.shape[1])
        flat.add(np.ascontiguousarray(vectors, dtype=np.float32))
        return cls(flat, _make_lists(flat) if len(vectors) >= flat_below else None)

    @classmethod
    def read(cls, sections: Mapping[str, Any]) -> FaissIndex:
        """From the sections of a file that `sections` gave. Their bytes are used where they are, not copied."""
        num_probed = int(sections["num_probed"][0])
        lists = _describe_lists(_read(sections["lists"]), num_probed) if num_probed else None
        return cls(_read(sections["flat"]), lists, sections)

    def sections(self) -> dict[str, Section]:
        """What a file holds of it (rag/search/view_file.py)."""
        lists = {"lists": partial(_write, self.lists.index)} if self.lists else {}
        num_probed = np.array([self.lists.num_probed if self.lists else 0])
        return {"flat": partial(_write, self.flat), "num_probed": num_probed, **lists}

    @property
    def vectors(self) -> Vectors:
        """(n, d) float32: the vectors themselves, not a copy."""
        return _rows(self.flat)

    def search(self, query: Vectors, k: int, *, allowed: Positions | None, excluded: Positions) -> Positions:
        """Positions of the k nearest to a (d,) vector and of a few more, in no order; fewer if there are fewer.

        `allowed` (ascending) leaves out all other positions, otherwise `excluded` is left out: FAISS passes over them
        while it searches. Runs on the calling thread alone.
        """
        faiss = _faiss()
        total = self.flat.ntotal
        num_allowed = total - len(excluded) if allowed is None else len(allowed)
        if not num_allowed or k < 1:
            return NOTHING
        num_probed = self._lists_to_read(query, k, allowed)
        selector = None
        if num_allowed < total / 2 and allowed is not None and num_probed is None:
            # FAISS goes through an array of ids one by one: the narrower the filter, the shorter an exact search.
            selector = faiss.IDSelectorArray(allowed)
        elif num_allowed < total:
            is_allowed = np.full(total, allowed is None)
            is_allowed[excluded if allowed is None else allowed] = allowed is not None
            selector = faiss.IDSelectorBitmap(np.packbits(is_allowed, bitorder="little"))
        if self.lists is None or num_probed is None:
            index, slack, parameters = self.flat, _SLACK, faiss.SearchParameters(sel=selector)
        else:
            index, slack = self.lists.index, _LISTS_SLACK + k
            parameters = faiss.SearchParametersIVF(sel=selector, nprobe=num_probed)
        with _threads(1):
            _, found = index.search(query.reshape(1, -1), min(k + slack, num_allowed), params=parameters)
        positions: Positions = found[0][found[0] >= 0]
        return positions

    def recall(self) -> float:
        """Of the exact ten nearest, the share that `search` finds, over a sample of searches made from the vectors."""
        return _canary(self, _canary_sample(self.flat)) if self.lists else 1.0

    def _lists_to_read(self, query: Vectors, k: int, allowed: Positions | None) -> int | None:
        """How many of the lists nearest to the query to read, None for an exact search.

        The canary's searches read so many vectors. A filter may leave few of them in the nearest lists, or none: as
        many *allowed* vectors are read, from as many lists as it takes.
        """
        if self.lists is None:
            return None
        lists = self.lists
        num_lists = len(lists.centres)
        # Further neighbours lie in further lists; see docs/adr/0011 for the measurement.
        num_probed = min(num_lists, round(lists.num_probed * max(1.0, math.cbrt(k / _CANARY_K))))
        if allowed is None:
            return num_probed
        enough = num_probed * len(lists.list_of) / num_lists
        if len(allowed) <= _EXACT_UP_TO * enough:
            return None
        in_list = np.bincount(lists.list_of[allowed], minlength=num_lists)
        # Without BLAS, whose threads wait for each other on a machine that is busy: 20 ms instead of 0.3.
        nearest_first = np.argsort(-np.einsum("ij,j->i", lists.centres, query), kind="stable")
        num_read: int = np.searchsorted(np.cumsum(in_list[nearest_first]), enough).item() + 1
        return num_read


def _make_lists(flat: Any) -> _Lists | None:
    """The vectors of a flat index in lists, or None if too many lists would have to be read to pass the canary."""
    faiss = _faiss()
    vectors = _rows(flat)
    num_lists = int(_LISTS_PER_ROOT * len(vectors) ** 0.5)
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(flat.d), flat.d, num_lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT, False
    )
    index.cp.spherical = True
    sample = np.random.default_rng(0).permutation(len(vectors))[: num_lists * _TRAINED_PER_LIST]
    index.train(vectors[np.sort(sample)])
    index.add(vectors)
    searches = _canary_sample(flat)
    num_probed = 16
    while num_probed <= num_lists // 2:
        lists = _describe_lists(index, num_probed)
        recall = _canary(FaissIndex(flat, lists), searches)
        log.info("vectors=%d lists=%d probed=%d recall=%.4f", len(vectors), num_lists, num_probed, recall)
        if recall >= CANARY_RECALL:
            return lists
        num_probed = num_probed * 3 // 2
    log.warning("%d vectors are searched exactly: no lists of them reach a recall of %s", len(vectors), CANARY_RECALL)
    return None


def _describe_lists(index: Any, num_probed: int) -> _Lists:
    faiss = _faiss()
    list_of = np.empty(index.ntotal, dtype=np.int32)
    for number in range(index.nlist):
        size = index.invlists.list_size(number)
        if size:
            list_of[faiss.rev_swig_ptr(index.invlists.get_ids(number), size)] = number
    return _Lists(index, _rows(faiss.downcast_index(index.quantizer)), list_of, num_probed)


def _canary_sample(flat: Any) -> tuple[Vectors, NDArray[np.int64]]:
    """(n, d) queries, half of them of one kind, half of another, and the (n, 10) positions that are nearest to them.

    Means of five vectors, and means of two with noise: as far from the nearest vector (cosine 0.55) as questions are
    from the passages of a corpus, and about as hard to serve; see docs/adr/0011.
    """
    random = np.random.default_rng(0)
    picked = _rows(flat)[random.integers(flat.ntotal, size=(5, _CANARY_QUERIES))]
    noise = random.normal(size=picked[0].shape).astype(np.float32)
    noise *= 1.2 / np.linalg.norm(noise, axis=1, keepdims=True)
    queries = np.concatenate([picked.sum(axis=0), picked[0] + 0.7 * picked[1] + noise])
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    _, exact = flat.search(queries, _CANARY_K)
    return queries, exact


def _canary(index: FaissIndex, sample: tuple[Vectors, NDArray[np.int64]]) -> float:
    """Recall of the ten nearest, for the kind of query that fares worse."""
    shares = []
    for query, exact in zip(*sample, strict=True):
        found = index.search(query, _CANARY_K, allowed=None, excluded=NOTHING)
        likeness = np.einsum("ij,j->i", index.vectors[found], query)
        kept = found[np.argsort(-likeness, kind="stable")[:_CANARY_K]]
        shares.append(np.isin(exact, kept).mean())
    return float(np.reshape(shares, (2, -1)).mean(axis=1).min())


def _rows(flat: Any) -> Vectors:
    rows: Vectors = _faiss().rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(flat.ntotal, flat.d)
    return rows


def _write(index: Any, sink: Sink) -> None:
    faiss = _faiss()
    faiss.write_index(index, faiss.PyCallbackIOWriter(sink, 1 << 22))


def _read(data: NDArray[np.uint8]) -> Any:
    faiss = _faiss()
    return faiss.read_index(faiss.ZeroCopyIOReader(faiss.swig_ptr(data), len(data)))


@cache
def _faiss() -> Any:
    """faiss, without its type stubs: they lack half of what is used here."""
    # It tries one build for each kind of processor, and reports those that are not there as if they were faults.
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)
    import faiss

    return faiss


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """FAISS's thread count belongs to the calling thread: searches that run at once need one each, builds need all."""
    faiss = _faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
