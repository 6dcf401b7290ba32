"""A chunk, how chunks are cut, and what is embedded for one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rag.errors import RagError


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stored piece of a document. `id` is a hash of its document's id, its position, title and text.

    `text` is the document's text from the offset `start`, in characters, to `end`. `page` counts from 1, None if the
    document has no pages; `headings` are those it stands under, outermost first. `context` is the range of the
    document's text that a search gives in place of the chunk (its parent), None for the chunk itself.
    """

    id: str
    document_id: str
    title: str
    text: str
    position: int
    metadata: Mapping[str, object] = field(default_factory=dict)
    source: str = ""
    start: int = 0
    page: int | None = None
    headings: tuple[str, ...] = ()
    context: tuple[int, int] | None = None

    @property
    def end(self) -> int:
        """Offset in the document's text behind the chunk's last character."""
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class ChunkSettings:
    """How long a chunk may be and how much of it the next one repeats, in tokens of the embedder."""

    chunk_tokens: int = 160
    overlap_tokens: int = 20

    def __post_init__(self) -> None:
        if self.chunk_tokens < 1:
            raise RagError(f"chunk_tokens must be at least 1, not {self.chunk_tokens!r}")
        if not 0 <= self.overlap_tokens < self.chunk_tokens:
            raise RagError(
                f"overlap_tokens must be from 0 to chunk_tokens - 1, not {self.overlap_tokens!r} of {self.chunk_tokens}"
            )


def embedding_text(chunk: Chunk) -> str:
    """What is embedded for a chunk: its text, under the title where the text does not already say it."""
    if not chunk.title or chunk.title.casefold() in chunk.text.casefold():
        return chunk.text
    return f"{chunk.title}\n{chunk.text}"
