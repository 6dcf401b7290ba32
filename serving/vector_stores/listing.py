"""The files of a vector store as one list: those attached over HTTP, and the documents that its index got elsewhere.

list_files(store, page, rows, index, dimension)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rag.index import Index
from rag.search.filters import kind_of
from serving.errors import Invalid
from serving.http.pages import Page, PageOfRows
from serving.vector_stores.request import MAX_ATTRIBUTES, MAX_KEY_CHARS, MAX_VALUE_CHARS
from serving.vector_stores.rows import Attributes, StoredStore, StoreFile, StoreRows

# Documents are read from the index in parts of this size until a page is full.
_PART = 1_000
_VECTOR_ITEM_BYTES = 4


def list_files(store: StoredStore, page: Page, rows: StoreRows, index: Index | None, dimension: int) -> PageOfRows:
    """A page of StoreFiles. Documents that were not attached count as the oldest, all of one age, ordered by id.

    Raises Invalid for a cursor that names nothing, or reads backwards among such documents.
    """
    others = _Others(store, rows, index, dimension)
    if page.filters.get("filter", "completed") != "completed" or others.is_empty():
        return rows.files(store.id, page)
    is_row = page.after is not None and rows.find_file(store.id, page.after) is not None
    if page.before is not None:
        if rows.find_file(store.id, page.before) is None and others.has(page.before):
            raise Invalid("before cannot name a document that was not attached; use after", param="before")
        return rows.files(store.id, page)
    if page.order == "asc":
        if is_row:
            return rows.files(store.id, page)
        first = others.page(page.after, page.limit)
        if first.has_more:
            return first
        rest = replace(page, after=None, limit=_room(page, first))
        return _joined(first, rows.files(store.id, rest), page.limit)
    if page.after is not None and not is_row:
        return others.page(page.after, page.limit)
    first = rows.files(store.id, page)
    return first if first.has_more else _joined(first, others.page(None, _room(page, first)), page.limit)


def store_file_of(
    store: StoredStore, document_id: str, metadata: Mapping[str, object], *, num_chunks: int, dimension: int
) -> StoreFile:
    """A document that was not attached, as a file of the store."""
    return StoreFile(
        id=document_id,
        store_id=store.id,
        created_at=store.created_at,
        status="completed",
        last_error=None,
        attributes=attributes_of(metadata),
        usage_bytes=vector_bytes(num_chunks, dimension),
    )


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


class _Others:
    """The documents of an index that no row of the store speaks of."""

    def __init__(self, store: StoredStore, rows: StoreRows, index: Index | None, dimension: int) -> None:
        self._store = store
        self._rows = rows
        self._index = index
        self._dimension = dimension

    def is_empty(self) -> bool:
        """Whether there are none, as far as numbers can tell: most stores are filled over HTTP alone."""
        if self._index is None:
            return True
        return self._index.num_documents <= self._rows.counts([self._store.id])[self._store.id]["completed"]

    def has(self, document_id: str) -> bool:
        return self._index is not None and self._index.document(document_id) is not None

    def page(self, after: str | None, limit: int) -> PageOfRows:
        if after is not None and not self.has(after):
            raise Invalid(f"after names nothing in this list: {after!r}", param="after")
        found: list[StoreFile] = []
        while self._index is not None and len(found) <= limit:
            part = self._index.documents(limit=_PART, after=after)
            attached = self._rows.known_files(self._store.id, [entry.id for entry in part])
            found += [
                store_file_of(
                    self._store, entry.id, entry.metadata, num_chunks=entry.num_chunks, dimension=self._dimension
                )
                for entry in part
                if entry.id not in attached
            ]
            if len(part) < _PART:
                break
            after = part[-1].id
        return PageOfRows(rows=found[:limit], has_more=len(found) > limit)


def _room(page: Page, first: PageOfRows) -> int:
    """What the page still holds; at least 1, as a row too many says that there are more."""
    return max(1, page.limit - len(first.rows))


def _joined(first: PageOfRows, rest: PageOfRows, limit: int) -> PageOfRows:
    rows = [*first.rows, *rest.rows]
    return PageOfRows(rows=rows[:limit], has_more=rest.has_more or len(rows) > limit)
