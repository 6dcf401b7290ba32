"""Text files that belong together, written as one: a new folder is there with all of them or not at all.

write_files(Path("data/imported"), {"docs.jsonl": docs, "test.jsonl": questions}, is_forced=False)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from storage.errors import ArbiterError, StorageError
from storage.files import refuse_full_disk
from storage.folders import draft_folder


def write_files(
    folder: Path,
    files: Mapping[str, str],
    *,
    is_forced: bool = False,
    check: Callable[[Path], object] | None = None,
) -> tuple[Path, ...]:
    """Write texts by their relative paths and return the written paths; files beside them stay as they are.

    Everything is written under a temporary name first, where `check` may raise for what is wrong with it. A new folder
    is then renamed; in one that exists the files are replaced one after another, in the order given. Raises
    StorageError, with the folder as it was, when files are there already and `is_forced` does not allow to replace
    them, and when nothing can be written there.
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
    try:
        with refuse_full_disk(folder), draft_folder(folder) as draft:
            for name, text in files.items():
                path = draft / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            if check is not None:
                _check(check, draft, folder)
            if folder.exists():
                for name in files:
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


def _check(check: Callable[[Path], object], draft: Path, folder: Path) -> None:
    try:
        check(draft)
    except ArbiterError as error:
        # The temporary name will be gone when somebody reads this.
        error.args = (str(error).replace(str(draft), str(folder)),)
        raise
