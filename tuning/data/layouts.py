"""Where a folder has its parts, whoever laid it out: files by name, a hub's numbered ones, a saved `DatasetDict`.

find_part(Path("data/mine"), "train")  # .../train.jsonl, .../data/train-00000-of-00002.parquet, .../train
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from storage.errors import ArbiterError, StorageError, listed
from tuning.data.formats.registry import FORMATS, columns_of
from tuning.data.table_files import SUFFIXES, read_table
from tuning.errors import TuningError

Part = Literal["train", "test", "dev", "guard", "questions", "pairs"]

_NAMES: dict[str, tuple[str, ...]] = {"dev": ("dev", "validation", "valid", "val")}
_CASES = (".yaml", ".yml")
# A config may have a part's name, so that YAML is looked into.
_ROWS = tuple(suffix for suffix in SUFFIXES if suffix not in _CASES)
_PROMPTFOO = tuple(f"promptfooconfig{suffix}" for suffix in (*_CASES, ".json"))
# What rows come in and are not read from; a .dvc file stands for data that was not fetched.
_OTHER_FORMS = r"\.(json|jsonl|csv|txt|xls|ods|((jsonl|csv|json|parquet|xlsx)\.)?(gz|bz2|xz|zst|zip|dvc))"


def find_part(folder: Path, part: Part) -> Path | None:
    """The file of rows, the first of several numbered ones, or the saved data set that is this part of a folder.

    Raises TuningError when there are two, or only what cannot be read as one; `is_there` as it says.
    """
    names = _NAMES.get(part, (part,))
    found = [path for name in names for suffix in _ROWS if is_there(path := folder / f"{name}{suffix}")]
    if unfit := next((path for path in found if not path.is_file()), None):
        raise TuningError(f"{str(unfit)!r} is no file; put its rows into a file of this name")
    found += [path for name in names for path in _numbered(folder, name)]
    found += [path for name in names if is_saved(path := folder / name)]
    if part == "test" or part == "questions":
        found += [path for suffix in _CASES if _holds_cases(path := folder / f"{part}{suffix}")]
    if part == "questions" and is_saved(folder):
        found.append(folder)
    if not found and part == "test":
        found = [path for name in _PROMPTFOO if (path := folder / name).is_file()]
    if len(found) > 1:
        both = " and ".join(str(path.relative_to(folder)) for path in found[:2])
        raise TuningError(f"data folder {str(folder)!r} has both {both}; keep one of them")
    others = re.compile(part + _OTHER_FORMS, re.IGNORECASE)
    if not found and (other := next((path for path in sorted(folder.iterdir()) if others.fullmatch(path.name)), None)):
        raise TuningError(
            f"{str(other)!r} is not read, and there is no {part}.jsonl or {part}.csv: fetch it, unpack it or "
            "save it as one of these, or take it away"
        )
    return found[0] if found else None


def is_saved(folder: Path) -> bool:
    """Whether `datasets` saved a single data set there."""
    return (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()


def is_there(path: Path) -> bool:
    """Whether something has this name. Raises ArbiterError for a link that leads nowhere."""
    try:
        path.stat()
    except OSError as error:
        if path.is_symlink():
            raise ArbiterError(
                f"{str(path)!r} is a link to {str(path.readlink())!r}, which leads nowhere ({error.strerror}); fetch "
                "its data (dvc pull, git annex get) or take the link away"
            ) from error
        return False
    return True


def _numbered(folder: Path, name: str) -> list[Path]:
    """A hub's files of a split: numbered ones in the folder, in its data/ or in that of one of its configs, each lot by
    its first; and SQuAD's, which have a version. Raises TuningError where several folders have some.
    """
    first = re.compile(rf"{name}(-00000-of-\d{{5}}\.(parquet|arrow|jsonl|json|csv)|-v\d+(\.\d+)*\.json)")
    deeper = (path for path in sorted(folder.iterdir()) if path.is_dir() and path.name not in ("docs", "data"))
    for places in ((folder,), (folder / "data",), tuple(deeper)):
        found = [path for place in places if place.is_dir() for path in place.iterdir() if first.fullmatch(path.name)]
        if places[1:] and len(found) > 1:
            where = listed((f"{path.parent.name}/" for path in found), separator=", ")
            raise TuningError(f"data folder {str(folder)!r} has {name} rows in {where}; give one of these as the data")
        if found:
            return sorted(found)
    if (folder / "data").is_dir():
        return [path for suffix in _ROWS if (path := folder / "data" / f"{name}{suffix}").is_file()]
    return []


def _holds_cases(path: Path) -> bool:
    """Whether a YAML file holds tests, and is no config."""
    if not path.is_file():
        return False
    try:
        rows = [row for _, row in read_table(path).rows if not isinstance(row, str)]
    except StorageError:
        return False
    return FORMATS["promptfoo"].fits(columns_of(rows), rows) is not None
