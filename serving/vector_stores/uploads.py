"""A multipart upload as it comes in: the file goes to the disk piece by piece, never whole into memory.

upload = await receive_upload(request, folder / "content", max_bytes=512 * 2**20)
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import unicodedata
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal, get_args

from fastapi import Request
from python_multipart.exceptions import FormParserError
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from serving.errors import Invalid, Refused, TooLarge

MAX_NAME_BYTES = 255

_FILE = "file"
_MAX_FIELDS = 10
# What is held in memory before it goes to the disk, in a thread: the event loop has chats to stream meanwhile.
_WRITE_BYTES = 2**20


Purpose = Literal["assistants", "user_data", "evals", "fine-tune"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
# Of what a fine-tuning job measured.
RESULTS = "fine-tune-results"


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that came in whole, for one of PURPOSES, or one of our own. `filename` is a name to show, never a path."""

    filename: str
    purpose: str
    num_bytes: int
    sha256: str


async def receive_upload(request: Request, into: Path, *, max_bytes: int) -> Upload:
    """Write the part `file` of a multipart body to the new file `into`, synced; the other part is `purpose`.

    The caller removes `into` when this raises: Refused for a body that is refused, OSError for a disk that is full. A
    refused body is read on for a while, or its sender would see a broken connection in place of the reason.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise Invalid("file: send it as multipart/form-data with a boundary", param=_FILE)
    stream = request.stream()
    try:
        file = await asyncio.to_thread(into.open, "xb")
        try:
            form = await _Form(request.headers, stream, file, max_bytes).parse()
            await asyncio.to_thread(os.fsync, file.fileno())
        except (Refused, MultiPartException, FormParserError):
            num_more = 0
            async for piece in stream:
                num_more += len(piece)
                if num_more >= max_bytes:
                    break
            raise
        finally:
            await asyncio.to_thread(file.close)
    except (MultiPartException, FormParserError) as error:
        raise Invalid(f"the multipart body cannot be read: {error}", param=_FILE) from error
    except ClientDisconnect as error:
        raise Invalid("the upload was broken off", param=_FILE) from error
    for name in form:
        if name not in (_FILE, "purpose"):
            raise Invalid(f"{name}: not supported; leave it out", param=name)
        if len(form.getlist(name)) > 1:
            raise Invalid(f"{name}: given twice", param=name)
    kept, purpose = form.get(_FILE), form.get("purpose")
    if not isinstance(kept, _Kept):
        raise Invalid("file: missing or torn off; send it as a part of the form with a filename", param=_FILE)
    if kept.num_bytes == 0:
        raise Invalid(f"file {kept.name!r} is empty", param=_FILE)
    if not isinstance(purpose, str) or purpose not in PURPOSES:
        raise Invalid(f"purpose: must be one of {', '.join(PURPOSES)}, not {purpose!r:.80}", param="purpose")
    return Upload(kept.name, purpose, kept.num_bytes, kept.digest.hexdigest())


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


class _Form(MultiPartParser):
    """Starlette's reader of a form, with the file in its place from the beginning and at most `max_bytes` long."""

    def __init__(self, headers: Headers, stream: AsyncGenerator[bytes, None], file: BinaryIO, max_bytes: int) -> None:
        super().__init__(headers, stream, max_files=1, max_fields=_MAX_FIELDS)
        self._file = file
        self._max_bytes = max_bytes

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        if (given := self._current_part.file) is not None:
            if not (name := safe_name(given.filename or "")):
                raise Invalid(f"file: {given.filename!r} is no filename", param=_FILE)
            self._current_part.file = _Kept(self._file, name, self._max_bytes)


class _Kept(UploadFile):
    def __init__(self, file: BinaryIO, name: str, max_bytes: int) -> None:
        super().__init__(file)
        self.name = name
        self.num_bytes = 0
        self.digest = hashlib.sha256()
        self._max_bytes = max_bytes
        self._waiting = bytearray()

    async def write(self, data: bytes) -> None:
        self.num_bytes += len(data)
        if self.num_bytes > self._max_bytes:
            raise TooLarge(f"file {self.name!r} is over the limit of {self._max_bytes:,} bytes; split it", param=_FILE)
        self._waiting += data
        if len(self._waiting) >= _WRITE_BYTES:
            await asyncio.to_thread(self._keep)

    async def seek(self, _offset: int) -> None:
        """What the parser does last with a file."""
        await asyncio.to_thread(self._keep)

    def _keep(self) -> None:
        self.digest.update(self._waiting)
        self.file.write(self._waiting)
        self.file.flush()
        self._waiting.clear()
