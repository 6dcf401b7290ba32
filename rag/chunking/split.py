"""Documents cut into pieces that fit an embedder: `split_documents(documents, settings, embedder.count_tokens)`."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterable

from rag.chunking.chunk import Chunk, ChunkSettings
from rag.documents.document import Document

# Tried in this order, so that a cut falls between paragraphs, lines, sentences, words, and only then inside a word.
_SEPARATORS = ["\n\n", "\n", ". ", "? ", "! ", " ", ""]
# A tokenizer may count a long unbroken run (base64, a 5 MB line) as one unknown token; no language comes near this.
_MAX_CHARS_PER_TOKEN = 16


def split_documents(
    documents: Iterable[Document], settings: ChunkSettings, count_tokens: Callable[[str], int]
) -> list[Chunk]:
    """The documents' chunks, in order; a document that fits is one chunk, a blank one none."""
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    # The splitter asks for the same short pieces over and over.
    @functools.lru_cache(maxsize=100_000)
    def length(text: str) -> int:
        return max(count_tokens(text), len(text) // _MAX_CHARS_PER_TOKEN)

    splitter = RecursiveCharacterTextSplitter(
        separators=_SEPARATORS,
        keep_separator="end",
        chunk_size=settings.chunk_tokens,
        chunk_overlap=settings.overlap_tokens,
        length_function=length,
    )
    chunks = []
    for document in documents:
        text = document.text.strip()
        pieces = [text] if text and length(text) <= settings.chunk_tokens else splitter.split_text(text)
        for position, piece in enumerate(pieces):
            chunks.append(
                Chunk(
                    id=_chunk_id(document, position, piece),
                    document_id=document.id,
                    title=document.title,
                    text=piece,
                    position=position,
                    metadata=document.metadata,
                )
            )
    return chunks


def _chunk_id(document: Document, position: int, text: str) -> str:
    content = json.dumps([document.id, position, document.title, text], ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()[:32]
