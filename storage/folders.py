"""Directories that are either complete or not there: filled under a temporary name, manifest last, then renamed.

with publish(adapters / "raft@3f9c1a2b") as folder:
    ...                                              write the files
    write_manifest(folder, {"rows": 250})            last: its presence means complete
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from storage.errors import StorageError

MANIFEST = "manifest.json"
_TEMPORARY = re.compile(r"\..+\.tmp-\d+-[0-9a-f]{8}")


@contextlib.contextmanager
def publish(final: Path) -> Iterator[Path]:
    """Yield a temporary sibling directory; afterwards it is on disk and named `final`.

    The body writes the manifest last. A complete `final` that exists already is kept and the new one dropped; an
    incomplete one is replaced. On any exception nothing is left behind. Raises StorageError when the disk is full.
    """
    with refuse_full_disk(final):
        temporary, lock = _make_temporary(final)
        try:
            yield temporary
            assert is_complete(temporary), f"nobody wrote {MANIFEST} of {final.name}"
            _sync_tree(temporary)
            if not is_complete(final):
                shutil.rmtree(final, ignore_errors=True)
                _rename(temporary, final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            os.close(lock)


def write_manifest(directory: Path, manifest: Mapping[str, object]) -> None:
    """Write manifest.json atomically and to the disk. Call it last: its presence means the directory is complete."""
    draft = directory / f".{MANIFEST}.draft"
    with refuse_full_disk(directory):
        with draft.open("w", encoding="utf-8") as file:
            json.dump(manifest, file, indent=1, ensure_ascii=False, allow_nan=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(directory / MANIFEST)
        _sync(directory)


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a complete directory. Raises StorageError when it is missing or torn."""
    try:
        manifest = json.loads((directory / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise StorageError(
            f"{str(directory)!r} has no {MANIFEST}, so it is not complete; delete it and make it again"
        ) from None
    except (OSError, ValueError) as error:
        raise StorageError(
            f"cannot read {MANIFEST} of {str(directory)!r}: {error}; delete it and make it again"
        ) from error
    if not isinstance(manifest, dict):
        raise StorageError(
            f"{MANIFEST} of {str(directory)!r} is no JSON object; delete the directory and make it again"
        )
    return manifest


def is_complete(directory: Path) -> bool:
    """Whether the directory has a manifest that can be read."""
    try:
        read_manifest(directory)
    except StorageError:
        return False
    return True


def content_hash(*parts: bytes | str) -> str:
    """sha256 over the parts as 64 hex digits; ("ab", "c") and ("a", "bc") differ."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8") if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()


def hash_files(directory: Path) -> dict[str, str]:
    """sha256 of every file below the directory by its relative path, sorted, the manifest left out."""
    hashes = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_file() and name != MANIFEST:
            with path.open("rb") as file:
                hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def sweep_temporaries(parent: Path) -> None:
    """Remove what publishers killed in mid-writing (kill -9) left in `parent`; those still writing are left alone."""
    for leftover in parent.glob(".*.tmp-*"):
        if leftover.is_dir() and _TEMPORARY.fullmatch(leftover.name):
            _remove_abandoned(leftover)


@contextlib.contextmanager
def refuse_full_disk(target: Path) -> Iterator[None]:
    """Turn the libraries' many ways of saying that the disk is full into one StorageError."""
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        if _is_full_disk(error, target):
            raise StorageError(
                f"disk full while writing {str(target)!r}; free some space and run the same command again"
            ) from error
        raise


def _is_full_disk(error: Exception, target: Path) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    text = str(error)
    # safetensors and shutil.copytree raise classes of their own with the system's words in them.
    if os.strerror(errno.ENOSPC) in text or os.strerror(errno.EDQUOT) in text:
        return True
    # torch.save says nothing about the cause, in three ways.
    is_torch_save = any(words in text for words in ("PytorchStreamWriter", "inline_container", "iostream error"))
    return is_torch_save and _free_bytes(target) < 1 << 20


def _free_bytes(path: Path) -> int:
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free


def _make_temporary(final: Path) -> tuple[Path, int]:
    """A temporary directory and an open descriptor that holds its lock: the kernel lets go of it when we are killed.

    A process id would not do: in a container the next process has the same one.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    while True:
        temporary = final.with_name(f".{final.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
        temporary.mkdir()
        lock = os.open(temporary, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if temporary.exists():
            return temporary, lock
        os.close(lock)  # a sweeper came between mkdir and flock


def _remove_abandoned(leftover: Path) -> None:
    try:
        lock = os.open(leftover, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(leftover, ignore_errors=True)
    except BlockingIOError:
        return
    finally:
        os.close(lock)


def _rename(temporary: Path, final: Path) -> None:
    try:
        temporary.rename(final)
    except OSError:
        # Somebody else published the same content between the look and the rename.
        if not is_complete(final):
            raise
    _sync(final.parent)


def _sync_tree(directory: Path) -> None:
    for path in directory.rglob("*"):
        _sync(path)
    _sync(directory)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
