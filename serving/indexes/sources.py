"""A path's documents as an index takes them: ids apart from other paths', and what cannot be read now left as it was.

given = with_own_ids(loaded.documents, origin, entries)
kept = unreadable_now(index, loaded, origin, given, entries)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from rag.documents.document import Document
from rag.documents.load import Loaded
from rag.index import DocumentEntry, Index

# The reason for skipping a file that has been emptied: its text is gone on purpose.
_EMPTIED = "empty"


def with_own_ids(documents: Iterable[Document], origin: str, entries: Sequence[DocumentEntry]) -> list[Document]:
    """The documents, those of files under another id where the index has that id from another path.

    Two folders may both hold a readme. Rows that bring an id of their own keep it: who gives an id twice means the same
    document. An id once given to a file stays its own.
    """
    own = {entry.id for entry in entries if entry.origin == origin}
    others = {entry.id for entry in entries if entry.origin not in (origin, "")}
    mark = hashlib.sha256(origin.encode()).hexdigest()[:6]
    given = []
    for document in documents:
        apart = f"{document.id}~{mark}"
        is_taken = document.id in others and document.id not in own
        given.append(replace(document, id=apart) if _is_of_path(document) and (is_taken or apart in own) else document)
    return given


def unreadable_now(
    index: Index, loaded: Loaded, origin: str, given: Iterable[Document], entries: Iterable[DocumentEntry]
) -> list[Document]:
    """The index's documents of files that cannot be read now: a bad copy must not take a good one away."""
    unreadable = {skipped.path for skipped in loaded.skipped if not skipped.reason.startswith(_EMPTIED)}
    ids = {document.id for document in given}
    left = [e.id for e in entries if e.origin == origin and e.source in unreadable and e.id not in ids]
    return [document for document_id in left if (document := index.document(document_id)) is not None]


def _is_of_path(document: Document) -> bool:
    """Whether the id was made of the file's name."""
    return bool(document.source) and document.id.startswith(PurePosixPath(document.source).with_suffix("").as_posix())
