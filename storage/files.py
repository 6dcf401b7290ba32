"""Files on a disk that may be full: replaced whole, surely there, and locked against other processes.

with refuse_full_disk(target): model.save(target)
replace_text(run / "card.json", text)
with hold_lock(folder / "lock", busy=EvalError("another process does that")): ...
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

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
    if not any(words in text for words in _VAGUE_WORDS):
        return False
    # `access` answers where `Path.exists` raises: in a folder that this user may not look into.
    existing = next(folder for folder in (target, *target.absolute().parents) if os.access(folder, os.F_OK))
    return shutil.disk_usage(existing).free < _LITTLE


def sync_path(path: Path) -> None:
    """Wait until a file, or what a folder lists, is on the disk and would outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old or the new text. Raises StorageError when it cannot be written."""
    with replace_file(path) as file:
        file.write(text)


@contextlib.contextmanager
def replace_file(path: Path) -> Iterator[TextIO]:
    """As `replace_text`, for a text that is written piece by piece; an exception leaves the old file."""
    draft = path.with_name(f".{path.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with refuse_full_disk(path):
            with draft.open("w", encoding="utf-8") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
            sync_path(path.parent)
    except OSError as error:
        raise StorageError(f"cannot write {str(path)!r}: {error.strerror or error}; check the path") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


@contextlib.contextmanager
def hold_lock(file: Path, *, busy: Exception | None = None) -> Iterator[None]:
    """Hold the lock of a file, which is made if need be with its folder; the kernel lets go of it when we are killed.

    Where another process has it, raises `busy`, or waits if that is not given. Raises OSError.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy is not None else 0))
        except BlockingIOError:
            assert busy is not None
            raise busy from None
        yield
