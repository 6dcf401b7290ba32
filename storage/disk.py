"""The disk: whether it is full, in whatever words a library says so, and what is surely on it.

with refuse_full_disk(target): model.save(target)
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from storage.errors import ArbiterError, StorageError

_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
# safetensors, shutil.copytree and SQLite raise classes of their own with these words in them.
_WORDS = (*map(os.strerror, _ERRNOS), "disk is full")
# torch.save and SQLite may say nothing about the cause. Then the disk is asked.
_VAGUE_WORDS = (
    "PytorchStreamWriter",
    "inline_container",
    "iostream error",
    "disk I/O error",
    "unable to open database file",
)
_LITTLE = 1 << 20


@contextlib.contextmanager
def refuse_full_disk(target: Path) -> Iterator[None]:
    """Turn the libraries' many ways of saying that the disk is full into one StorageError."""
    try:
        yield
    except ArbiterError:
        raise
    except Exception as error:
        if is_full_disk(error, target):
            raise StorageError(
                f"disk full while writing {str(target)!r}; free some space and run the same command again"
            ) from error
        raise


def is_full_disk(error: BaseException, target: Path) -> bool:
    """Whether an error of writing `target`, which need not be there, comes from a disk or a quota that is full."""
    if isinstance(error, OSError) and error.errno in _ERRNOS:
        return True
    text = str(error)
    if any(words in text for words in _WORDS):
        return True
    return any(words in text for words in _VAGUE_WORDS) and _free_bytes(target) < _LITTLE


def sync_path(path: Path) -> None:
    """Wait until a file, or what a folder lists, is on the disk and would outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _free_bytes(path: Path) -> int:
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free
