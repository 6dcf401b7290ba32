"""Documents as they are given: `load_documents(Path("docs/"))` reads a folder or a file of .txt, .md and .jsonl."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rag.documents.document import Document, content_hash
from rag.errors import RagError

SUFFIXES = (".txt", ".md", ".jsonl")

_HEADING = re.compile(r" {0,3}#[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*")
_FENCE = re.compile(r" {0,3}(```|~~~)")
_ROW = (("id", str, True), ("title", str, False), ("text", str, True), ("metadata", dict, False))
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file, folder or row that was not read, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a path held: the documents, always in the same order, and everything that was passed over."""

    documents: tuple[Document, ...]
    skipped: tuple[Skipped, ...]


def load_documents(path: Path) -> Loaded:
    """Every document of a folder (recursive, sorted) or of one file.

    A text or Markdown file is one document: its id is its path in the folder without the suffix, its title the first
    `# heading`, else the words of its name. A JSONL file is a document a row: `{id, title?, text, metadata?}`.
    Files that cannot be read, or are of another kind, binary or empty, are skipped and named. Links to folders are not
    followed. Raises RagError if the path is missing or holds nothing readable, if a JSONL row is malformed, or if two
    documents share an id but not their text.
    """
    try:
        path.stat()
    except (OSError, ValueError) as error:
        raise RagError(
            f"no folder or file {str(path)!r} that can be read; give a folder of documents or one {_kinds()} file"
        ) from error
    root = path if path.is_dir() else path.parent
    found: Iterable[Path | Skipped] = _walk(path) if path.is_dir() else (path,)

    documents: dict[str, Document] = {}
    origins: dict[str, str] = {}
    skipped: list[Skipped] = []
    for item in found:
        if isinstance(item, Skipped):
            skipped.append(item)
            continue
        for origin, entry in _read_file(item, _shown_path(item.relative_to(root))):
            if isinstance(entry, Skipped):
                skipped.append(entry)
            elif entry.id not in documents:
                documents[entry.id], origins[entry.id] = entry, origin
            elif documents[entry.id].text == entry.text:
                skipped.append(Skipped(origin, f"same id and text as {origins[entry.id]}"))
            else:
                raise RagError(
                    f"document id {entry.id!r} is given twice with different text: "
                    f"{origins[entry.id]} and {origin}; rename or remove one"
                )
    if not documents:
        raise RagError(f"no documents in {str(path)!r}: {_describe(skipped)}; kinds read: {_kinds()}")
    return Loaded(tuple(documents.values()), tuple(skipped))


def _walk(folder: Path) -> Iterator[Path | Skipped]:
    """The folder's files in sorted order; links to folders are named and not entered, so that no loop is walked."""
    unreadable: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=unreadable.append):
        folders.sort()
        for name in list(folders):
            inner = Path(parent, name)
            if name.startswith(".") or inner.is_symlink():
                folders.remove(name)
                reason = "link to a folder, not followed" if inner.is_symlink() else "hidden folder"
                yield Skipped(_shown_path(inner.relative_to(folder)), reason)
        for name in sorted(files):
            yield Path(parent, name)
    for error in unreadable:
        yield Skipped(_shown_path(Path(error.filename).relative_to(folder)), f"cannot be read: {error.strerror}")


def _read_file(file: Path, shown: str) -> Iterator[tuple[str, Document | Skipped]]:
    """Pairs of origin (`path` or `path:line`) and what was found there."""
    try:
        reason = _unread_reason(file)
        data = b"" if reason else file.read_bytes()
    except OSError as error:
        reason, data = f"cannot be read: {error.strerror}", b""
    text = ""
    if not reason:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            reason = f"not UTF-8 text (byte {error.start})"
        if b"\x00" in data:
            reason = "binary (holds NUL bytes)"
        elif not reason and not text.strip():
            reason = "empty"
    if reason:
        yield shown, Skipped(shown, reason)
    elif file.suffix.lower() == ".jsonl":
        yield from _read_rows(text, shown)
    else:
        yield shown, _document_of_file(text, shown, is_markdown=file.suffix.lower() == ".md")


def _unread_reason(file: Path) -> str:
    """Why the file is not even opened, or ''. A pipe or a device would block or never end."""
    try:
        str(file).encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if file.name.startswith("."):
        return "hidden file"
    if file.suffix.lower() not in SUFFIXES:
        return f"{file.suffix.lower() or 'no suffix'}: kind not read"
    file.stat()
    return "" if file.is_file() else "not a regular file"


def _document_of_file(text: str, shown: str, *, is_markdown: bool) -> Document:
    text = text.replace("\r\n", "\n")
    file = Path(shown)
    title, body = _markdown_title(text) if is_markdown else ("", text)
    return Document(
        id=file.with_suffix("").as_posix(),
        title=title or re.sub(r"[-_]+", " ", file.stem),
        text=body,
        metadata={"source": shown},
    )


def _markdown_title(text: str) -> tuple[str, str]:
    """The first level-one heading outside code fences, and the text without it where it opens a longer text."""
    lines = text.split("\n")
    fence = ""
    for number, line in enumerate(lines):
        mark = _FENCE.match(line)
        if mark and (not fence or mark[1] == fence):
            fence = "" if fence else mark[1]
        heading = None if fence else _HEADING.fullmatch(line)
        if heading and heading[1]:
            before, after = "".join(lines[:number]), "\n".join(lines[number + 1 :]).strip("\n")
            return heading[1], after if after.strip() and not before.strip() else text
    return "", text


def _read_rows(text: str, shown: str) -> Iterator[tuple[str, Document | Skipped]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        origin = f"{shown}:{number}"
        document = _document_of_row(line, origin)
        yield origin, document if document.text.strip() else Skipped(origin, "empty text")


def _document_of_row(line: str, origin: str) -> Document:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RagError(f"{origin}: malformed JSON ({error}); correct the line") from error
    if not isinstance(row, dict):
        raise RagError(f"{origin}: {line.strip()[:40]!r} is not an object; a row is {{id, title?, text, metadata?}}")
    for key, kind, is_needed in _ROW:
        if is_needed and key not in row:
            raise RagError(f"{origin}: no {key!r}; a row is {{id, title?, text, metadata?}}")
        if row.get(key) is None and not is_needed:
            continue
        if not isinstance(row[key], kind):
            expected = "a string" if kind is str else "an object"
            raise RagError(f"{origin}: {key!r} must be {expected}, not {row[key]!r:.40}")
    if not row["id"].strip():
        raise RagError(f"{origin}: 'id' is empty; give every document a name of its own")
    document = Document(row["id"], row.get("title") or "", row["text"], row.get("metadata") or {})
    try:
        content_hash(document)
    except RagError as error:
        raise RagError(f"{origin}: {error}") from error
    return document


def _describe(skipped: list[Skipped]) -> str:
    if not skipped:
        return "the folder is empty"
    shown = ", ".join(f"{item.path} ({item.reason})" for item in skipped[:_SHOWN])
    more = f" and {len(skipped) - _SHOWN} more" if len(skipped) > _SHOWN else ""
    return f"found {shown}{more}"


def _kinds() -> str:
    return ", ".join(SUFFIXES)


def _shown_path(path: Path) -> str:
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")
