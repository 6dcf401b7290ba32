"""The rows of vector stores as the indexer sees them: the files that are in progress, in the order they came.

for waiting in work.waiting("vs_1"):
    work.finish("vs_1", waiting.id, attributes)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from serving.vector_stores.rows import IN_PROGRESS, Attributes, among, are_equal
from serving.vector_stores.schema import FILES, STORE_FILES, STORES
from storage.database import Database
from storage.tables import read_row

ErrorCode = Literal["server_error", "unsupported_file", "invalid_file"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A file that is to be indexed; `chunking` is the store's."""

    id: str
    filename: str
    chunking: Mapping[str, Any]


class WorkRows:
    """Every method is one transaction. What was cancelled or deleted meanwhile is never changed by its indexing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def waiting(self, store_id: str) -> list[Waiting]:
        """The files of a store that are in progress now."""
        query = (
            sa.select(STORE_FILES.c.id, FILES.c.filename, STORES.c.chunking)
            .join(FILES, FILES.c.id == STORE_FILES.c.id)
            .join(STORES, STORES.c.id == STORE_FILES.c.store_id)
            .where(STORE_FILES.c.store_id == store_id, IN_PROGRESS)
            .order_by(STORE_FILES.c.sequence)
        )
        with self._database.read() as rows:
            return [read_row(Waiting, row) for row in rows.execute(query)]

    def wanted(self, store_id: str, file_ids: Collection[str]) -> dict[str, Attributes]:
        """Those of the files that are still to be indexed, and their attributes as they are now."""
        query = sa.select(STORE_FILES.c.id, STORE_FILES.c.attributes).where(*among(store_id, file_ids), IN_PROGRESS)
        with self._database.read() as rows:
            return {row.id: row.attributes for row in rows.execute(query)}

    def finish(
        self, store_id: str, file_id: str, attributes: Mapping[str, object]
    ) -> Literal["completed", "changed", "unwanted"]:
        """Note that the file is in the index with these attributes.

        `changed` if it has other ones by now and `unwanted` if it was cancelled or deleted; nothing is noted then.
        """
        this = among(store_id, [file_id])
        with self._database.write() as rows:
            row = rows.execute(sa.select(STORE_FILES).where(*this)).one_or_none()
            if row is None or row.status not in ("in_progress", "completed"):
                return "unwanted"
            if row.status == "in_progress" and not are_equal(row.attributes, attributes):
                return "changed"
            rows.execute(STORE_FILES.update().where(*this, IN_PROGRESS).values(status="completed", last_error=None))
        return "completed"

    def fail(self, store_id: str, file_id: str, code: ErrorCode, message: str) -> None:
        """Note why the file cannot be indexed."""
        with self._database.write() as rows:
            rows.execute(_failing(code, message).where(*among(store_id, [file_id])))

    def give_back(self, store_id: str, file_ids: Collection[str], *, max_attempts: int) -> list[str]:
        """Count an attempt at these files that broke off, and fail those that had `max_attempts`; 0 counts none.

        Returns those that were cancelled: they may have come into the index.
        """
        these = among(store_id, file_ids)
        stopped = f"the server stopped {max_attempts} times while it indexed this file"
        with self._database.write() as rows:
            if max_attempts:
                more = {"attempts": STORE_FILES.c.attempts + 1}
                rows.execute(STORE_FILES.update().where(*these, IN_PROGRESS).values(more))
                at_end = STORE_FILES.c.attempts >= max_attempts
                rows.execute(_failing("server_error", stopped).where(*these, at_end))
            cancelled = sa.select(STORE_FILES.c.id).where(*these, STORE_FILES.c.status == "cancelled")
            return list(rows.execute(cancelled).scalars())


def _failing(code: ErrorCode, message: str) -> sa.Update:
    """What is in progress has failed."""
    return (
        STORE_FILES.update().where(IN_PROGRESS).values(status="failed", last_error={"code": code, "message": message})
    )
