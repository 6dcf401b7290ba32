"""The rows of documents and of the attributes that filters compare: `insert(rows, index_id, documents)`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa

from rag.chunking.chunk import Chunk
from rag.documents.document import Document, content_hash
from rag.errors import RagError
from rag.search.filters import MAX_CHARS, kind_of
from rag.store.indexes import Tally
from rag.store.schema import ATTRIBUTES, BATCH, CHUNKS, DOCUMENTS, TOMBSTONES, VARIABLES, VECTORS, parts
from storage.tables import values_of

_COMPARED = sa.select(DOCUMENTS.c.id, DOCUMENTS.c.origin, DOCUMENTS.c.content_hash)
_WHOLE = sa.select(DOCUMENTS).execution_options(yield_per=100)


@dataclass(frozen=True, slots=True)
class DocumentEntry:
    """A document as a list shows it. `origin` names what it was synced from, '' if that has no name."""

    id: str
    title: str
    source: str
    num_chunks: int
    num_chars: int
    origin: str
    metadata: Mapping[str, object]
    content_hash: str


_ENTRIES = sa.select(*(DOCUMENTS.c[field.name] for field in fields(DocumentEntry)))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document that is ready to be stored, with its chunks."""

    document: Document
    content_hash: str
    chunks: Sequence[Chunk]


@dataclass(frozen=True, slots=True)
class Present:
    """What a comparison needs of a stored document."""

    origin: str
    content_hash: str


def insert(rows: sa.Connection, index_id: int, documents: Iterable[Prepared], wanted: Mapping[str, Present]) -> Tally:
    """Adds documents without their chunks; gives what they count, without seconds."""
    tally = Tally()
    for part in parts(documents, BATCH):
        values, attributes = [], []
        for entry in part:
            document = entry.document
            # A repair that was not ended has left no hash of the stored content.
            hashed = entry.content_hash or content_hash(document)
            digest = digest_of(document.id, hashed, [chunk.id for chunk in entry.chunks])
            tally += Tally(1, len(entry.chunks), 0.0, int(digest, 16))
            values.append(
                {
                    **values_of(document),
                    "index_id": index_id,
                    "origin": wanted[document.id].origin,
                    "content_hash": hashed,
                    "digest": digest,
                    "num_chunks": len(entry.chunks),
                    "num_chars": len(document.text),
                    "pages": json.dumps(document.pages),
                    "metadata": json.dumps(dict(document.metadata), ensure_ascii=False),
                }
            )
            attributes += _attributes(index_id, document)
        rows.execute(DOCUMENTS.insert(), values)
        if attributes:
            rows.execute(ATTRIBUTES.insert(), attributes)
    return tally


def delete(rows: sa.Connection, index_id: int, document_ids: Iterable[str], generation: int) -> Tally:
    """Removes documents with all that belongs to them, as of `generation`; gives what they counted."""
    tally = Tally()
    for part in parts(document_ids, VARIABLES):
        chosen = sa.and_(DOCUMENTS.c.index_id == index_id, DOCUMENTS.c.id.in_(part))
        cut = sa.and_(CHUNKS.c.index_id == index_id, CHUNKS.c.document_id.in_(part))
        tally += count(rows, chosen, cut)
        gone = sa.select(sa.literal(index_id), sa.literal(generation), CHUNKS.c.number).where(cut)
        rows.execute(TOMBSTONES.insert().from_select(["index_id", "generation", "number"], gone))
        rows.execute(DOCUMENTS.delete().where(chosen))
    return tally


def count(rows: sa.Connection, of_documents: sa.ColumnElement[bool], of_chunks: sa.ColumnElement[bool]) -> Tally:
    """What stored documents, and the chunks that were cut of them, amount to."""
    seconds = sa.select(sa.func.coalesce(sa.func.sum(VECTORS.c.embed_s), 0.0)).join_from(
        CHUNKS, VECTORS, VECTORS.c.number == CHUNKS.c.number
    )
    tally = Tally(indexing_s=rows.execute(seconds.where(of_chunks)).scalar_one())
    for row in rows.execute(sa.select(DOCUMENTS.c.digest, DOCUMENTS.c.num_chunks).where(of_documents)):
        tally += Tally(1, row.num_chunks, 0.0, _value(row.digest))
    return tally


def present(rows: sa.Connection, index_id: int, document_ids: Iterable[str]) -> dict[str, Present]:
    """Those of the documents that are stored, by id."""
    # The last column is in the key's row only: for the others SQLite would read documents_by_origin from end to end.
    query = _COMPARED.add_columns(DOCUMENTS.c.num_chunks)
    return {row.id: Present(row.origin, row.content_hash) for row in _of(rows, index_id, document_ids, query)}


def present_of_origin(rows: sa.Connection, index_id: int, origin: str | None) -> dict[str, Present]:
    """The stored documents of an origin, or of all for None, by id."""
    query = _COMPARED.where(DOCUMENTS.c.index_id == index_id)
    found = rows.execute(query if origin is None else query.where(DOCUMENTS.c.origin == origin))
    return {row.id: Present(row.origin, row.content_hash) for row in found}


def adopt(rows: sa.Connection, index_id: int, document_ids: Sequence[str], origin: str) -> None:
    """Makes the documents those of another origin."""
    for part in parts(document_ids, VARIABLES):
        chosen = sa.and_(DOCUMENTS.c.index_id == index_id, DOCUMENTS.c.id.in_(part))
        rows.execute(DOCUMENTS.update().where(chosen).values(origin=origin))


def load(rows: sa.Connection, index_id: int, document_ids: Iterable[str]) -> Iterator[Document]:
    """Those of the documents that are stored, whole."""
    return map(_document, _of(rows, index_id, document_ids, _WHOLE))


def stream(rows: sa.Connection, index_id: int) -> Iterator[Document]:
    """Every document, whole, in the order of their ids."""
    return map(_document, rows.execute(_WHOLE.where(DOCUMENTS.c.index_id == index_id).order_by(DOCUMENTS.c.id)))


def entries(rows: sa.Connection, index_id: int, *, limit: int | None, after: str | None) -> list[DocumentEntry]:
    """Up to `limit` documents by id, None for all, those behind the id `after`."""
    query = _ENTRIES.where(DOCUMENTS.c.index_id == index_id).order_by(DOCUMENTS.c.id).limit(limit)
    return [_entry(row) for row in rows.execute(query if after is None else query.where(DOCUMENTS.c.id > after))]


def entries_of(rows: sa.Connection, index_id: int, document_ids: Iterable[str]) -> dict[str, DocumentEntry]:
    """Those of the documents that are stored, by id."""
    return {row.id: _entry(row) for row in _of(rows, index_id, document_ids, _ENTRIES)}


def slice_of(rows: sa.Connection, index_id: int, document_id: str, start: int, end: int) -> str:
    """The document's text from the offset `start` to `end`, in characters."""
    query = sa.select(sa.func.substr(DOCUMENTS.c.text, start + 1, end - start))
    return rows.execute(query.where(DOCUMENTS.c.index_id == index_id, DOCUMENTS.c.id == document_id)).scalar_one() or ""


def pages_of(rows: sa.Connection, index_id: int, document_ids: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Where the documents' pages begin, by document id."""
    query = sa.select(DOCUMENTS.c.id, DOCUMENTS.c.pages)
    return {row.id: tuple(json.loads(row.pages)) for row in _of(rows, index_id, document_ids, query)}


def replace_metadata(rows: sa.Connection, index_id: int, document: Document, chunk_ids: Sequence[str]) -> Tally:
    """Stores the metadata that the document has now; gives the difference that it makes."""
    key = sa.and_(DOCUMENTS.c.index_id == index_id, DOCUMENTS.c.id == document.id)
    before = rows.execute(sa.select(DOCUMENTS.c.digest, DOCUMENTS.c.content_hash).where(key)).one()
    hashed = content_hash(document)
    if not before.content_hash:
        hashed = ""  # Its repair was begun and not ended, which this does not do.
    digest = digest_of(document.id, hashed, chunk_ids)
    metadata = json.dumps(dict(document.metadata), ensure_ascii=False)
    rows.execute(DOCUMENTS.update().where(key).values(metadata=metadata, content_hash=hashed, digest=digest))
    rows.execute(ATTRIBUTES.delete().where(ATTRIBUTES.c.index_id == index_id, ATTRIBUTES.c.document_id == document.id))
    if attributes := _attributes(index_id, document):
        rows.execute(ATTRIBUTES.insert(), attributes)
    return Tally(content_sum=int(digest, 16) - _value(before.digest))


def digest_of(document_id: str, content_hash: str, chunk_ids: Sequence[str]) -> str:
    """Hash (hex) of a document and what it was cut into, of which an index's `content_sum` is the sum."""
    return hashlib.sha256(json.dumps([document_id, content_hash, list(chunk_ids)]).encode()).hexdigest()


def _of(rows: sa.Connection, index_id: int, document_ids: Iterable[str], query: sa.Select[Any]) -> Iterator[Any]:
    for part in parts(document_ids, VARIABLES):
        yield from rows.execute(query.where(DOCUMENTS.c.index_id == index_id, DOCUMENTS.c.id.in_(part)))


def _document(row: Any) -> Document:
    return Document(row.id, row.title, row.text, json.loads(row.metadata), row.source, tuple(json.loads(row.pages)))


def _entry(row: Any) -> DocumentEntry:
    return DocumentEntry(**{**row._mapping, "metadata": json.loads(row.metadata)})


def _value(digest: str) -> int:
    try:
        return int(digest, 16)
    except ValueError as error:
        raise RagError(
            f"the digest {digest!r} of a document is damaged; mend the index with: arbiter index verify NAME --repair"
        ) from error


def _attributes(index_id: int, document: Document) -> list[dict[str, object]]:
    """What filters see of the metadata. A text longer than any that a filter may hold may not fit an index."""
    values = dict(document.metadata)
    if document.source:
        values.setdefault("source", document.source)
    found: list[dict[str, object]] = []
    for key, value in values.items():
        kind = kind_of(value)
        if kind is None or len(key) > MAX_CHARS or (isinstance(value, str) and len(value) > MAX_CHARS):
            continue
        compared = {"text": value, "number": None} if kind == "text" else {"text": None, "number": float(value)}  # type: ignore[arg-type]
        found.append({"index_id": index_id, "document_id": document.id, "key": key, "kind": kind, **compared})
    return found
