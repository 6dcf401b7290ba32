"""Directories that are either complete or not there: filled under a temporary name, manifest last, then renamed.

with publish(adapters / "raft@3f9c1a2b") as folder:
    ...                                              write the files
    write_manifest(folder, {"rows": 250})            last: its presence means complete
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from storage.errors import StorageError
from storage.files import hold_lock, refuse_full_disk, replace_text, sync_path

MANIFEST = "manifest.json"

_DRAFT = re.compile(r"\..+\.tmp-\d+-[0-9a-f]{8}")


def write_manifest(directory: Path, manifest: Mapping[str, object]) -> None:
    """Write manifest.json, whole and to the disk. Raises StorageError when the disk is full."""
    replace_text(directory / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


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
        raise StorageError(f"{MANIFEST} of {str(directory)!r} is no JSON object; delete it and make it again")
    return manifest


def is_complete(directory: Path) -> bool:
    """Whether the directory has a manifest that can be read."""
    try:
        read_manifest(directory)
    except StorageError:
        return False
    return True


@contextlib.contextmanager
def publish(final: Path) -> Iterator[Path]:
    """Yield a temporary sibling directory; afterwards it is on disk and named `final`.

    The body writes the manifest last. A complete `final` that exists already is kept and the new one dropped; an
    incomplete one is replaced. On any exception nothing is left behind. Raises StorageError when the disk is full.
    """
    with refuse_full_disk(final), draft_folder(final) as draft:
        yield draft
        _finish(draft, final)


def publish_once(final: Path, manifest: Mapping[str, object], write: Callable[[Path], None]) -> None:
    """Publish what `write` puts into a folder unless `final` is complete; a second process waits for the first.

    Raises OSError, and what `write` raises.
    """
    with hold_lock(final.with_name(f".{final.name}.lock")):
        if not is_complete(final):
            sweep_drafts(final.parent)
            with draft_folder(final) as draft:
                write(draft)
                write_manifest(draft, manifest)
                _finish(draft, final)


@contextlib.contextmanager
def draft_folder(final: Path) -> Iterator[Path]:
    """A temporary sibling of a folder; at the end of the block it is gone unless it was renamed.

    While we live its lock is ours, and the kernel lets go of it when we are killed: a process id would not do, in a
    container the next process has the same one.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    draft, lock = _make_locked(final)
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        os.close(lock)


def sweep_drafts(parent: Path) -> None:
    """Remove the drafts in `parent` whose writers were killed (kill -9); those still being written are left alone."""
    for leftover in parent.glob(".*.tmp-*"):
        if leftover.is_dir() and _DRAFT.fullmatch(leftover.name):
            _remove_abandoned(leftover)


def _make_locked(final: Path) -> tuple[Path, int]:
    while True:
        draft = final.with_name(f".{final.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
        draft.mkdir()
        lock = os.open(draft, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if draft.exists():
            return draft, lock
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


def _finish(draft: Path, final: Path) -> None:
    assert is_complete(draft), f"nobody wrote {MANIFEST} of {final.name}"
    for path in (*draft.rglob("*"), draft):
        sync_path(path)
    if is_complete(final):
        return
    shutil.rmtree(final, ignore_errors=True)
    try:
        draft.rename(final)
    except OSError:
        # Somebody else published the same content between the look and the rename.
        if not is_complete(final):
            raise
    sync_path(final.parent)
