"""Converted files, kept so that an unchanged file is converted once: `Conversions(store).get(digest)`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import sqlalchemy as sa

from rag.documents.converted import Converted
from rag.store.schema import CONVERSIONS
from rag.store.store import Store, insert_missing

_DAY_S = 86_400.0
_KEPT_S = 30 * _DAY_S


class Conversions:
    """A `ConversionCache` in the rows of a store; what was not asked for in 30 days is forgotten."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def get(self, digest: str) -> Converted | None:
        """The conversion put under this digest, None if there is none."""
        chosen = CONVERSIONS.c.digest == digest
        with self._store.read() as rows:
            row = rows.execute(sa.select(CONVERSIONS).where(chosen)).one_or_none()
        if row is None:
            return None
        if self._clock() - row.used_at > _DAY_S:
            with self._store.write() as rows:
                rows.execute(CONVERSIONS.update().where(chosen).values(used_at=self._clock()))
        return Converted(row.title, row.text, tuple(json.loads(row.pages)))

    def put(self, digest: str, converted: Converted) -> None:
        """Keep a conversion; the digest may be known already."""
        now = self._clock()
        with self._store.write() as rows:
            rows.execute(CONVERSIONS.delete().where(CONVERSIONS.c.used_at < now - _KEPT_S))
            values = {
                "digest": digest,
                "title": converted.title,
                "used_at": now,
                "pages": json.dumps(converted.pages),
                "text": converted.text,
            }
            insert_missing(rows, CONVERSIONS, [values])

    def close(self) -> None:
        self._store.close()
