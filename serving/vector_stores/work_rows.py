"""The rows of vector stores as the indexer sees them: the files that are in progress, in the order they came.

waiting = work.next("vs_1", after=0, last=work.last("vs_1"))
work.finish(waiting, attributes, usage_bytes=4096)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from serving.vector_stores.rows import Attributes, are_equal
from serving.vector_stores.schema import FILES, STORE_FILES, STORES
from storage.database import Database

ErrorCode = Literal["server_error", "unsupported_file", "invalid_file"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A file that is to be indexed; `sequence` is its place in the order, `chunking` the store's."""

    sequence: int
    store_id: str
    file_id: str
    filename: str
    chunking: Mapping[str, Any]


class WorkRows:
    """Every method is one transaction. What was cancelled or deleted meanwhile is never changed by its indexing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def last(self, store_id: str) -> int:
        """The place of a store's last file that is in progress now, 0 if none is."""
        query = sa.select(sa.func.max(STORE_FILES.c.sequence)).where(
            STORE_FILES.c.store_id == store_id, STORE_FILES.c.status == "in_progress"
        )
        with self._database.read() as rows:
            return rows.execute(query).scalar_one() or 0

    def next(self, store_id: str, *, after: int, last: int) -> Waiting | None:
        """The first file of a store behind the place `after`, and not behind `last`, that is in progress."""
        query = (
            sa.select(STORE_FILES.c.sequence, STORE_FILES.c.id, FILES.c.filename, STORES.c.chunking)
            .join(FILES, FILES.c.id == STORE_FILES.c.id)
            .join(STORES, STORES.c.id == STORE_FILES.c.store_id)
            .where(STORE_FILES.c.store_id == store_id, STORE_FILES.c.status == "in_progress")
            .where(STORE_FILES.c.sequence > after, STORE_FILES.c.sequence <= last)
            .order_by(STORE_FILES.c.sequence)
            .limit(1)
        )
        with self._database.read() as rows:
            row = rows.execute(query).one_or_none()
        return Waiting(row.sequence, store_id, row.id, row.filename, row.chunking) if row is not None else None

    def attributes(self, waiting: Waiting) -> Attributes | None:
        """The file's attributes as they are now; None if it is no longer to be indexed."""
        query = sa.select(STORE_FILES.c.attributes).where(*_is(waiting), STORE_FILES.c.status == "in_progress")
        with self._database.read() as rows:
            found: Attributes | None = rows.execute(query).scalar_one_or_none()
        return found

    def finish(
        self, waiting: Waiting, attributes: Attributes, *, usage_bytes: int
    ) -> Literal["completed", "changed", "unwanted"]:
        """Note that the file is in the index with these attributes.

        `changed` if it has other ones by now and `unwanted` if it was cancelled or deleted; nothing is noted then.
        """
        with self._database.write() as rows:
            row = rows.execute(sa.select(STORE_FILES).where(*_is(waiting))).one_or_none()
            if row is None or row.status not in ("in_progress", "completed"):
                return "unwanted"
            if row.status == "in_progress" and not are_equal(row.attributes, attributes):
                return "changed"
            done = {"status": "completed", "usage_bytes": usage_bytes, "last_error": None}
            rows.execute(STORE_FILES.update().where(*_is(waiting), STORE_FILES.c.status == "in_progress").values(done))
        return "completed"

    def fail(self, waiting: Waiting, code: ErrorCode, message: str) -> None:
        """Note why the file cannot be indexed."""
        where = (*_is(waiting), STORE_FILES.c.status == "in_progress")
        with self._database.write() as rows:
            rows.execute(STORE_FILES.update().where(*where).values(_failed(code, message)))

    def are_wanted(self, store_id: str, file_ids: Collection[str]) -> bool:
        """Whether all these files of a store are still to be indexed."""
        query = sa.select(sa.func.count()).where(*_among(store_id, file_ids), STORE_FILES.c.status == "in_progress")
        with self._database.read() as rows:
            return rows.execute(query).scalar_one() == len(file_ids)

    def give_back(self, store_id: str, file_ids: Collection[str], *, max_attempts: int) -> list[str]:
        """Count an attempt at these files that broke off, and fail those that had `max_attempts`; 0 counts none.

        Returns those that were cancelled: they may have come into the index.
        """
        these = _among(store_id, file_ids)
        waiting = (*these, STORE_FILES.c.status == "in_progress")
        failed = _failed("server_error", f"the server stopped {max_attempts} times while it indexed this file")
        with self._database.write() as rows:
            if max_attempts:
                rows.execute(STORE_FILES.update().where(*waiting).values(attempts=STORE_FILES.c.attempts + 1))
                at_end = STORE_FILES.c.attempts >= max_attempts
                rows.execute(STORE_FILES.update().where(*waiting, at_end).values(failed))
            cancelled = sa.select(STORE_FILES.c.id).where(*these, STORE_FILES.c.status == "cancelled")
            return list(rows.execute(cancelled).scalars())


def _is(waiting: Waiting) -> tuple[sa.ColumnElement[bool], ...]:
    return STORE_FILES.c.store_id == waiting.store_id, STORE_FILES.c.id == waiting.file_id


def _among(store_id: str, file_ids: Collection[str]) -> tuple[sa.ColumnElement[bool], ...]:
    return STORE_FILES.c.store_id == store_id, STORE_FILES.c.id.in_(file_ids)


def _failed(code: ErrorCode, message: str) -> dict[str, Any]:
    return {"status": "failed", "last_error": {"code": code, "message": message}}
