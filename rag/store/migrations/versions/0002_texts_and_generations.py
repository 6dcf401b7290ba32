"""Documents keep their text; chunks get numbers, generations and places; vectors and attributes tables of their own.

The first version kept no text of a document. It is put together again from the chunks, without the words that two
neighbours share; the next sync from the documents themselves replaces it and embeds nothing anew.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

_OLD = {
    "indexes": "id name embedder chunk_tokens overlap_tokens generation num_documents num_chunks indexing_s",
    "documents": "index_id id title metadata content_hash",
    "chunks": "index_id document_id position id text text_hash vector embed_s",
    "pending_embeddings": "index_name embedder text_hash vector embed_s",
}
# What an overlap of two chunks is looked for in, in characters.
_LONGEST_OVERLAP = 4_000


def upgrade() -> None:
    rows = op.get_bind()
    op.drop_index("ix_chunks_text_hash", "chunks")
    for name in _OLD:
        op.rename_table(name, f"v1_{name}")
    new = _create_tables()
    old = {name: sa.table(f"v1_{name}", *map(sa.column, columns.split())) for name, columns in _OLD.items()}

    numbers = itertools.count(1)
    for index in rows.execute(sa.select(old["indexes"]).order_by(old["indexes"].c.id)).mappings().all():
        _copy_index(rows, old, new, index, numbers)
    rows.execute(new["numbers"].insert().values(next=next(numbers)))
    pending = old["pending_embeddings"]
    columns = ["index_name", "origin", "embedder", "text_hash", "embed_s", "vector"]
    kept = sa.select(
        pending.c.index_name,
        sa.literal(""),
        pending.c.embedder,
        pending.c.text_hash,
        pending.c.embed_s,
        pending.c.vector,
    )
    rows.execute(new["pending_embeddings"].insert().from_select(columns, kept))
    for name in reversed(list(_OLD)):
        op.drop_table(f"v1_{name}")
    op.execute("UPDATE rag_schema SET version = 2")


def _copy_index(rows: sa.Connection, old: Any, new: Any, index: Any, numbers: Iterator[int]) -> None:
    token = secrets.token_hex(8)
    rows.execute(
        new["indexes"]
        .insert()
        .values(
            name=index["name"],
            embedder=index["embedder"],
            settings=json.dumps({key: index[key] for key in ("chunk_tokens", "overlap_tokens")}),
            generation=index["generation"],
            token=token,
            content_sum="",
            num_documents=index["num_documents"],
            num_chunks=index["num_chunks"],
            indexing_s=index["indexing_s"],
        )
    )
    index_id = rows.execute(sa.select(new["indexes"].c.id).where(new["indexes"].c.name == index["name"])).scalar_one()
    rows.execute(new["generations"].insert().values(index_id=index_id, generation=index["generation"], token=token))
    documents, chunks = old["documents"], old["chunks"]
    query = sa.select(documents).where(documents.c.index_id == index["id"]).order_by(documents.c.id)
    content_sum = 0
    for document in rows.execute(query).mappings().all():
        pieces = (
            rows.execute(
                sa.select(chunks)
                .where(chunks.c.index_id == index["id"], chunks.c.document_id == document["id"])
                .order_by(chunks.c.position)
            )
            .mappings()
            .all()
        )
        digest = _digest(document["id"], document["content_hash"], [piece["id"] for piece in pieces])
        content_sum += int(digest, 16)
        _copy_document(rows, new, index_id, document, pieces, digest, index["generation"], numbers)
    total = f"{content_sum % 2**256:064x}"
    rows.execute(new["indexes"].update().where(new["indexes"].c.id == index_id).values(content_sum=total))


def _copy_document(
    rows: sa.Connection,
    new: Any,
    index_id: int,
    document: Any,
    pieces: Sequence[Any],
    digest: str,
    generation: int,
    numbers: Iterator[int],
) -> None:
    text, starts = _join([piece["text"] for piece in pieces])
    metadata = json.loads(document["metadata"])
    source = metadata.get("source")
    key = {"index_id": index_id, "document_id": document["id"]}
    rows.execute(
        new["documents"]
        .insert()
        .values(
            index_id=index_id,
            id=document["id"],
            origin="",
            content_hash=document["content_hash"],
            digest=digest,
            num_chunks=len(pieces),
            num_chars=len(text),
            title=document["title"],
            source=source if isinstance(source, str) else "",
            pages="[]",
            metadata=document["metadata"],
            text=text,
        )
    )
    attributes = [key | attribute for attribute in map(_attribute, metadata.items()) if attribute]
    if attributes:
        rows.execute(new["attributes"].insert(), attributes)
    given = list(itertools.islice(numbers, len(pieces)))
    if pieces:
        rows.execute(
            new["chunks"].insert(),
            [
                {
                    **key,
                    "number": number,
                    "position": piece["position"],
                    "generation": generation,
                    "id": piece["id"],
                    "text_hash": piece["text_hash"],
                    "start": start,
                    "headings": "[]",
                    "text": piece["text"],
                }
                for number, start, piece in zip(given, starts, pieces, strict=True)
            ],
        )
        rows.execute(
            new["vectors"].insert(),
            [
                {"number": number, "index_id": index_id, "embed_s": piece["embed_s"], "vector": piece["vector"]}
                for number, piece in zip(given, pieces, strict=True)
            ],
        )


def _join(pieces: Sequence[str]) -> tuple[str, list[int]]:
    """A text that holds every piece, and where each begins; what a piece repeats of the one before stands once."""
    text, starts = "", []
    for piece in pieces:
        longest = min(len(text), len(piece), _LONGEST_OVERLAP)
        shared = next((size for size in range(longest, 0, -1) if text.endswith(piece[:size])), 0)
        if text and not shared:
            text += "\n"
        starts.append(len(text) - shared)
        text += piece[shared:]
    return text, starts


def _digest(document_id: str, content_hash: str, chunk_ids: list[str]) -> str:
    return hashlib.sha256(json.dumps([document_id, content_hash, chunk_ids]).encode()).hexdigest()


def _attribute(item: tuple[str, object]) -> dict[str, object] | None:
    key, value = item
    if isinstance(value, str):
        return {"key": key, "kind": "text", "text": value, "number": None}
    if isinstance(value, bool):
        return {"key": key, "kind": "boolean", "text": None, "number": float(value)}
    if isinstance(value, int | float):
        return {"key": key, "kind": "number", "text": None, "number": float(value)}
    return None


def _create_tables() -> dict[str, sa.Table]:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    new: dict[str, sa.Table] = {}
    plain = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
    new["numbers"] = op.create_table("numbers", sa.Column("next", sa.BigInteger, nullable=False))
    new["indexes"] = op.create_table(
        "indexes",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", plain, nullable=False),
        sa.Column("embedder", sa.Text, nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("content_sum", sa.Text, nullable=False),
        sa.Column("num_documents", sa.BigInteger, nullable=False),
        sa.Column("num_chunks", sa.BigInteger, nullable=False),
        sa.Column("indexing_s", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_indexes"),
        sa.UniqueConstraint("name", name="uq_indexes"),
    )
    new["generations"] = op.create_table(
        "generations",
        sa.Column("index_id", sa.Integer, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("index_id", "generation", name="pk_generations"),
        sa.ForeignKeyConstraint(["index_id"], ["indexes.id"], name="fk_generations", ondelete="CASCADE"),
    )
    new["documents"] = op.create_table(
        "documents",
        sa.Column("index_id", sa.Integer, nullable=False),
        sa.Column("id", plain, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("num_chunks", sa.Integer, nullable=False),
        sa.Column("num_chars", sa.Integer, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("pages", sa.Text, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("index_id", "id", name="pk_documents"),
        sa.ForeignKeyConstraint(["index_id"], ["indexes.id"], name="fk_documents", ondelete="CASCADE"),
    )
    op.create_index("documents_by_origin", "documents", ["index_id", "origin", "id", "content_hash"])
    new["chunks"] = op.create_table(
        "chunks",
        sa.Column("number", number, nullable=False, autoincrement=False),
        sa.Column("index_id", sa.Integer, nullable=False),
        sa.Column("document_id", plain, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("text_hash", sa.Text, nullable=False),
        sa.Column("start", sa.Integer, nullable=False),
        sa.Column("page", sa.Integer),
        sa.Column("headings", sa.Text, nullable=False),
        sa.Column("context_start", sa.Integer),
        sa.Column("context_end", sa.Integer),
        sa.Column("text", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_chunks"),
        _of_document("fk_chunks"),
        sa.UniqueConstraint("index_id", "document_id", "position", name="uq_chunks"),
    )
    op.create_index("chunks_by_text_hash", "chunks", ["text_hash"])
    op.create_index("chunks_by_generation", "chunks", ["index_id", "generation"])
    new["vectors"] = op.create_table(
        "vectors",
        sa.Column("number", number, nullable=False, autoincrement=False),
        sa.Column("index_id", sa.Integer, nullable=False),
        sa.Column("embed_s", sa.Double, nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_vectors"),
        sa.ForeignKeyConstraint(["number"], ["chunks.number"], name="fk_vectors", ondelete="CASCADE"),
    )
    op.create_index("vectors_by_index", "vectors", ["index_id", "number"])
    op.create_table(
        "tombstones",
        sa.Column("index_id", sa.Integer, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("index_id", "generation", "number", name="pk_tombstones"),
        sa.ForeignKeyConstraint(["index_id"], ["indexes.id"], name="fk_tombstones", ondelete="CASCADE"),
    )
    new["attributes"] = op.create_table(
        "attributes",
        sa.Column("index_id", sa.Integer, nullable=False),
        sa.Column("document_id", plain, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("text", plain),
        sa.Column("number", sa.Double),
        sa.PrimaryKeyConstraint("index_id", "document_id", "key", name="pk_attributes"),
        _of_document("fk_attributes"),
    )
    for column in ("text", "number"):
        op.create_index(f"attributes_by_{column}", "attributes", ["index_id", "key", "kind", column, "document_id"])
    new["pending_embeddings"] = op.create_table(
        "pending_embeddings",
        sa.Column("index_name", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("embedder", sa.Text, nullable=False),
        sa.Column("text_hash", sa.Text, nullable=False),
        sa.Column("embed_s", sa.Double, nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("index_name", "origin", "embedder", "text_hash", name="pk_pending_embeddings"),
    )
    op.create_index("pending_by_text_hash", "pending_embeddings", ["text_hash"])
    op.create_table(
        "conversions",
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("used_at", sa.Double, nullable=False),
        sa.Column("pages", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_conversions"),
    )
    return new


def _of_document(name: str) -> sa.ForeignKeyConstraint:
    columns = ["documents.index_id", "documents.id"]
    return sa.ForeignKeyConstraint(["index_id", "document_id"], columns, name=name, ondelete="CASCADE")
