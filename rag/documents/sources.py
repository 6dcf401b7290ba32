"""The files of a file, folder, pattern or zip: `read_sources(find_sources(Path("docs/*.pdf"), limits), limits)`."""

from __future__ import annotations

import itertools
import os
import re
import stat
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

from rag.documents.archive import OFFICE_FOLDERS, member_fault, open_archive, read_member
from rag.documents.limits import Limits, describe_size
from rag.errors import RagError

# Suffix to kind; a zip is opened where it stands, but not within another.
_READ = ("txt", "md", "html", "htm", "pdf", "docx", "pptx", "xlsx", "csv", "json", "jsonl")
KINDS = {f".{suffix}": "html" if suffix == "htm" else suffix for suffix in _READ}
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# What Office keeps beside an open file.
_LOCK = "~$"
NOT_READ = "kind not read"
_MAGIC = frozenset("*?[")
_LINK = "link to a folder, not followed"

_NONE: frozenset[str] = frozenset()
_OFFICE = frozenset(OFFICE_FOLDERS)
# How a file begins, the kinds that begin so, what it is and what to do with it.
_SIGNATURES = (
    (b"%PDF-", frozenset({"pdf"}), "a PDF; give it the suffix .pdf"),
    (b"PK\x03\x04", _OFFICE, "a zip archive or an Office file; give it the suffix of its kind"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _OFFICE, "an old Office file; save it as .docx, .pptx or .xlsx"),
    (b"{\\rtf1", _NONE, "an RTF file; save it as .docx"),
    ((b"\x89PNG", b"\xff\xd8\xff", b"GIF8"), _NONE, "an image; it needs text recognition (OCR) first"),
    (b"\x1f\x8b", _NONE, "compressed (gzip); unpack it first"),
)
# Text may hold a page's source; what is no text was meant to be something else.
_PAGES = (b"<!doctype html", b"<html")


@dataclass(frozen=True, slots=True)
class Source:
    """One file, or one member of the zip archive `file`. `reason` says why it is not read, '' if it is.

    `path` is as shown: relative to the folder or archive that was asked for.
    """

    path: str
    reason: str = ""
    file: Path = Path()
    member: zipfile.ZipInfo | None = None

    @property
    def kind(self) -> str:
        """A value of KINDS; only a source without a `reason` has one."""
        return KINDS[PurePosixPath(self.path).suffix.lower()]


def find_sources(path: Path, limits: Limits) -> tuple[Source, ...]:
    """Every file under the path, in one order: a folder's own files before its folders, sorted by name.

    Only names and sizes are looked at. Links to folders are named and not entered, so that no loop is walked. Raises
    RagError if there is no such path or its pattern is none.
    """
    root, files = _expand(path)
    found: list[Source] = []
    # A pattern may match both a file and its folder.
    for item, reason in dict.fromkeys(files):
        shown = _shown(item.relative_to(root))
        if reason:
            found.append(Source(shown, reason))
        elif item.suffix.lower() == ".zip" and not item.name.startswith("."):
            found.extend(_members(item, "" if item == path else shown, limits))
        else:
            found.append(_inspect(item, shown, limits))
    return tuple(found)


def read_sources(sources: Sequence[Source], limits: Limits) -> Iterator[tuple[Source, bytes | RagError]]:
    """Each source with its bytes, or with the reason why there are none; an archive stays open for all its members.

    Besides a source's own reason: they cannot be read, have grown over the limit or are of another kind.
    """
    for file, together in itertools.groupby(sources, key=lambda source: source.file):
        with ExitStack() as opened:
            archive = None
            for source in together:
                found: bytes | RagError
                try:
                    if source.reason:
                        raise RagError(source.reason)
                    if source.member:
                        archive = archive or opened.enter_context(open_archive(file, limits))
                        found = read_member(archive, source.member)
                    else:
                        found = _read_file(file, limits)
                    _check_signature(source.kind, found)
                except RagError as error:
                    found = error
                yield source, found


def _read_file(file: Path, limits: Limits) -> bytes:
    try:
        with file.open("rb") as stream:
            data = stream.read(limits.max_file_bytes + 1)
            size = max(len(data), os.fstat(stream.fileno()).st_size)
    except OSError as error:
        raise RagError(f"cannot be read: {error.strerror or error}") from error
    if reason := _size_fault(size, limits):
        raise RagError(reason)
    return data


def _check_signature(kind: str, data: bytes) -> None:
    """Raises RagError with what the file is, if its first bytes are clearly not those of its suffix's kind."""
    for head, kinds, found in _SIGNATURES:
        if data.startswith(head) and kind not in kinds:
            raise RagError(f"not {kind} but {found}")
    if kind in {"pdf", *_OFFICE} and data[:500].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGES):
        raise RagError(f"not {kind} but a web page; give it the suffix .html")


def _size_fault(num_bytes: int, limits: Limits) -> str:
    """Why a file of this size is not read, or ''."""
    if num_bytes <= limits.max_file_bytes:
        return ""
    limit = describe_size(limits.max_file_bytes)
    return f"{describe_size(num_bytes)}, over the limit of {limit} (max_file_bytes)"


def _expand(path: Path) -> tuple[Path, Iterator[tuple[Path, str]]]:
    """The folder that shown paths are relative to, and under it files, and folders with the reason to pass them by."""
    try:
        path.stat()
    except (OSError, ValueError) as error:
        root = fixed_part(path)
        if root != path and root.is_dir():
            return root, _match(root, str(path.relative_to(root)))
        raise RagError(
            f"no folder or file {str(path)!r} that can be read; give a folder, a pattern, a .zip or one "
            f"{', '.join(KINDS)} file"
        ) from error
    return (path, _walk(path)) if path.is_dir() else (path.parent, iter([(path, "")]))


def fixed_part(path: Path) -> Path:
    """The folder above the first part that is a pattern; the path itself if there is none."""
    return Path(*itertools.takewhile(lambda part: not _MAGIC & set(part), path.parts))


def _match(root: Path, pattern: str) -> Iterator[tuple[Path, str]]:
    """Files that the pattern matches, and the files of folders that it matches; none that is hidden."""
    try:
        matches = sorted(root.glob(pattern))
    except ValueError as error:
        raise RagError(f"{pattern!r} is no pattern ({error}); write for example docs/**/*.pdf") from error
    for match in matches:
        if any(part.startswith(".") for part in match.relative_to(root).parts):
            continue
        if not match.is_dir():
            yield match, ""
        elif match.is_symlink():
            yield match, _LINK
        else:
            yield from _walk(match)


def _walk(folder: Path) -> Iterator[tuple[Path, str]]:
    unreadable: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=unreadable.append):
        folders.sort()
        for name in list(folders):
            inner = Path(parent, name)
            if name.startswith(".") or inner.is_symlink():
                folders.remove(name)
                yield inner, _LINK if inner.is_symlink() else "hidden folder"
        for name in sorted(files):
            yield Path(parent, name), ""
    for error in unreadable:
        yield Path(error.filename), f"cannot be read: {error.strerror}"


def _inspect(file: Path, shown: str, limits: Limits) -> Source:
    """The file, with the reason why it is not opened if there is one: a pipe or a device would block or never end."""
    try:
        str(file).encode()
        status = file.stat()
        reason = _size_fault(status.st_size, limits) if stat.S_ISREG(status.st_mode) else "not a regular file"
    except UnicodeEncodeError:
        reason = "its name is not UTF-8"
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    return Source(shown, _name_fault(file.name) or reason, file)


def _members(file: Path, shown: str, limits: Limits) -> Iterator[Source]:
    """The archive's files, shown under the archive's own path unless that is ''."""
    try:
        if not file.is_file():
            raise RagError("not a regular file")
        with open_archive(file, limits) as archive:
            members = archive.infolist()
    except (RagError, OSError) as error:
        yield Source(shown or file.name, str(error))
        return
    for member in sorted(members, key=lambda member: member.filename):
        name = PurePosixPath(member.filename.replace("\\", "/"))
        if member.is_dir():
            continue
        is_hidden = any(part.startswith(".") or part == "__MACOSX" for part in name.parts)
        reason = (
            member_fault(member, limits)
            or ("hidden file" if is_hidden else _name_fault(name.name))
            or _size_fault(member.file_size, limits)
        )
        # Joined as text: an absolute name would take the archive's place.
        yield Source(_shown(PurePosixPath(f"{shown}/{name}" if shown else name)), reason, file, member)


def _name_fault(name: str) -> str:
    if name.startswith((".", _LOCK)):
        return "hidden file"
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".zip":
        return "an archive within an archive, not opened"
    return "" if suffix in KINDS else f"{suffix or 'no suffix'}: {NOT_READ}"


def _shown(path: PurePath) -> str:
    """The path as text that may be printed: what would move or colour a terminal's text is written as an escape."""
    text = os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
