"""A chunk, how chunks are cut, and what is embedded for one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rag.errors import RagError
from storage.settings import Count, Whole, settings

Strategy = Literal["tokens", "structure", "parent_child"]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stored piece of a document. `id` is a hash of its document's id, its position, title, headings and text.

    `text` is the document's text from the offset `start`, in characters, to `end`. `page` counts from 1, None if the
    document has no pages; `headings` are those it stands under, outermost first, and the columns of a table that it
    begins within. `context` is the range of the document's text that a search gives in place of the chunk (its parent),
    None for the chunk itself.
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


@settings(RagError)
class ChunkSettings:
    """How documents are cut. All lengths are in tokens of the index's embedder, not of a language model.

    docs/experiments/retrieval measures the defaults against others.
    """

    chunk_tokens: Count = 120
    """The most a chunk holds, title and headings not counted."""
    overlap_tokens: Whole = 20
    """A chunk begins with up to so many tokens of the one before; less than `chunk_tokens`."""
    strategy: Strategy = "structure"
    """`tokens` cuts between paragraphs, lines, sentences and words, in this order of preference; `structure` also keeps
    to Markdown's sections, tables and code; `parent_child` cuts windows by structure and chunks inside them, and a
    search gives the window in place of the chunk."""
    parent_tokens: Count = 240
    """The most such a window holds."""

    def __post_init__(self) -> None:
        if self.overlap_tokens >= self.chunk_tokens:
            raise ValueError(
                f"overlap_tokens must be from 0 to chunk_tokens - 1, not {self.overlap_tokens!r} of {self.chunk_tokens}"
            )
        if self.strategy == "parent_child" and self.parent_tokens < self.chunk_tokens:
            raise ValueError(
                f"parent_tokens must be at least chunk_tokens ({self.chunk_tokens}), not {self.parent_tokens!r}"
            )


def warn_long(settings: ChunkSettings, max_tokens: int | None) -> str | None:
    """A warning if chunks may be longer than what the embedder reads of a text (None: no limit), else None."""
    if max_tokens is None or settings.chunk_tokens <= max_tokens:
        return None
    return (
        f"chunk_tokens is {settings.chunk_tokens}, but the embedder reads only the first {max_tokens} tokens of a "
        f"chunk: dense search does not see the rest; set chunk_tokens to less than {max_tokens}"
    )


def embedding_text(chunk: Chunk) -> str:
    """What is embedded for a chunk: its text, under title and headings where the text does not already say them."""
    said = chunk.text.casefold()
    above = []
    for name in (chunk.title, *chunk.headings):
        if name and name.casefold() not in said:
            above.append(name)
            said += f"\n{name.casefold()}"
    return "\n".join((*above, chunk.text))
