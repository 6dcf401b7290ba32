"""Documents cut into pieces that fit an embedder: `split_documents(documents, settings, embedder.token_spans)`."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rag.chunking.chunk import Chunk, ChunkSettings
from rag.chunking.outline import Outline, has_hash_heading, read_outline
from rag.chunking.packing import Range, pack
from rag.chunking.tokens import Tokens, TokenSpans, tokenise
from rag.documents.document import Document

# Headings down to this level open sections that a chunk does not leave.
_SECTION_LEVEL = 2
# A section of less than this part of a chunk has too little text to be found by, and joins its neighbour.
_SMALL_SECTION = 1 / 4


def split_documents(documents: Iterable[Document], settings: ChunkSettings, token_spans: TokenSpans) -> list[Chunk]:
    """The documents' chunks, in order, each a slice of its document's text; none begins or ends with white space.

    A document that fits is one chunk, a blank one none; together the chunks hold all of a text but white space.
    """
    return [chunk for document in documents for chunk in _split(document, settings, token_spans)]


def _split(document: Document, settings: ChunkSettings, token_spans: TokenSpans) -> Iterator[Chunk]:
    text = document.text
    tokens = tokenise(text, token_spans)
    by_structure = settings.strategy != "tokens"
    outline = read_outline(text) if by_structure or has_hash_heading(text) else None
    for position, ((start, end), context) in enumerate(_ranges(text, tokens, settings, outline)):
        headings = outline.headings((start, end)) if outline else ()
        content = json.dumps([document.id, position, document.title, text[start:end], *headings], ensure_ascii=False)
        yield Chunk(
            id=hashlib.sha256(content.encode()).hexdigest()[:32],
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
        yield from ((chunk, None) for chunk in pack(text, tokens, whole, limit, overlap=overlap))
        return
    chunks = _Sections(text, tokens, outline, limit)
    if settings.strategy == "structure":
        yield from ((chunk, None) for chunk in chunks.pack(whole, overlap))
        return
    for parent in _Sections(text, tokens, outline, settings.parent_tokens).pack(whole, 0):
        yield from ((chunk, parent) for chunk in chunks.pack(parent, overlap))


class _Sections:
    """Packs ranges of a text by its sections, tables and code, up to `limit` tokens each."""

    def __init__(self, text: str, tokens: Tokens, outline: Outline, limit: int) -> None:
        self._text = text
        self._tokens = tokens
        self._outline = outline
        self._limit = limit
        self._blocks = outline.blocks(text, tokens, limit)

    def pack(self, within: Range, overlap: int) -> Iterator[Range]:
        """What fits is one range; otherwise none reaches over the border between two groups of sections."""
        fits = self._tokens.count(*within) <= self._limit
        for group in [within] if fits else self._groups(within):
            yield from pack(self._text, self._tokens, group, self._limit, overlap=overlap, blocks=self._blocks)

    def _groups(self, within: Range) -> list[Range]:
        """Sections of level 1 and 2 with what they hold; a small one takes in the next, or else joins the one before.

        Two join only if they fit together and the second is not above the first in rank. A heading without text always
        goes with what follows it.
        """
        groups: list[_Group] = []
        for part in self._parts(within):
            last = groups[-1] if groups else None
            if last and (last.is_bare or (self._is_small(last) and self._may_join(last, part))):
                groups[-1] = last.joined(part)
            else:
                self._join_back(groups)
                groups.append(part)
        self._join_back(groups)
        return [(group.start, group.end) for group in groups]

    def _join_back(self, groups: list[_Group]) -> None:
        if len(groups) > 1 and self._is_small(groups[-1]) and self._may_join(*groups[-2:]):
            groups[-2:] = [groups[-2].joined(groups[-1])]

    def _parts(self, within: Range) -> Iterator[_Group]:
        sections = self._outline.sections_of(within)
        opening = [i for i, section in enumerate(sections) if i == 0 or section.level <= _SECTION_LEVEL]
        for first, behind in zip(opening, [*opening[1:], len(sections)], strict=True):
            start = max(within[0], sections[first].start)
            end = sections[behind].start if behind < len(sections) else within[1]
            is_bare = all(section.body is None for section in sections[first:behind])
            yield _Group(start, end, sections[first].level, is_bare)

    def _is_small(self, group: _Group) -> bool:
        return self._tokens.count(group.start, group.end) < self._limit * _SMALL_SECTION

    def _may_join(self, first: _Group, second: _Group) -> bool:
        return second.level >= first.level and self._tokens.count(first.start, second.end) <= self._limit


@dataclass(frozen=True, slots=True)
class _Group:
    """Neighbouring sections. `level` is that of the first with text; `is_bare` if there are headings alone."""

    start: int
    end: int
    level: int
    is_bare: bool

    def joined(self, following: _Group) -> _Group:
        level = following.level if self.is_bare else self.level
        return _Group(self.start, following.end, level, self.is_bare and following.is_bare)
