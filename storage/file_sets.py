"""Text files that belong together, written as one: a new folder is there with all of them or not at all.

write_files(Path("data/imported"), {"docs.jsonl": docs, "test.jsonl": questions}, is_forced=False)
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from storage.errors import ArbiterError, StorageError
from storage.folders import refuse_full_disk


def write_files(
    folder: Path,
    files: Mapping[str, str],
    *,
    is_forced: bool = False,
    check: Callable[[Path], object] | None = None,
) -> tuple[Path, ...]:
    """Write texts by their relative paths and return the written paths; files beside them stay as they are.

    Everything is written under a temporary name first, where `check` may raise for what is wrong with it. A new folder
    is then renamed; in one that exists the files are replaced one after another, in the order given.

    Raises StorageError when files are there already and `is_forced` does not allow to replace them, or when nothing can
    be written there; the folder is as it was then.
    """
    folder = folder.expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise StorageError(f"{str(folder)!r} is a file; give a folder to write to")
    existing = [name for name in files if (folder / name).exists()]
    if existing and not is_forced:
        more = f" and {len(existing) - 3} more" if len(existing) > 3 else ""
        raise StorageError(
            f"{str(folder)!r} has {', '.join(existing[:3])}{more} already; give another folder, or --force to replace "
            "them"
        )
    temporary = folder.with_name(f".{folder.name}.tmp-{os.getpid()}")
    try:
        with refuse_full_disk(folder):
            shutil.rmtree(temporary, ignore_errors=True)
            for name, text in files.items():
                path = temporary / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            if check is not None:
                _check(check, temporary, folder)
            if folder.exists():
                for name in files:
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (temporary / name).replace(folder / name)
            else:
                temporary.rename(folder)
    except UnicodeEncodeError as error:
        torn = error.object[error.start]
        raise StorageError(f"cannot write to {str(folder)!r}: a text holds {torn!r}, half a character") from error
    except OSError as error:
        raise StorageError(f"cannot write to {str(folder)!r}: {error.strerror or error}; check the path") from error
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(temporary)
    return tuple(folder / name for name in files)


def _check(check: Callable[[Path], object], temporary: Path, folder: Path) -> None:
    try:
        check(temporary)
    except ArbiterError as error:
        # The temporary name will be gone when somebody reads this.
        error.args = (str(error).replace(str(temporary), str(folder)),)
        raise
