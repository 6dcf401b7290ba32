"""Views of an index on disk: named arrays in one file, whole or not at all, and checked to the last bit when read.

write_view(file, "3f9c", {"numbers": numbers, "links": write_links})
arrays = read_view(file, "3f9c")  # None: missing, torn, flipped, or of another stamp

The arrays that `read_view` gives lie on the file's pages, which the system loads when they are touched, shares between
processes and takes back when memory is short.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Sink = Callable[[bytes], int]
"""Takes the next bytes, returns how many it took (all of them)."""

Section = NDArray[np.generic] | Callable[[Sink], None]
"""An array, or a function that writes bytes to a sink (read as an array of uint8)."""

_MAGIC = b"arbiter view 1\n\0"
_ALIGNMENT = 64

log = logging.getLogger(__name__)


def write_view(file: Path, stamp: str, sections: Mapping[str, Section]) -> None:
    """Writes the sections under the stamp to a file beside it that then takes its place. Raises OSError."""
    import xxhash

    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    digest = xxhash.xxh3_128()
    try:
        with temporary.open("wb") as stream:

            def sink(data: bytes | memoryview) -> int:
                digest.update(data)
                return stream.write(data)

            sink(_MAGIC)
            entries = {}
            for name, section in sections.items():
                sink(bytes(-stream.tell() % _ALIGNMENT))
                start = stream.tell()
                if callable(section):
                    section(sink)
                    entries[name] = ("|u1", (stream.tell() - start,), start)
                else:
                    array = np.ascontiguousarray(section)
                    sink(array.reshape(-1).view(np.uint8).data)
                    entries[name] = (array.dtype.str, array.shape, start)
            directory = json.dumps({"stamp": stamp, "sections": entries}).encode()
            sink(directory)
            sink(len(directory).to_bytes(8, "little"))
            stream.write(digest.digest())
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_view(file: Path, stamp: str) -> dict[str, Any] | None:
    """The sections as arrays, by name, or None if the file is not what `write_view` wrote under this stamp."""
    import xxhash

    try:
        # One mapping for the check and for the use: a file that is replaced in between is not the one in use.
        pages: NDArray[np.uint8] = np.asarray(np.memmap(file, dtype=np.uint8, mode="r"))
    except FileNotFoundError:
        log.info("view %s is not there", file)
        return None
    except (OSError, ValueError) as error:
        log.warning("view %s cannot be read: %s", file, error)
        return None
    end = len(pages) - xxhash.xxh3_128().digest_size
    digest = xxhash.xxh3_128(pages[:end].data)
    if end < len(_MAGIC) + 8 or bytes(pages[: len(_MAGIC)]) != _MAGIC or bytes(pages[end:]) != digest.digest():
        log.warning("view %s is torn or damaged", file)
        return None
    length = int.from_bytes(bytes(pages[end - 8 : end]), "little")
    directory = json.loads(bytes(pages[end - 8 - length : end - 8]))
    if directory["stamp"] != stamp:
        log.info("view %s is of %r, not %r", file, directory["stamp"], stamp)
        return None
    sections = {}
    for name, (dtype, shape, start) in directory["sections"].items():
        length = np.dtype(dtype).itemsize * int(np.prod(shape))
        sections[name] = pages[start : start + length].view(dtype).reshape(shape)
    return sections
