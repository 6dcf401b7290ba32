"""Zip archives, checked before anything is unpacked: `check_archive(archive, limits)`, then each member's own fault."""

from __future__ import annotations

import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from rag.documents.limits import Limits, describe_size
from rag.errors import RagError

# Small members may be as uniform as they like: what they can grow to is small.
_RATIO_FROM_BYTES = 1 << 20
# Where files of a kind keep their content.
OFFICE_FOLDERS = {"docx": "word/", "pptx": "ppt/", "xlsx": "xl/"}
_FAULTS = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, OSError, EOFError, ValueError)


def open_archive(file: Path | BinaryIO, limits: Limits) -> zipfile.ZipFile:
    """An archive that may be unpacked as a whole. Raises RagError with the reason if it is torn or over a limit.

    The sizes are those that the archive states; a member that holds more fails its checksum when it is read.
    """
    try:
        archive = zipfile.ZipFile(file)
    except _FAULTS as error:
        raise RagError(f"not a whole zip archive ({error})") from error
    members = archive.infolist()
    if len(members) > limits.max_archive_files:
        raise RagError(f"holds {len(members)} files, over the limit of {limits.max_archive_files} (max_archive_files)")
    total = sum(member.file_size for member in members)
    if total > limits.max_archive_bytes:
        raise RagError(
            f"unpacks to {describe_size(total)}, over the limit of {describe_size(limits.max_archive_bytes)} "
            "(max_archive_bytes)"
        )
    return archive


def member_fault(member: zipfile.ZipInfo, limits: Limits) -> str:
    """Why this member is not unpacked, or ''."""
    name = member.filename.replace("\\", "/")
    if name.startswith("/") or ".." in PurePosixPath(name).parts or name[1:2] == ":":
        return "its path leads out of the archive"
    mode = member.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "a link, not followed" if stat.S_ISLNK(mode) else "not a regular file"
    if member.flag_bits & 0x1:
        return "encrypted; unpack it with its password"
    if member.file_size > limits.max_archive_ratio * max(member.compress_size, 1) and (
        member.file_size > _RATIO_FROM_BYTES
    ):
        ratio = member.file_size // max(member.compress_size, 1)
        return f"unpacks to {ratio} times its size, over the limit of {limits.max_archive_ratio} (max_archive_ratio)"
    return ""


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """The member's bytes, no more than it states. Raises RagError with the reason if they are torn."""
    try:
        with archive.open(member) as stream:
            return stream.read(member.file_size)
    except _FAULTS as error:
        raise RagError(f"cannot be unpacked: {error}") from error


def check_office(kind: str, file: BinaryIO, limits: Limits) -> None:
    """Refuse a docx, pptx or xlsx that is none, is protected or would explode. Raises RagError with the reason."""
    head = file.read(8)
    file.seek(0)
    if head == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        is_locked = "EncryptedPackage".encode("utf-16-le") in file.read()
        raise RagError(
            "protected by a password; save it without one" if is_locked else "an old Office format; save it anew"
        )
    if not head.startswith(b"PK"):
        raise RagError(f"no {kind} file")
    archive = open_archive(file, limits)
    found = {
        other for other, folder in OFFICE_FOLDERS.items() if any(name.startswith(folder) for name in archive.namelist())
    }
    if found and kind not in found:
        other = min(found)
        raise RagError(f"not {kind} but {other}; give it the suffix .{other}")
    for member in archive.infolist():
        if reason := member_fault(member, limits):
            raise RagError(f"{member.filename!r} inside it: {reason}")
    file.seek(0)
