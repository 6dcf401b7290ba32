"""A path's documents as an index takes them: ids apart from other paths', and what cannot be read now left as it was.

given = with_own_ids(loaded, origin, entries)
kept = unreadable_now(index, loaded, origin, given, entries)
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from rag.documents.document import FILE, Document
from rag.documents.load import Loaded
from rag.documents.sources import fixed_part
from rag.index import DocumentEntry, Index

# The reason for skipping a file that has been emptied: its text is gone on purpose.
_EMPTIED = "empty"
# What tells the ids of two paths apart.
_MARK = re.compile(r"~[0-9a-f]{6}$")


def with_own_ids(loaded: Loaded, origin: str, entries: Sequence[DocumentEntry]) -> list[Document]:
    """The documents, under another id where theirs is made of the path and the index has it from another file.

    Two folders may both hold a readme. Rows that bring an id of their own keep it: who gives an id twice means the same
    document. An id once given to a file or a row stays its own, by whatever path the file is read.
    """
    own = {entry.id for entry in entries if entry.origin == origin}
    others = {entry.id for entry in entries if entry.origin not in (origin, "")}
    known = {_place_of(e.origin, e.source, e.id): e.id for e in entries if e.id in others}
    mark = hashlib.sha256(origin.encode()).hexdigest()[:6]
    given = []
    for document in loaded.documents:
        if document.id not in loaded.own_ids:
            apart = f"{document.id}~{mark}"
            if apart in own:
                document = replace(document, id=apart)
            elif document.id not in own:
                same = known.get(_place_of(origin, document.source, document.id))
                document = replace(document, id=same or (apart if document.id in others else document.id))
        given.append(document)
    return given


def gone_from(origin: str, given: Iterable[Document], entries: Iterable[DocumentEntry]) -> list[str]:
    """Ids of documents of other paths whose files lay under this one and are no more.

    A file that was added by itself may be taken away with its folder.
    """
    ids = {document.id for document in given}
    left = {e.id: _file_of(e.origin, e.source) for e in entries if e.origin not in (origin, "") and e.id not in ids}
    return [document_id for document_id, file in left.items() if file.is_relative_to(origin) and _is_gone(file)]


def unreadable_now(
    index: Index, loaded: Loaded, origin: str, given: Iterable[Document], entries: Iterable[DocumentEntry]
) -> list[tuple[Document, str]]:
    """The index's documents of files that cannot be read now, each with the file, or the folder or archive around it.

    A bad copy must not take a good one away.
    """
    unreadable = {skipped.path for skipped in loaded.skipped if not skipped.reason.startswith(_EMPTIED)}
    ids = {document.id for document in given}
    kept = []
    for entry in entries:
        file = PurePosixPath(entry.source or str(entry.metadata.get(FILE, "")))
        place = next((str(part) for part in (file, *file.parents) if str(part) in unreadable), None)
        if place and entry.origin == origin and entry.id not in ids and (document := index.document(entry.id)):
            kept.append((document, place))
    return kept


def _is_gone(file: Path) -> bool:
    """Whether neither the file nor an archive around it is there; what cannot be looked at is."""
    try:
        return not file.exists() and not any(parent.is_file() for parent in file.parents)
    except OSError:
        return False


def _file_of(origin: str, source: str) -> Path:
    """The file, or the place in an archive, that a path's document was read from."""
    root = fixed_part(Path(origin))
    return root if root.name == source else root / source


def _place_of(origin: str, source: str, document_id: str) -> tuple[Path, str] | None:
    """The file and the row in it, '' for a whole file, that an id was made of; None for an id of another kind."""
    path, row, number = _MARK.sub("", document_id).rpartition(":")
    if row and number.isdecimal() and path == (source or path):
        return _file_of(origin, path), number
    stem = PurePosixPath(source).with_suffix("").as_posix() if source else ""
    is_whole = source and {document_id, _MARK.sub("", document_id)} & {source, stem}
    return (_file_of(origin, source), "") if is_whole else None
