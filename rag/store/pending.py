"""Vectors that need not be made again: `known(rows, embedder.name, hashes)`, of any index and of stopped runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from rag.store.schema import CHUNKS, INDEXES, PENDING, VARIABLES, VECTORS, parts
from storage.database import Database, insert_missing

_KEPT_S = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class Embedding:
    """A unit vector, (d,) float32, and the seconds that embedding its text took."""

    vector: NDArray[np.float32]
    embed_s: float

    def values(self) -> dict[str, object]:
        """As the columns of a row."""
        return {"embed_s": self.embed_s, "vector": self.vector.astype("<f4", copy=False).tobytes()}


def known(rows: sa.Connection, embedder: str, text_hashes: Iterable[str]) -> dict[str, Embedding]:
    """The embeddings that this embedder has made, by hash of the text."""
    found: dict[str, Embedding] = {}
    for part in parts(text_hashes, VARIABLES):
        stored = (
            sa.select(CHUNKS.c.text_hash, VECTORS.c.vector, VECTORS.c.embed_s)
            .join_from(CHUNKS, VECTORS, VECTORS.c.number == CHUNKS.c.number)
            .join(INDEXES, INDEXES.c.id == CHUNKS.c.index_id)
            .where(INDEXES.c.embedder == embedder, CHUNKS.c.text_hash.in_(part))
        )
        pending = sa.select(PENDING.c.text_hash, PENDING.c.vector, PENDING.c.embed_s).where(
            PENDING.c.embedder == embedder, PENDING.c.text_hash.in_(part)
        )
        for query in (stored, pending):
            for text_hash, vector, embed_s in rows.execute(query):
                found[text_hash] = Embedding(np.frombuffer(vector, dtype="<f4"), embed_s)
    return found


def keep(
    store: Database, index_name: str, origin: str, embedder: str, embeddings: Mapping[str, Embedding], *, now: float
) -> None:
    """Commits embeddings, by hash of the text, of a run that is not finished; `now` is in seconds since 1970.

    Those of runs that nobody has ended for 30 days are forgotten, whatever index they were for.
    """
    run = {"index_name": index_name, "origin": origin, "embedder": embedder, "kept_at": now}
    values = [{**run, "text_hash": text_hash, **embedding.values()} for text_hash, embedding in embeddings.items()]
    with store.write_beside() as rows:
        rows.execute(PENDING.delete().where(PENDING.c.kept_at < now - _KEPT_S))
        # Two runs on the same index may embed the same text; either vector will do.
        insert_missing(rows, PENDING, values)


def drop(rows: sa.Connection, index_name: str, *, origin: str | None = None) -> None:
    """Deletes what runs on the index have kept: all of it, or that of an origin."""
    chosen = PENDING.c.index_name == index_name
    if origin is not None:
        chosen = sa.and_(chosen, PENDING.c.origin == origin)
    rows.execute(PENDING.delete().where(chosen))


def drop_texts(rows: sa.Connection, index_name: str, origin: str, embedder: str, text_hashes: Iterable[str]) -> None:
    """Deletes what runs on the index have kept of these texts."""
    # By the whole key: by a part of it, each row would be looked for among all that are kept.
    key = sa.and_(
        PENDING.c.index_name == index_name,
        PENDING.c.origin == origin,
        PENDING.c.embedder == embedder,
        PENDING.c.text_hash == sa.bindparam("gone"),
    )
    if gone := [{"gone": text_hash} for text_hash in text_hashes]:
        rows.execute(PENDING.delete().where(key), gone)
