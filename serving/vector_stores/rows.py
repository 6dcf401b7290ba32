"""The rows of vector stores: which files stand in which, how far their indexing is, and batches of them.

rows = StoreRows(database)
rows.attach("vs_1", [Wanted("file-1", {"team": "desk"})], chunking={...}, max_waiting=10_000, submit=indexer.submit)

What the indexer works on next is asked of the same rows by serving/vector_stores/work_rows.py.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from serving.errors import Conflict, NotFound, Overloaded, Refused
from serving.http.pages import Page, PageOfRows, select_page
from serving.vector_stores.schema import BATCH_FILES, BATCHES, DELETING, FILES, STORE_FILES, STORES, Status
from storage.database import Database, insert_missing
from storage.tables import read_row, values_of

Attributes = Mapping[str, str | float | bool]


@dataclass(frozen=True, slots=True)
class StoredStore:
    """A vector store; its id is the name of its index. `chunking` is None until the first file decides it."""

    id: str
    created_at: int
    last_active_at: int
    name: str
    description: str | None
    metadata: Mapping[str, str] | None
    chunking: Mapping[str, Any] | None
    is_own: bool


@dataclass(frozen=True, slots=True)
class StoreFile:
    """A file in a vector store. `usage_bytes` is what its vectors take, 0 until they are there."""

    id: str
    store_id: str
    created_at: int
    status: Status
    last_error: Mapping[str, str] | None
    attributes: Attributes
    usage_bytes: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that shall be in a vector store, and its attributes there."""

    file_id: str
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """Files that were attached together."""

    id: str
    store_id: str
    created_at: int
    is_cancelled: bool


class StoreRows:
    """Every method is one transaction. Those that name a store, a file or a batch raise NotFound for none."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def add_store(
        self,
        *,
        name: str | None,
        description: str | None,
        metadata: Mapping[str, str] | None,
        chunking: Mapping[str, Any] | None,
    ) -> StoredStore:
        """A new vector store; one without a name is named by its id."""
        store_id, now = f"vs_{uuid.uuid4().hex}", self._now()
        stored = StoredStore(store_id, now, now, name or store_id, description, metadata, chunking, is_own=True)
        with self._database.write() as rows:
            rows.execute(STORES.insert().values(values_of(stored)))
        return stored

    def adopt(self, names: Collection[str]) -> None:
        """Rows for indexes that were made elsewhere, where they have none."""
        with self._database.read() as rows:
            known = set(rows.execute(sa.select(STORES.c.id)).scalars())
        if not (new := sorted(set(names) - known)):
            return
        now = self._now()
        found = [StoredStore(name, now, now, name, None, None, None, is_own=False) for name in new]
        with self._database.write() as rows:
            insert_missing(rows, STORES, [values_of(stored) for stored in found])

    def find_store(self, store_id: str) -> StoredStore | None:
        """The store, None if there is none."""
        with self._database.read() as rows:
            row = _store_row(rows, store_id)
        return read_row(StoredStore, row) if row is not None else None

    def stores(self, page: Page, indexes: Collection[str]) -> PageOfRows:
        """A page of StoredStores: those made over HTTP, and those of `indexes`."""
        where = sa.and_(~STORES.c.is_deleting, sa.or_(STORES.c.is_own, STORES.c.id.in_(indexes)))
        with self._database.read() as rows:
            found = select_page(rows, STORES, page, where)
        return replace(found, rows=[read_row(StoredStore, row) for row in found.rows])

    def update_store(self, store_id: str, changes: Mapping[str, object]) -> StoredStore:
        """Change the name or the metadata, as far as `changes` has them."""
        with self._database.write() as rows:
            values = {**changes, "last_active_at": self._now()}
            rows.execute(STORES.update().where(STORES.c.id == store_id).values(values))
            return read_row(StoredStore, _needed_store(rows, store_id))

    def hide_store(self, store_id: str) -> None:
        """First step of a deletion: from now on neither the store nor its files are to be had."""
        with self._database.write() as rows:
            _needed_store(rows, store_id)
            rows.execute(STORES.update().where(STORES.c.id == store_id).values(is_deleting=True))
            rows.execute(STORE_FILES.update().where(STORE_FILES.c.store_id == store_id).values(status=DELETING))

    def hidden_stores(self) -> list[str]:
        """The stores whose deletion was begun."""
        with self._database.read() as rows:
            return list(rows.execute(sa.select(STORES.c.id).where(STORES.c.is_deleting)).scalars())

    def remove_store(self, store_id: str) -> None:
        """Last step of a deletion: the row, with its files' and batches'."""
        with self._database.write() as rows:
            rows.execute(STORES.delete().where(STORES.c.id == store_id))

    def attach(
        self,
        store_id: str,
        wanted: Sequence[Wanted],
        *,
        chunking: Mapping[str, Any],
        max_waiting: int,
        submit: Callable[[str, sa.Connection], object],
        lost: Collection[str] = (),
        is_batch: bool = False,
    ) -> StoredBatch | None:
        """The files wait to be indexed, unless they are already and not `lost`; those keep the attributes they have.

        `submit` adds the store's job to the same transaction. `chunking` becomes the store's if it has none. Raises
        Overloaded when more than `max_waiting` files wait.
        """
        now = self._now()
        with self._database.write() as rows:
            store = _needed_store(rows, store_id)
            rows.execute(
                STORES.update()
                .where(STORES.c.id == store_id)
                .values(last_active_at=now, chunking=store.chunking if store.chunking is not None else dict(chunking))
            )
            _check_files(rows, [file.file_id for file in wanted])
            _leave_room(rows, len(wanted), max_waiting)
            for file in wanted:
                _attach(rows, store_id, file, now, is_lost=file.file_id in lost)
            submit(store_id, rows)
            if not is_batch:
                return None
            batch = StoredBatch(f"vsfb_{uuid.uuid4().hex}", store_id, now, is_cancelled=False)
            rows.execute(BATCHES.insert().values(values_of(batch)))
            members = [{"batch_id": batch.id, "file_id": file.file_id} for file in wanted]
            rows.execute(BATCH_FILES.insert(), members)
        return batch

    def find_file(self, store_id: str, file_id: str) -> StoreFile | None:
        """The file as it stands in the store, None if it does not."""
        with self._database.read() as rows:
            row = rows.execute(sa.select(STORE_FILES).where(*stands_in(store_id, file_id))).one_or_none()
        return to_store_file(row) if row is not None else None

    def files(self, store_id: str, page: Page, *, batch_id: str | None = None) -> PageOfRows:
        """A page of a store's StoreFiles, or of a batch's; the filter `filter` asks for one status."""
        where = [STORE_FILES.c.store_id == store_id, STORE_FILES.c.status != DELETING]
        if "filter" in page.filters:
            where.append(STORE_FILES.c.status == page.filters["filter"])
        if batch_id is not None:
            where.append(STORE_FILES.c.id.in_(_members(batch_id)))
        with self._database.read() as rows:
            found = select_page(rows, STORE_FILES, page, *where)
        return replace(found, rows=[to_store_file(row) for row in found.rows])

    def known_files(self, store_id: str, file_ids: Collection[str]) -> set[str]:
        """Those of the ids that have a row in the store, also one that is being deleted."""
        query = sa.select(STORE_FILES.c.id).where(STORE_FILES.c.store_id == store_id, STORE_FILES.c.id.in_(file_ids))
        with self._database.read() as rows:
            return set(rows.execute(query).scalars())

    def differing(self, store_id: str, wanted: Sequence[Wanted]) -> list[Wanted]:
        """Those of the files that stand in the store with other attributes."""
        query = sa.select(STORE_FILES.c.id, STORE_FILES.c.attributes).where(
            STORE_FILES.c.store_id == store_id,
            STORE_FILES.c.id.in_([file.file_id for file in wanted]),
            STORE_FILES.c.status != DELETING,
        )
        with self._database.read() as rows:
            present = {row.id: row.attributes for row in rows.execute(query)}
        return [
            file for file in wanted if file.file_id in present and not are_equal(present[file.file_id], file.attributes)
        ]

    def counts(self, store_ids: Collection[str]) -> dict[str, Counter[str]]:
        """Store -> number of its files by status."""
        query = (
            sa.select(STORE_FILES.c.store_id, STORE_FILES.c.status, sa.func.count())
            .where(STORE_FILES.c.store_id.in_(store_ids), STORE_FILES.c.status != DELETING)
            .group_by(STORE_FILES.c.store_id, STORE_FILES.c.status)
        )
        counts: dict[str, Counter[str]] = {store_id: Counter() for store_id in store_ids}
        with self._database.read() as rows:
            for store_id, status, number in rows.execute(query):
                counts[store_id][status] = number
        return counts

    def detach(self, file_id: str, *, store_id: str | None = None) -> list[str]:
        """First step of a deletion: the file is hidden in the store, or in all; returns those where it stood."""
        where = [STORE_FILES.c.id == file_id]
        if store_id is not None:
            where.append(STORE_FILES.c.store_id == store_id)
        with self._database.write() as rows:
            found = list(rows.execute(sa.select(STORE_FILES.c.store_id).where(*where)).scalars())
            rows.execute(STORE_FILES.update().where(*where).values(status=DELETING))
        return found

    def detached(self) -> list[tuple[str, str]]:
        """(store, file) of the deletions that were begun."""
        query = sa.select(STORE_FILES.c.store_id, STORE_FILES.c.id).where(STORE_FILES.c.status == DELETING)
        with self._database.read() as rows:
            return [(row.store_id, row.id) for row in rows.execute(query)]

    def is_detached(self, store_id: str, file_id: str) -> bool:
        """Whether the file's deletion was begun and not ended."""
        query = sa.select(STORE_FILES.c.status).where(STORE_FILES.c.store_id == store_id, STORE_FILES.c.id == file_id)
        with self._database.read() as rows:
            return rows.execute(query).scalar_one_or_none() == DELETING

    def remove_file(self, store_id: str, file_id: str) -> None:
        """Last step of a deletion: the row. One that was attached again meanwhile stays."""
        where = (STORE_FILES.c.store_id == store_id, STORE_FILES.c.id == file_id, STORE_FILES.c.status == DELETING)
        with self._database.write() as rows:
            rows.execute(STORE_FILES.delete().where(*where))

    def get_batch(self, store_id: str, batch_id: str) -> tuple[StoredBatch, Counter[str]]:
        """A batch, and the number of its files by status."""
        tally = (
            sa.select(STORE_FILES.c.status, sa.func.count().label("number"))
            .where(STORE_FILES.c.store_id == store_id, STORE_FILES.c.status != DELETING)
            .where(STORE_FILES.c.id.in_(_members(batch_id)))
            .group_by(STORE_FILES.c.status)
        )
        with self._database.read() as rows:
            batch = _batch(rows, store_id, batch_id)
            return batch, Counter({row.status: row.number for row in rows.execute(tally)})

    def cancel_batch(self, store_id: str, batch_id: str) -> list[str]:
        """Cancels the files of a batch that are not indexed yet; returns them. Raises Conflict for a batch done."""
        where = (
            STORE_FILES.c.store_id == store_id,
            STORE_FILES.c.status == "in_progress",
            STORE_FILES.c.id.in_(_members(batch_id)),
        )
        with self._database.write() as rows:
            batch = _batch(rows, store_id, batch_id)
            waiting = list(rows.execute(sa.select(STORE_FILES.c.id).where(*where)).scalars())
            if not waiting and not batch.is_cancelled:
                raise Conflict(f"batch {batch_id!r} is done; there is nothing to cancel")
            rows.execute(STORE_FILES.update().where(*where).values(status="cancelled"))
            rows.execute(BATCHES.update().where(BATCHES.c.id == batch_id).values(is_cancelled=True))
        return waiting

    def _now(self) -> int:
        return int(self._clock())


def are_equal(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether two files have the same attributes; to Python, true and 1 are equal."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def no_store(store_id: str) -> Refused:
    """The refusal of an unknown vector store."""
    return NotFound(f"no vector store {store_id!r}", code="vector_store_not_found")


def _attach(rows: sa.Connection, store_id: str, file: Wanted, now: int, *, is_lost: bool) -> None:
    where = (STORE_FILES.c.store_id == store_id, STORE_FILES.c.id == file.file_id)
    present = rows.execute(sa.select(STORE_FILES.c.status).where(*where)).scalar_one_or_none()
    attributes = dict(file.attributes)
    if present == DELETING:
        raise Conflict(f"file {file.file_id!r} is being deleted from {store_id!r}; attach it again in a moment")
    if present == "completed" and not is_lost:
        return
    if present == "in_progress":
        rows.execute(STORE_FILES.update().where(*where).values(attributes=attributes))
        return
    waiting = {
        "created_at": now,
        "status": "in_progress",
        "last_error": None,
        "attributes": attributes,
        "usage_bytes": 0,
        "attempts": 0,
        "is_changing": False,
    }
    if present is None:
        rows.execute(STORE_FILES.insert().values(store_id=store_id, id=file.file_id, **waiting))
    else:
        rows.execute(STORE_FILES.update().where(*where).values(waiting))


def _check_files(rows: sa.Connection, file_ids: Collection[str]) -> None:
    query = sa.select(FILES.c.id).where(FILES.c.id.in_(file_ids), ~FILES.c.is_deleting)
    if gone := sorted(set(file_ids) - set(rows.execute(query).scalars())):
        raise NotFound(f"no file {gone[0]!r}", code="file_not_found")


def _leave_room(rows: sa.Connection, num_more: int, max_waiting: int) -> None:
    waiting = sa.select(sa.func.count()).where(STORE_FILES.c.status == "in_progress")
    if rows.execute(waiting).scalar_one() + num_more > max_waiting:
        raise Overloaded(
            f"over {max_waiting:,} files would wait to be indexed; attach more when some are done",
            code="queue_full",
        )


def stands_in(store_id: str, file_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    """The row of a file in a store, unless it is being deleted."""
    return STORE_FILES.c.store_id == store_id, STORE_FILES.c.id == file_id, STORE_FILES.c.status != DELETING


def _members(batch_id: str) -> sa.Select[tuple[str]]:
    return sa.select(BATCH_FILES.c.file_id).where(BATCH_FILES.c.batch_id == batch_id)


def _store_row(rows: sa.Connection, store_id: str) -> Any:
    return rows.execute(sa.select(STORES).where(STORES.c.id == store_id, ~STORES.c.is_deleting)).one_or_none()


def _needed_store(rows: sa.Connection, store_id: str) -> Any:
    row = _store_row(rows, store_id)
    if row is None:
        raise no_store(store_id)
    return row


def _batch(rows: sa.Connection, store_id: str, batch_id: str) -> StoredBatch:
    query = sa.select(BATCHES).where(BATCHES.c.id == batch_id, BATCHES.c.store_id == store_id)
    row = rows.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"no file batch {batch_id!r} in {store_id!r}", code="file_batch_not_found")
    return read_row(StoredBatch, row)


def to_store_file(row: Any) -> StoreFile:
    """What a row of a store's files says."""
    return read_row(StoreFile, row)
