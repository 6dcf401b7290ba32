"""The rows of vector stores: which files stand in which, how far their indexing is, and batches of them.

rows = StoreRows(database)
rows.attach("vs_1", {"file-1": {"team": "desk"}}, chunking={...}, max_waiting=10_000, submit=indexer.submit)

What the indexer works on next is asked of the same rows by serving/vector_stores/indexer.py.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa

from serving.errors import Conflict, Invalid, NotFound, Overloaded, Refused
from serving.http.pages import Page, PageOfRows, select_page
from serving.vector_stores.schema import BATCH_FILES, BATCHES, DELETING, FILES, STORE_FILES, STORES, Status
from storage.database import Database, insert_missing
from storage.tables import read_row, values_of

Attributes = Mapping[str, str | float | bool]

# What a file was uploaded for says whether passages of it may be shown: gold answers never.
_SEARCHABLE = ("assistants", "user_data")
_PRESENT = STORE_FILES.c.status != DELETING
IN_PROGRESS = STORE_FILES.c.status == "in_progress"


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
    """A file in a vector store. Once it is indexed, only the index knows its attributes and what its vectors take."""

    id: str
    store_id: str
    created_at: int
    status: Status
    last_error: Mapping[str, str] | None
    attributes: Attributes
    usage_bytes: int = 0


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """Files that were attached together."""

    id: str
    store_id: str
    created_at: int
    is_cancelled: bool


class StoreRows:
    """Every method is one transaction. `attach` and those that name a batch raise NotFound for what is not there."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def add_store(
        self,
        name: str | None,
        description: str | None = None,
        metadata: Mapping[str, str] | None = None,
        chunking: Mapping[str, Any] | None = None,
        attach: Callable[[str, sa.Connection], object] | None = None,
    ) -> StoredStore:
        """A new vector store; one without a name is named by its id. `attach` adds its files to the transaction."""
        store_id, now = f"vs_{uuid.uuid4().hex}", self._now()
        stored = StoredStore(store_id, now, now, name or store_id, description, metadata, chunking, is_own=True)
        with self._database.write() as rows:
            rows.execute(STORES.insert().values(values_of(stored)))
            if attach is not None:
                attach(store_id, rows)
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
            return _find_store(rows, store_id)

    def stores(self, page: Page, indexes: Collection[str]) -> PageOfRows:
        """A page of StoredStores: those made over HTTP, and those of `indexes`."""
        where = sa.and_(~STORES.c.is_deleting, sa.or_(STORES.c.is_own, STORES.c.id.in_(indexes)))
        with self._database.read() as rows:
            return select_page(rows, STORES, page, where, read=partial(read_row, StoredStore))

    def update_store(self, store_id: str, changes: Mapping[str, object]) -> None:
        """Change the name or the metadata, as far as `changes` has them."""
        values = {**changes, "last_active_at": self._now()}
        with self._database.write() as rows:
            rows.execute(STORES.update().where(STORES.c.id == store_id).values(values))

    def hide_store(self, store_id: str) -> None:
        """First step of a deletion: from now on neither the store nor its files are to be had."""
        with self._database.write() as rows:
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
        files: Mapping[str, Attributes],
        *,
        chunking: Mapping[str, Any],
        max_waiting: int,
        submit: Callable[[str, sa.Connection], object],
        lost: Collection[str] = (),
        batch_id: str | None = None,
        rows: sa.Connection | None = None,
    ) -> None:
        """The files wait to be indexed, unless they are already and not `lost`; those keep the attributes they have.

        `submit` adds the store's job to the same transaction, which is `rows` if given. `chunking` becomes the store's
        if it has none. The files are a batch if it gets an id. Raises Invalid for a file that may not be searched, and
        Overloaded when more than `max_waiting` files wait.
        """
        now = self._now()
        with self._database.write() if rows is None else nullcontext(rows) as rows:
            if (store := _find_store(rows, store_id)) is None:
                raise no_store(store_id)
            _check_files(rows, files)
            _leave_room(rows, len(files), max_waiting)
            active = {"last_active_at": now, "chunking": store.chunking or chunking}
            rows.execute(STORES.update().where(STORES.c.id == store_id).values(active))
            for file_id, attributes in files.items():
                _attach(rows, store_id, file_id, attributes, now, is_lost=file_id in lost)
            submit(store_id, rows)
            if batch_id is not None:
                batch = StoredBatch(batch_id, store_id, now, is_cancelled=False)
                rows.execute(BATCHES.insert().values(values_of(batch)))
                rows.execute(BATCH_FILES.insert(), [{"batch_id": batch_id, "file_id": file_id} for file_id in files])

    def known(self, store_id: str, file_ids: Collection[str]) -> dict[str, StoreFile]:
        """Those of the files that have a row in the store, by id; the status of one being deleted is DELETING."""
        with self._database.read() as rows:
            found = rows.execute(sa.select(STORE_FILES).where(*among(store_id, file_ids)))
            return {row.id: read_row(StoreFile, row) for row in found}

    def find_file(self, store_id: str, file_id: str) -> StoreFile | None:
        """The file as it stands in the store, None if it does not."""
        found = self.known(store_id, [file_id]).get(file_id)
        return found if found is not None and found.status != DELETING else None

    def files(self, store_id: str, page: Page, *, batch_id: str | None = None) -> PageOfRows:
        """A page of a store's StoreFiles, or of a batch's."""
        where = [STORE_FILES.c.store_id == store_id, _PRESENT]
        if batch_id is not None:
            where.append(_is_member(batch_id))
        with self._database.read() as rows:
            return select_page(rows, STORE_FILES, page, *where, read=partial(read_row, StoreFile))

    def set_attributes(self, store_id: str, file_id: str, attributes: Attributes) -> bool:
        """Replaces the attributes of a file in the store that is not indexed; False if there is none."""
        where = (*among(store_id, [file_id]), STORE_FILES.c.status.not_in(("completed", DELETING)))
        with self._database.write() as rows:
            return rows.execute(STORE_FILES.update().where(*where).values(attributes=attributes)).rowcount == 1

    def counts(self, store_ids: Collection[str]) -> dict[str, Counter[str]]:
        """Store -> number of its files by status."""
        with self._database.read() as rows:
            return _counts(rows, store_ids)

    def unfinished(self, store_ids: Collection[str]) -> dict[str, dict[str, str]]:
        """Store -> its files that are not completed -> their status."""
        where = (STORE_FILES.c.store_id.in_(store_ids), _PRESENT, STORE_FILES.c.status != "completed")
        query = sa.select(STORE_FILES.c.store_id, STORE_FILES.c.id, STORE_FILES.c.status).where(*where)
        found: dict[str, dict[str, str]] = {store_id: {} for store_id in store_ids}
        with self._database.read() as rows:
            for store_id, file_id, status in rows.execute(query):
                found[store_id][file_id] = status
        return found

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

    def remove_file(self, store_id: str, file_id: str) -> None:
        """Last step of a deletion: the row. One that was attached again meanwhile stays."""
        with self._database.write() as rows:
            rows.execute(STORE_FILES.delete().where(*among(store_id, [file_id]), STORE_FILES.c.status == DELETING))

    def get_batch(self, store_id: str, batch_id: str) -> tuple[StoredBatch, Counter[str]]:
        """A batch, and the number of its files by status."""
        with self._database.read() as rows:
            return _get_batch(rows, store_id, batch_id), _counts(rows, [store_id], _is_member(batch_id))[store_id]

    def cancel_batch(self, store_id: str, batch_id: str) -> list[str]:
        """Cancels the files of a batch that are not indexed yet; returns them. Raises Conflict for a batch done."""
        where = (STORE_FILES.c.store_id == store_id, _is_member(batch_id), IN_PROGRESS)
        with self._database.write() as rows:
            batch = _get_batch(rows, store_id, batch_id)
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


def among(store_id: str, file_ids: Collection[str]) -> tuple[sa.ColumnElement[bool], ...]:
    """The rows of these files in a store."""
    return STORE_FILES.c.store_id == store_id, STORE_FILES.c.id.in_(file_ids)


def no_store(store_id: str) -> Refused:
    """The refusal of an unknown vector store."""
    return NotFound(f"no vector store {store_id!r}", code="vector_store_not_found")


def no_file(file_id: str, *, param: str | None = None) -> Refused:
    """The refusal of an unknown file."""
    return NotFound(f"no file {file_id!r}; upload it with POST /v1/files", param=param, code="file_not_found")


def _attach(
    rows: sa.Connection, store_id: str, file_id: str, attributes: Attributes, now: int, *, is_lost: bool
) -> None:
    where = among(store_id, [file_id])
    present = rows.execute(sa.select(STORE_FILES.c.status).where(*where)).scalar_one_or_none()
    if present == DELETING:
        raise Conflict(f"file {file_id!r} is being deleted from {store_id!r}; attach it again in a moment")
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
        "attempts": 0,
    }
    if present is None:
        rows.execute(STORE_FILES.insert().values(store_id=store_id, id=file_id, **waiting))
    else:
        rows.execute(STORE_FILES.update().where(*where).values(waiting))


def _check_files(rows: sa.Connection, file_ids: Collection[str]) -> None:
    query = sa.select(FILES.c.id, FILES.c.purpose).where(FILES.c.id.in_(file_ids), ~FILES.c.is_deleting)
    purposes = {row.id: row.purpose for row in rows.execute(query)}
    for file_id in file_ids:
        if file_id not in purposes:
            raise no_file(file_id, param="file_id")
        if purposes[file_id] not in _SEARCHABLE:
            raise Invalid(
                f"file {file_id!r} was uploaded with purpose {purposes[file_id]!r}; upload it again with one of "
                f"{', '.join(_SEARCHABLE)}",
                param="file_id",
            )


def _leave_room(rows: sa.Connection, num_more: int, max_waiting: int) -> None:
    if rows.execute(sa.select(sa.func.count()).where(IN_PROGRESS)).scalar_one() + num_more > max_waiting:
        raise Overloaded(
            f"over {max_waiting:,} files would wait to be indexed; attach more when some are done", code="queue_full"
        )


def _counts(rows: sa.Connection, store_ids: Collection[str], *where: sa.ColumnElement[bool]) -> dict[str, Counter[str]]:
    query = (
        sa.select(STORE_FILES.c.store_id, STORE_FILES.c.status, sa.func.count())
        .where(STORE_FILES.c.store_id.in_(store_ids), _PRESENT, *where)
        .group_by(STORE_FILES.c.store_id, STORE_FILES.c.status)
    )
    counts: dict[str, Counter[str]] = {store_id: Counter() for store_id in store_ids}
    for store_id, status, number in rows.execute(query):
        counts[store_id][status] = number
    return counts


def _is_member(batch_id: str) -> sa.ColumnElement[bool]:
    return STORE_FILES.c.id.in_(sa.select(BATCH_FILES.c.file_id).where(BATCH_FILES.c.batch_id == batch_id))


def _find_store(rows: sa.Connection, store_id: str) -> StoredStore | None:
    row = rows.execute(sa.select(STORES).where(STORES.c.id == store_id, ~STORES.c.is_deleting)).one_or_none()
    return read_row(StoredStore, row) if row is not None else None


def _get_batch(rows: sa.Connection, store_id: str, batch_id: str) -> StoredBatch:
    query = sa.select(BATCHES).where(BATCHES.c.id == batch_id, BATCHES.c.store_id == store_id)
    row = rows.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"no file batch {batch_id!r} in {store_id!r}", code="file_batch_not_found")
    return read_row(StoredBatch, row)
