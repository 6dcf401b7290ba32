"""The FAISS view of an index's rows: `View.load(file, ...)` or, where the file will not do, `View.build(...)`.

A view can always be rebuilt from the rows, so a file that is missing, torn, flipped or of other rows is no error. faiss
is imported here and nowhere else.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DIGEST_BYTES = hashlib.sha256().digest_size

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class View:
    """The vectors of one version of an index, in the order of `chunk_ids`."""

    version: str
    generation: int
    chunk_ids: tuple[str, ...]
    vectors: Any
    """A faiss.IndexFlatIP, or None if there are no chunks."""

    @classmethod
    def build(cls, version: str, generation: int, chunk_ids: Sequence[str], vectors: NDArray[np.float32]) -> View:
        """The view of (n, d) float32 unit rows."""
        import faiss

        index = None
        if len(chunk_ids):
            index = faiss.IndexFlatIP(vectors.shape[1])
            index.add(np.ascontiguousarray(vectors))
        return cls(version, generation, tuple(chunk_ids), index)

    @classmethod
    def load(cls, file: Path, version: str, generation: int, chunk_ids: Sequence[str]) -> View | None:
        """The view in the file, or None if it is not, to the last bit, what `save` wrote for this version."""
        import faiss

        try:
            data = file.read_bytes()
        except OSError as error:
            log.info("view %s is not there: %s", file, error.strerror)
            return None
        payload, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
        if digest != _digest(payload, version):
            log.warning("view %s is torn or not of version %s", file, version)
            return None
        index = faiss.deserialize_index(np.frombuffer(payload, dtype=np.uint8))
        return cls(version, generation, tuple(chunk_ids), index) if index.ntotal == len(chunk_ids) else None

    def save(self, file: Path) -> None:
        """Writes the file whole or not at all: plain FAISS, followed by a digest of it and the version."""
        import faiss

        if self.vectors is None:
            return
        payload = faiss.serialize_index(self.vectors).tobytes()
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f"{file.name}.tmp")
        try:
            with temporary.open("wb") as stream:
                stream.write(payload)
                stream.write(_digest(payload, self.version))
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(file)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def search(self, query: NDArray[np.float32], k: int) -> list[tuple[str, float]]:
        """Chunk ids and cosines in [-1, 1] of the k nearest to a (d,) unit vector, best first, ties in row order."""
        k = min(k, len(self.chunk_ids))
        if not k:
            return []
        scores, rows = self.vectors.search(query.reshape(1, -1), k)
        # Among equal scores at the cut FAISS keeps the first rows, but lists them last row first.
        best = sorted(zip(scores[0].tolist(), rows[0].tolist(), strict=True), key=lambda hit: (-hit[0], hit[1]))
        return [(self.chunk_ids[row], max(-1.0, min(1.0, score))) for score, row in best]


def _digest(payload: bytes, version: str) -> bytes:
    return hashlib.sha256(payload + version.encode()).digest()
