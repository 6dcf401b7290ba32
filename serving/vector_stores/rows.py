"""The rows of uploaded files and of vector stores: which files stand in which, how far their indexing is, and batches.

find_file(database, "vs_1", "file-1").status
list_files(database, store, page, index)      also the documents that its index got elsewhere
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from typing import Annotated, Any, Literal, get_args

import sqlalchemy as sa
from pydantic import Field

from rag.index import DocumentEntry, Index
from rag.search.filters import kind_of
from serving.errors import Conflict, Invalid, NotFound, Overloaded, Refused
from serving.http.pages import Page, PageOfRows, TwoWayPage, select_page
from storage.database import Database
from storage.tables import NUMBER, TABLES, read_row

Status = Literal["in_progress", "completed", "failed", "cancelled"]
STATUSES: tuple[Status, ...] = get_args(Status)
# What is being deleted is hidden at once, and its row stays until the index and the disk have followed.
DELETING = "deleting"

FILES = sa.Table(
    "files",
    TABLES,
    sa.Column("sequence", NUMBER, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("filename", sa.Text, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("num_bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("is_deleting", sa.Boolean, nullable=False, default=False),
    # The data directory that its bytes lie in.
    sa.Column("home", sa.Text),
)
STORES = sa.Table(
    "vector_stores",
    TABLES,
    sa.Column("sequence", NUMBER, primary_key=True),
    # The name of its index.
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("last_active_at", sa.BigInteger, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("metadata", sa.JSON),
    # None until it is chosen, at the latest by the first file.
    sa.Column("chunking", sa.JSON(none_as_null=True)),
    # Made over HTTP, so that it exists before its index does.
    sa.Column("is_own", sa.Boolean, nullable=False),
    sa.Column("is_deleting", sa.Boolean, nullable=False, default=False),
)
STORE_FILES = sa.Table(
    "vector_store_files",
    TABLES,
    sa.Column("sequence", NUMBER, primary_key=True),
    sa.Column("store_id", sa.ForeignKey(STORES.c.id, ondelete="CASCADE"), nullable=False),
    # The file's id; it is the document's id in the index, too.
    sa.Column("id", sa.ForeignKey(FILES.c.id), nullable=False, index=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("status", sa.Text, nullable=False, index=True),
    sa.Column("last_error", sa.JSON),
    # What it comes into the index with; of a file that is there the index's hold.
    sa.Column("attributes", sa.JSON, nullable=False),
    # How often its indexing broke off.
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.UniqueConstraint("store_id", "id"),
)
BATCHES = sa.Table(
    "file_batches",
    TABLES,
    sa.Column("sequence", NUMBER, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("store_id", sa.ForeignKey(STORES.c.id, ondelete="CASCADE"), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("is_cancelled", sa.Boolean, nullable=False, default=False),
)
BATCH_FILES = sa.Table(
    "file_batch_files",
    TABLES,
    sa.Column("batch_id", sa.ForeignKey(BATCHES.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("file_id", sa.Text, primary_key=True),
)

Attributes = Mapping[str, str | float | bool]

MAX_ATTRIBUTES, MAX_KEY_CHARS, MAX_VALUE_CHARS = 16, 64, 512
# Documents are read from the index in parts of this size until a page is full.
_PART = 1_000
_VECTOR_ITEM_BYTES = 4

# What a file was uploaded for says whether passages of it may be shown: gold answers never.
_SEARCHABLE = ("assistants", "user_data")
PRESENT = STORE_FILES.c.status != DELETING
IN_PROGRESS = STORE_FILES.c.status == "in_progress"


# A row of STORES; its id is the name of its index. `chunking` is None until the first file decides it.
StoredStore = sa.Row[Any]


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


def find_store(rows: sa.Connection, store_id: str) -> StoredStore | None:
    """The store, None if there is none."""
    return rows.execute(sa.select(STORES).where(STORES.c.id == store_id, ~STORES.c.is_deleting)).one_or_none()


def known_files(database: Database, store_id: str, file_ids: Collection[str]) -> dict[str, StoreFile]:
    """Those of the files that have a row in the store, by id; the status of one being deleted is DELETING."""
    with database.read() as rows:
        found = rows.execute(sa.select(STORE_FILES).where(*among(store_id, file_ids)))
        return {row.id: read_row(StoreFile, row) for row in found}


def find_file(database: Database, store_id: str, file_id: str) -> StoreFile | None:
    """The file as it stands in the store, None if it does not."""
    found = known_files(database, store_id, [file_id]).get(file_id)
    return found if found is not None and found.status != DELETING else None


def select_files(database: Database, store_id: str, page: Page, *where: sa.ColumnElement[bool]) -> PageOfRows:
    """A page of a store's StoreFiles."""
    this = (STORE_FILES.c.store_id == store_id, PRESENT, *where)
    return select_page(database, STORE_FILES, page, *this, read=partial(read_row, StoreFile))


def count_files(database: Database, store_id: str, *where: sa.ColumnElement[bool]) -> Counter[str]:
    """The number of a store's files by status."""
    this = (STORE_FILES.c.store_id == store_id, PRESENT, *where)
    query = sa.select(STORE_FILES.c.status, sa.func.count()).where(*this).group_by(STORE_FILES.c.status)
    with database.read() as rows:
        return Counter(dict(rows.execute(query).tuples().all()))


def get_batch(database: Database, store_id: str, batch_id: str) -> sa.Row[Any]:
    """A row of BATCHES: files that were attached together. Raises NotFound."""
    query = sa.select(BATCHES).where(BATCHES.c.id == batch_id, BATCHES.c.store_id == store_id)
    with database.read() as rows:
        row = rows.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"no file batch {batch_id!r} in {store_id!r}", code="file_batch_not_found")
    return row


def is_member(batch_id: str) -> sa.ColumnElement[bool]:
    """Of a row of STORE_FILES: whether it is of a batch."""
    return STORE_FILES.c.id.in_(sa.select(BATCH_FILES.c.file_id).where(BATCH_FILES.c.batch_id == batch_id))


def attach_files(
    rows: sa.Connection,
    store_id: str,
    files: Mapping[str, Attributes],
    *,
    chunking: Mapping[str, Any],
    max_waiting: int,
    lost: Collection[str] = (),
) -> None:
    """The files wait to be indexed, unless they are already and not `lost`; those keep the attributes they have.

    `chunking` becomes the store's if it has none. Raises NotFound, Conflict for a file that is being deleted, Invalid
    for one that may not be searched, and Overloaded when more than `max_waiting` files wait.
    """
    if (store := find_store(rows, store_id)) is None:
        raise no_store(store_id)
    query = sa.select(FILES.c.id, FILES.c.purpose).where(FILES.c.id.in_(files), ~FILES.c.is_deleting)
    purposes = {row.id: row.purpose for row in rows.execute(query)}
    for file_id in files:
        if file_id not in purposes:
            raise no_file(file_id, param="file_id")
        if purposes[file_id] not in _SEARCHABLE:
            raise Invalid(
                f"file {file_id!r} was uploaded with purpose {purposes[file_id]!r}; upload it again with one of "
                f"{', '.join(_SEARCHABLE)}",
                param="file_id",
            )
    if rows.execute(sa.select(sa.func.count()).where(IN_PROGRESS)).scalar_one() + len(files) > max_waiting:
        raise Overloaded(
            f"over {max_waiting:,} files would wait to be indexed; attach more when some are done", code="queue_full"
        )
    active = {"last_active_at": int(time.time()), "chunking": store.chunking or chunking}
    rows.execute(STORES.update().where(STORES.c.id == store_id).values(active))
    for file_id, attributes in files.items():
        _attach(rows, store_id, file_id, attributes, is_lost=file_id in lost)


class FilePage(TwoWayPage):
    """The query parameters of a list of files in a vector store."""

    status: Annotated[Status | None, Field(alias="filter")] = None


def list_files(database: Database, store: StoredStore, page: FilePage, index: Index | None) -> PageOfRows:
    """A page of StoreFiles. Documents that were not attached count as the oldest, all of one age, ordered by id.

    Raises Invalid for a cursor that names nothing, or reads backwards among such documents.
    """
    # Most stores are filled over HTTP alone, as far as numbers can tell.
    num_attached = count_files(database, store.id)["completed"]
    if index is None or page.status not in (None, "completed") or index.state.num_documents <= num_attached:
        return select_files(database, store.id, page)
    if page.before:
        if find_file(database, store.id, page.before) is None and index.document(page.before) is not None:
            raise Invalid("before cannot name a document that was not attached; use after", param="before")
        return select_files(database, store.id, page)

    def attached(after: str | None) -> Iterator[StoreFile]:
        more = page.model_copy(update={"after": after, "limit": page.limit + 1})
        yield from select_files(database, store.id, more).rows

    def others(after: str | None) -> Iterator[StoreFile]:
        if after and index.document(after) is None:
            raise Invalid(f"after names nothing in this list: {after!r}", param="after")
        while part := index.documents(limit=_PART, after=after):
            known = known_files(database, store.id, [entry.id for entry in part])
            for entry in part:
                if entry.id not in known:
                    yield unattached(store, entry.id)
            after = part[-1].id

    parts = [attached, others] if page.order == "desc" else [others, attached]
    if page.after and (parts[0] is attached) != (find_file(database, store.id, page.after) is not None):
        del parts[0]
    files = chain(parts[0](page.after), *(part(None) for part in parts[1:]))
    found = list(islice(files, page.limit + 1))
    return PageOfRows(rows=found[: page.limit], has_more=len(found) > page.limit)


def unattached(store: StoredStore, document_id: str) -> StoreFile:
    """A document that was not attached, as a file of the store."""
    return StoreFile(document_id, store.id, store.created_at, "completed", None, {})


def as_indexed(file: StoreFile, entry: DocumentEntry, dimension: int) -> StoreFile:
    """A file with what the index holds of it."""
    usage_bytes = vector_bytes(entry.num_chunks, dimension)
    return replace(file, attributes=attributes_of(entry.metadata), usage_bytes=usage_bytes)


def attributes_of(metadata: Mapping[str, object]) -> Attributes:
    """What of a document's metadata is an attribute: texts, numbers and booleans, within OpenAI's limits."""
    found: dict[str, str | float | bool] = {}
    for key, value in metadata.items():
        if len(found) < MAX_ATTRIBUTES and 1 <= len(key) <= MAX_KEY_CHARS and kind_of(value) is not None:
            found[key] = value[:MAX_VALUE_CHARS] if isinstance(value, str) else value  # type: ignore[assignment]
    return found


def vector_bytes(num_chunks: int, dimension: int) -> int:
    """What the vectors of chunks take."""
    return num_chunks * dimension * _VECTOR_ITEM_BYTES


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


def _attach(rows: sa.Connection, store_id: str, file_id: str, attributes: Attributes, *, is_lost: bool) -> None:
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
        "created_at": int(time.time()),
        "status": "in_progress",
        "last_error": None,
        "attributes": attributes,
        "attempts": 0,
    }
    if present is None:
        rows.execute(STORE_FILES.insert().values(store_id=store_id, id=file_id, **waiting))
    else:
        rows.execute(STORE_FILES.update().where(*where).values(waiting))
