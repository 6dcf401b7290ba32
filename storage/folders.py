"""Directories that are either complete or not there: filled under a temporary name, manifest last, then renamed.

with publish(adapters / "raft@3f9c1a2b") as folder:
    ...                                              write the files
    write_manifest(folder, {"rows": 250})            last: its presence means complete
write_files(Path("data/imported"), {"docs.jsonl": docs, "test.jsonl": questions}, is_forced=False)
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from storage.errors import ArbiterError, StorageError, listed, reason_of
from storage.files import is_full_disk, refuse_full_disk, replace_text, sync_path

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

    The body writes the manifest last, and all files get its mode, which is that of any new file. A complete `final`
    that exists already is kept and the new one dropped; an incomplete one is replaced. On any exception nothing is left
    behind. Raises StorageError when the disk is full.
    """
    with refuse_full_disk(final), draft_folder(final) as draft:
        yield draft
        _finish(draft, final)


def write_files(
    folder: Path,
    files: Mapping[str, str],
    *,
    copies: Mapping[str, Path] | None = None,
    is_forced: bool = False,
    check: Callable[[Path], object] = lambda _: None,
) -> tuple[Path, ...]:
    """Write texts, and `copies` of files, by their relative paths and return the paths of the texts; files beside them
    stay as they are.

    Everything is written under a temporary name first, where `check` may raise for what is wrong with it. A new folder
    is then renamed; in one that exists the files are replaced one after another, in the order given. Raises
    StorageError, with the folder as it was, when files are there already and `is_forced` does not allow to replace
    them, and when nothing can be written there.
    """
    folder = folder.expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise StorageError(f"{str(folder)!r} is a file; give a folder to write to")
    copied = copies or {}
    names = (*copied, *files)
    existing = [name for name in names if (folder / name).exists()]
    if existing and not is_forced:
        found = listed(existing, separator=", ", shown=3)
        raise StorageError(f"{str(folder)!r} has {found} already; give another folder, or --force to replace them")
    try:
        with refuse_full_disk(folder), draft_folder(folder) as draft:
            for name in names:
                path = draft / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if name in files:
                    path.write_text(files[name], encoding="utf-8")
                else:
                    _copy(copied[name], path)
            try:
                check(draft)
            except ArbiterError as error:
                # The temporary name will be gone when somebody reads this.
                error.args = (str(error).replace(str(draft), str(folder)),)
                raise
            if folder.exists():
                for name in names:
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (draft / name).replace(folder / name)
            else:
                draft.rename(folder)
    except UnicodeEncodeError as error:
        torn = error.object[error.start]
        raise StorageError(f"cannot write to {str(folder)!r}: a text holds {torn!r}, half a character") from error
    except OSError as error:
        raise StorageError(f"cannot write to {str(folder)!r}: {error.strerror or error}; check the path") from error
    return tuple(folder / name for name in files)


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copy2(source, target)
    except OSError as error:
        if is_full_disk(error, target):
            raise
        raise StorageError(f"cannot copy {str(source)!r}: {reason_of(error)}") from error


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


def delete_folder(final: Path) -> None:
    """Delete a directory: at once nobody finds it by its name, and a kill leaves a draft that `sweep_drafts` removes.
    Nothing for one that is gone. Raises StorageError where it cannot be renamed.
    """
    draft = final.with_name(f".{final.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        final.rename(draft)
        sync_path(final.parent)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"cannot delete {str(final)!r}: {reason_of(error)}") from error
    shutil.rmtree(draft, ignore_errors=True)


def sweep_drafts(parent: Path) -> None:
    """Remove the drafts in `parent` whose writers were killed (kill -9); those still being written are left alone."""
    for leftover in parent.glob(".*.tmp-*"):
        if not leftover.is_dir() or not _DRAFT.fullmatch(leftover.name):
            continue
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            lock = os.open(leftover, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(leftover, ignore_errors=True)
            finally:
                os.close(lock)


def _make_locked(final: Path) -> tuple[Path, int]:
    while True:
        draft = final.with_name(f".{final.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
        draft.mkdir()
        lock = os.open(draft, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if draft.exists():
            return draft, lock
        os.close(lock)  # a sweeper came between mkdir and flock


def _finish(draft: Path, final: Path) -> None:
    assert is_complete(draft), f"nobody wrote {MANIFEST} of {final.name}"
    # safetensors writes files that only their owner may read; the manifest's mode is what the umask leaves.
    mode = stat.S_IMODE((draft / MANIFEST).stat().st_mode)
    for path in (*draft.rglob("*"), draft):
        if path.is_file() and not path.is_symlink():
            path.chmod(mode)
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
