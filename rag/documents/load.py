"""Documents as they are given: `load_documents("docs/")` reads a folder, file, pattern (docs/*.pdf) or zip."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from rag.documents.clean import clean
from rag.documents.conversions import Conversions, convert_once
from rag.documents.convert import Converted
from rag.documents.document import Document
from rag.documents.encoding import decode
from rag.documents.limits import Limits
from rag.documents.markdown import split_title
from rag.documents.rows import Row, read_rows, whole_text
from rag.documents.sources import KINDS, NOT_READ, Source, find_sources, read_sources
from rag.errors import RagError
from storage.errors import listed

_ROWS = ("jsonl", "json", "csv")
_TEXTS = ("txt", "md")
_SHOWN = 3
_SHOWN_ROWS = 20


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file, folder or row that was not read, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a path held: the documents, always in the same order, and everything that was passed over.

    `own_ids` are the ids that rows brought along. Every other id is made of the file's path and the row's number.
    """

    documents: tuple[Document, ...]
    skipped: tuple[Skipped, ...]
    own_ids: frozenset[str] = frozenset()


def load_documents(
    path: Path | str,
    *,
    limits: Limits = Limits(),
    cache: Conversions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Loaded:
    """Every document of a folder (recursive, sorted), of one file, of the files that a pattern matches, or of a zip.

    A text, Markdown, HTML, PDF, Word, PowerPoint or Excel file is one document. Its id is its path in the folder; .txt
    and .md go without the suffix unless another document has that id. Its title is the one it names, else its first
    `# heading`, else the words of its name. JSONL, a JSON list and a CSV with a `text` column are a document a row
    (see `read_rows`); other JSON and CSV are one document.

    What cannot be read is skipped and named, and the rest goes on: hidden files, other kinds, links to folders, and
    whatever is binary, empty, encrypted, torn or over `limits`. `cache` keeps the conversions of formats that are not
    text. `progress(done, total)` counts files.

    Raises RagError if the path is missing or holds nothing readable. If it is one file of rows, a malformed row or an
    id with two texts is an error too, with the place in the file.
    """
    path = Path(path)
    sources = find_sources(path, limits)
    found = _Found(is_strict=[source.file for source in sources if not source.member] == [path])
    for number, (source, data) in enumerate(read_sources(sources, limits), start=1):
        for place, content in _read(source, data, limits, cache):
            found.add(source, place, content)
        if progress:
            progress(number, len(sources))
    loaded = found.loaded()
    if not loaded.documents:
        raise RagError(f"no documents in {str(path)!r}: {_describe(loaded.skipped)}")
    return loaded


def read_upload(
    name: str, data: Path, *, document_id: str, limits: Limits = Limits(), cache: Conversions | None = None
) -> Document:
    """The file `data`, which its sender calls `name`, as one document without metadata; rows are joined to one text.

    Raises RagError with the name and the reason if it cannot be read: another kind, too large, encrypted, torn, empty.
    """
    try:
        suffix = PurePosixPath(name).suffix.lower()
        if suffix not in KINDS:
            raise RagError(f"{suffix or 'no suffix'}: {NOT_READ}; kinds read: {', '.join(KINDS)}")
        ((source, content),) = read_sources([Source(name, file=data)], limits)
        if isinstance(content, RagError):
            raise content
        found = _read_content(source, content, limits, cache)
        converted = found if isinstance(found, Converted) else _joined(list(found), source.kind, content)
    except RagError as error:
        raise RagError(f"{name!r}: {error}") from error
    return replace(_document(converted, name), id=document_id, metadata={})


class _Found:
    """Documents by id, and what was skipped. `is_strict` refuses faulty rows in place of skipping them."""

    def __init__(self, *, is_strict: bool) -> None:
        self._is_strict = is_strict
        self._documents: dict[str, Document] = {}
        self._places: dict[str, str] = {}
        self._own_ids: set[str] = set()
        self._skipped: list[Skipped] = []
        self._num_faulty: Counter[str] = Counter()

    def add(self, source: Source, place: str, found: Document | RagError) -> None:
        """Keep what was found at `place`, the path of its source or a row in it."""
        is_row = place != source.path
        if isinstance(found, RagError):
            if is_row and self._is_strict:
                raise RagError(f"{place}: {found}") from found
            self._num_faulty[source.path] += is_row
            if self._num_faulty[source.path] <= _SHOWN_ROWS:
                self._skipped.append(Skipped(place, str(found)))
            return
        known = self._documents.get(found.id)
        is_named_here = not is_row or (source.kind == "csv" and not self._is_strict)
        if known and known.text != found.text and is_named_here:
            # a.md and a.txt, or row 1 of two tables: the second is called by its place.
            found = replace(found, id=place)
            known = self._documents.get(found.id)
        if not known:
            self._documents[found.id], self._places[found.id] = found, place
            if is_row and found.id != place:
                self._own_ids.add(found.id)
        elif known.text == found.text:
            self._skipped.append(Skipped(place, f"same id and text as {self._places[found.id]}"))
        elif self._is_strict:
            raise RagError(
                f"document id {found.id!r} is given twice with different text: "
                f"{self._places[found.id]} and {place}; rename or remove one"
            )
        else:
            reason = f"its id {found.id!r} has another text in {self._places[found.id]}; rename or remove one"
            self._skipped.append(Skipped(place, reason))

    def loaded(self) -> Loaded:
        unnamed = (
            Skipped(path, f"{number - _SHOWN_ROWS} more malformed rows")
            for path, number in self._num_faulty.items()
            if number > _SHOWN_ROWS
        )
        return Loaded(tuple(self._documents.values()), (*self._skipped, *unnamed), frozenset(self._own_ids))


def _read(source: Source, data: bytes | RagError, limits: Limits, cache: Conversions | None) -> Iterator[Row]:
    """Places (`path` or `path:row`) with the document there, or with the reason why there is none."""
    try:
        if isinstance(data, RagError):
            raise data
        found = _read_content(source, data, limits, cache)
        if isinstance(found, Converted):
            yield source.path, _document(found, source.path)
            return
        for place, row in found:
            is_empty = isinstance(row, Document) and not row.text.strip()
            yield place, RagError("empty text") if is_empty else row
    except RagError as error:
        yield source.path, error


def _read_content(source: Source, data: bytes, limits: Limits, cache: Conversions | None) -> Converted | Iterator[Row]:
    """Rows if they are documents; any other file as one text."""
    if not data.strip():
        raise RagError("empty")
    kind = source.kind
    if kind not in _ROWS and kind not in _TEXTS:
        return convert_once(kind, data, limits, cache)
    text = decode(data)
    if len(text) > limits.max_text_chars:
        raise RagError(f"{len(text)} characters, over the limit of {limits.max_text_chars} (max_text_chars)")
    if kind in _ROWS:
        rows = read_rows(kind, text, source.path)
        return _clean(whole_text(kind, text)) if rows is None else rows
    found = _clean(text)
    return Converted(*split_title(found.text)) if kind == "md" else found


def _joined(rows: Sequence[Row], kind: str, data: bytes) -> Converted:
    """Rows as one text; those that are all no documents as they stand."""
    documents = [row for _, row in rows if isinstance(row, Document)]
    if not documents:
        return _clean(whole_text(kind, decode(data)))
    for place, row in rows:
        if isinstance(row, RagError):
            raise RagError(f"row {place.rpartition(':')[2]}: {row}") from row
    return _clean("\n\n".join(f"## {row.title}\n\n{row.text}" if row.title else row.text for row in documents))


def _clean(text: str) -> Converted:
    text = clean(text)
    if not text.strip():
        raise RagError("empty")
    return Converted("", text)


def _document(converted: Converted, path: str) -> Document:
    file = PurePosixPath(path)
    return Document(
        id=str(file.with_suffix("")) if KINDS[file.suffix.lower()] in _TEXTS else path,
        title=converted.title or re.sub(r"[-_]+", " ", file.stem),
        text=converted.text,
        metadata={"source": path},
        source=path,
        pages=converted.pages,
    )


def _describe(skipped: Sequence[Skipped]) -> str:
    """What there was in place of documents; which kinds are read, if that is what it lacked."""
    kinds = f"; kinds read: {', '.join(KINDS)}"
    if not skipped:
        return f"the folder is empty{kinds}"
    shown = listed((f"{item.path} ({item.reason})" for item in skipped), separator=", ", shown=_SHOWN)
    is_other_kind = any(item.reason.endswith(NOT_READ) for item in skipped)
    return f"found {shown}{kinds if is_other_kind else ''}"
