"""The files of a vector store as one list: those attached over HTTP, and the documents that its index got elsewhere.

list_files(store, page, rows, index)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from typing import Annotated

from pydantic import Field

from rag.index import DocumentEntry, Index
from rag.search.filters import kind_of
from serving.errors import Invalid
from serving.http.pages import PageOfRows, TwoWayPage
from serving.vector_stores.request import MAX_ATTRIBUTES, MAX_KEY_CHARS, MAX_VALUE_CHARS
from serving.vector_stores.rows import Attributes, StoredStore, StoreFile, StoreRows
from serving.vector_stores.schema import Status

# Documents are read from the index in parts of this size until a page is full.
_PART = 1_000
_VECTOR_ITEM_BYTES = 4


class FilePage(TwoWayPage):
    """The query parameters of a list of files in a vector store."""

    status: Annotated[Status | None, Field(alias="filter")] = None


def list_files(store: StoredStore, page: FilePage, rows: StoreRows, index: Index | None) -> PageOfRows:
    """A page of StoreFiles. Documents that were not attached count as the oldest, all of one age, ordered by id.

    Raises Invalid for a cursor that names nothing, or reads backwards among such documents.
    """
    # Most stores are filled over HTTP alone, as far as numbers can tell.
    num_attached = rows.counts([store.id])[store.id]["completed"]
    if index is None or page.status not in (None, "completed") or index.num_documents <= num_attached:
        return rows.files(store.id, page)
    if page.before:
        if rows.find_file(store.id, page.before) is None and index.document(page.before) is not None:
            raise Invalid("before cannot name a document that was not attached; use after", param="before")
        return rows.files(store.id, page)

    def attached(after: str | None) -> Iterator[StoreFile]:
        yield from rows.files(store.id, page.model_copy(update={"after": after, "limit": page.limit + 1})).rows

    def others(after: str | None) -> Iterator[StoreFile]:
        if after and index.document(after) is None:
            raise Invalid(f"after names nothing in this list: {after!r}", param="after")
        while part := index.documents(limit=_PART, after=after):
            known = rows.known(store.id, [entry.id for entry in part])
            for entry in part:
                if entry.id not in known:
                    yield unattached(store, entry.id)
            after = part[-1].id

    parts = [attached, others] if page.order == "desc" else [others, attached]
    if page.after and (parts[0] is attached) != (rows.find_file(store.id, page.after) is not None):
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
