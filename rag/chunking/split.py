"""Documents cut into pieces that fit an embedder: `split_documents(documents, settings, embedder.token_spans)`."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from rag.chunking.chunk import Chunk, ChunkSettings
from rag.chunking.outline import Outline, has_hash_heading, read_outline
from rag.chunking.packing import Range, pack
from rag.chunking.sections import Sections
from rag.chunking.tokens import Tokens, TokenSpans, tokenise
from rag.documents.document import Document


def split_documents(documents: Iterable[Document], settings: ChunkSettings, token_spans: TokenSpans) -> list[Chunk]:
    """The documents' chunks, in order, each a slice of its document's text; none begins or ends with white space.

    A document that fits is one chunk, a blank one none; together the chunks hold all of a text but white space.
    """
    documents = list(documents)
    chunks: list[Chunk] = []
    for document, tokens in zip(
        documents, tokenise((document.text for document in documents), token_spans), strict=True
    ):
        chunks.extend(_split(document, tokens, settings))
    return chunks


def _split(document: Document, tokens: Tokens, settings: ChunkSettings) -> Iterator[Chunk]:
    text = document.text
    by_structure = settings.strategy != "tokens"
    outline = read_outline(text) if by_structure or has_hash_heading(text) else None
    for position, ((start, end), context) in enumerate(_ranges(text, tokens, settings, outline)):
        headings = outline.headings((start, end)) if outline else ()
        yield Chunk(
            id=_chunk_id(document, position, headings, text[start:end]),
            document_id=document.id,
            title=document.title,
            text=text[start:end],
            position=position,
            metadata=document.metadata,
            source=document.source,
            start=start,
            page=max(1, bisect_right(document.pages, start)) if document.pages else None,
            headings=headings,
            context=context,
        )


def _ranges(
    text: str, tokens: Tokens, settings: ChunkSettings, outline: Outline | None
) -> Iterator[tuple[Range, Range | None]]:
    """The chunks' ranges in order, each with its context."""
    whole, limit, overlap = (0, len(text)), settings.chunk_tokens, settings.overlap_tokens
    if outline is None or settings.strategy == "tokens":
        for chunk in pack(text, tokens, whole, limit, overlap=overlap):
            yield chunk, None
        return
    chunks = Sections(text, tokens, outline, limit)
    if settings.strategy == "structure":
        for chunk in chunks.pack(whole, overlap):
            yield chunk, None
        return
    for parent in Sections(text, tokens, outline, settings.parent_tokens).pack(whole, 0):
        for chunk in chunks.pack(parent, overlap):
            yield chunk, parent


def _chunk_id(document: Document, position: int, headings: tuple[str, ...], text: str) -> str:
    content = json.dumps([document.id, position, document.title, text, *headings], ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()[:32]
