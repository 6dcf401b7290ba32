"""A multipart upload as it comes in: the file goes to the disk piece by piece, never whole into memory.

upload = await receive_upload(request, folder / "content", max_bytes=512 * 2**20, fields=("purpose",))
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from fastapi import Request
from starlette.requests import ClientDisconnect

from serving.errors import Invalid, Refused, ServingError, TooLarge

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_NAME_BYTES = 255

_FILE = "file"
_MAX_FIELD_BYTES = 4096
# What is held in memory before it goes to the disk, in a thread: the event loop has chats to stream meanwhile.
_WRITE_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that came in whole. `filename` is a name to show, never a path; `fields` are the form's other parts."""

    filename: str
    num_bytes: int
    sha256: str
    fields: Mapping[str, str]


async def receive_upload(request: Request, into: Path, *, max_bytes: int, fields: Collection[str]) -> Upload:
    """Write the part `file` of a multipart body to the new file `into`, synced; the other parts must be among `fields`.

    The caller removes `into` when this raises: Refused for a body that is refused, ServingError for a disk that is
    full. A refused body is read on for a while, or its sender would see a broken connection in place of the reason.
    """
    from python_multipart.exceptions import MultipartParseError
    from python_multipart.multipart import MultipartParser

    form = _Form(max_bytes, fields)
    parser = MultipartParser(_boundary(request), form.callbacks())
    digest, num_read = hashlib.sha256(), 0
    try:
        file = await asyncio.to_thread(into.open, "xb")
        try:
            async for piece in request.stream():
                num_read += len(piece)
                if form.fault is None:
                    parser.write(piece)
                elif num_read > 2 * max_bytes:
                    break
                if form.num_waiting >= _WRITE_BYTES:
                    await asyncio.to_thread(_keep, file, digest, form.take())
            await asyncio.to_thread(_keep, file, digest, form.take(), is_last=True)
        finally:
            await asyncio.to_thread(file.close)
    except MultipartParseError as error:
        raise Invalid(f"the multipart body cannot be read: {error}", param=_FILE) from error
    except ClientDisconnect as error:
        raise Invalid("the upload was broken off", param=_FILE) from error
    except OSError as error:
        raise ServingError(f"the upload cannot be kept: {(error.strerror or str(error)).lower()}") from error
    form.check()
    return Upload(filename=form.filename or "", num_bytes=form.num_bytes, sha256=digest.hexdigest(), fields=form.fields)


def safe_name(name: str) -> str:
    """A file's name without the folders before it and without characters that cannot be seen; '' if nothing is left.

    At most 255 bytes long; what is cut off is cut before the suffix.
    """
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    seen = "".join(sign for sign in last if unicodedata.category(sign) not in ("Cc", "Cf", "Cs", "Zl", "Zp")).strip()
    if seen in ("", ".", ".."):
        return ""
    suffix = PurePosixPath(seen).suffix if len(PurePosixPath(seen).suffix.encode()) < 32 else ""
    stem = seen.removesuffix(suffix).encode()[: MAX_NAME_BYTES - len(suffix.encode())]
    return stem.decode(errors="ignore") + suffix


class _Form:
    """The parts of one body, as the parser's callbacks bring them. After `fault` is set nothing more is kept."""

    def __init__(self, max_bytes: int, known: Collection[str]) -> None:
        self.fault: Refused | None = None
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.num_bytes = 0
        self.num_waiting = 0
        self._max_bytes = max_bytes
        self._known = known
        self._waiting: list[bytes] = []
        self._header = self._value = b""
        self._disposition = b""
        self._part: str | None = None
        self._text = bytearray()
        self._has_ended = False

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._add_header,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._open,
            "on_part_data": self._add,
            "on_part_end": self._close,
            "on_end": self._end,
        }

    def take(self) -> list[bytes]:
        """What has come in of the file and is not on the disk yet."""
        taken, self._waiting, self.num_waiting = self._waiting, [], 0
        return taken

    def check(self) -> None:
        """Refuse a body that is not one whole file with its fields. Raises Refused naming the field."""
        if self.fault is not None:
            raise self.fault
        if not self._has_ended:
            raise Invalid("the multipart body ends too early; send it again", param=_FILE)
        if self.filename is None:
            raise Invalid("file: missing; send it as a part of the form with a filename", param=_FILE)
        if self.num_bytes == 0:
            raise Invalid(f"file {self.filename!r} is empty", param=_FILE)

    def _begin(self) -> None:
        self._disposition, self._part = b"", None
        self._text = bytearray()

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _open(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode(errors="replace")
        if name == _FILE:
            self._open_file(options.get(b"filename"))
        elif name not in self._known:
            self._refuse(Invalid(f"{name}: not supported; leave it out", param=name or None))
        elif name in self.fields:
            self._refuse(Invalid(f"{name}: given twice", param=name))
        self._part = name

    def _open_file(self, filename: bytes | None) -> None:
        if filename is None:
            self._refuse(Invalid("file: must be a file with a filename, not a text", param=_FILE))
        elif self.filename is not None:
            self._refuse(Invalid("file: given twice; upload one at a time", param=_FILE))
        elif not (name := safe_name(filename.decode(errors="replace"))):
            self._refuse(Invalid(f"file: {filename.decode(errors='replace')!r} is no filename", param=_FILE))
        else:
            self.filename = name

    def _add(self, data: bytes, start: int, end: int) -> None:
        if self.fault is not None:
            return
        if self._part != _FILE:
            self._text += data[start:end]
            if len(self._text) > _MAX_FIELD_BYTES:
                self._refuse(Invalid(f"{self._part}: too long", param=self._part))
            return
        self.num_bytes += end - start
        self.num_waiting += end - start
        self._waiting.append(data[start:end])
        if self.num_bytes > self._max_bytes:
            self._refuse(
                TooLarge(
                    f"file {self.filename!r} is over the limit of {self._max_bytes:,} bytes; split it", param=_FILE
                )
            )

    def _close(self) -> None:
        if self._part is not None and self._part != _FILE:
            self.fields[self._part] = self._text.decode(errors="replace")

    def _end(self) -> None:
        self._has_ended = True

    def _refuse(self, fault: Refused) -> None:
        self.fault = self.fault or fault
        self.take()


def _boundary(request: Request) -> bytes:
    from python_multipart.multipart import parse_options_header

    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 1 <= len(boundary) <= 256:
        raise Invalid("file: send it as multipart/form-data with a boundary", param=_FILE)
    return boundary


def _keep(file: BinaryIO, digest: hashlib._Hash, pieces: list[bytes], *, is_last: bool = False) -> None:
    for piece in pieces:
        digest.update(piece)
        file.write(piece)
    if is_last:
        file.flush()
        os.fsync(file.fileno())
