"""Where a folder has its parts, whoever laid it out: files by name, a hub's numbered ones, a folder a split, a saved
`DatasetDict`.

find_part(Path("data/mine"), "train")  # .../train.jsonl, .../data/train-00000-of-00002.parquet, .../faq_train.csv
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

from storage.errors import ArbiterError, StorageError, listed
from tuning.data.formats.registry import FORMATS, columns_of
from tuning.data.spreadsheet import is_workbook, sheet_titles
from tuning.data.table_files import SUFFIXES, read_table, shards_of, stem_of
from tuning.errors import TuningError

Part = Literal["train", "test", "dev", "guard", "questions", "pairs"]

_NAMES: dict[Part, tuple[str, ...]] = {
    "train": ("train", "training"),
    "test": ("test",),
    "dev": ("dev", "validation", "valid", "val"),
    "guard": ("guard",),
    "questions": ("questions",),
    "pairs": ("pairs",),
}
# Questions to evaluate, and beside those of a test to search settings on.
_EVAL = ("eval", "evaluation")
_CASES = (".yaml", ".yml")
# A config may have a part's name, so that YAML is looked into.
_ROWS = tuple(suffix for suffix in SUFFIXES if suffix not in _CASES)
# Files that hold rows and nothing else.
_TABLES = (".jsonl", ".ndjson", ".csv", ".tsv", ".xlsx", ".parquet", ".arrow")
# What says something about a folder.
_ABOUT = re.compile(
    r"\.|readme|licen[cs]e|changelog|dataset_(info|dict|infos)\b|state\.json"
    r"|(to_review|removed)\.jsonl|provenance\.json",
    re.IGNORECASE,
)
_OTHER_THINGS = {"docs", "documents", "corpus", "config", "labels", "predictions", "results", "answers"}
_PROMPTFOO = tuple(f"promptfooconfig{suffix}" for suffix in (*_CASES, ".json"))
# What rows come in and are not read from; a .dvc file stands for data that was not fetched.
_OTHER_FORMS = r"\.(json|jsonl|csv|txt|xls|ods|((jsonl|csv|json|parquet|xlsx)\.)?(gz|bz2|xz|zst|zip|dvc))"


def find_part(folder: Path, part: Part) -> Path | None:
    """The file of rows, the first of several numbered ones, or the saved data set that is this part of a folder; names
    count in any case. Without a file of its name alone it is one that has it among others: `faq_train.csv`; or a sheet
    of a workbook, `faq.xlsx/train`.

    Raises TuningError when there are two, or only what cannot be read as one; `is_there` as it says.
    """
    entries = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    found = _named(folder, entries, part, _NAMES[part])
    if not found and part == "test":
        found = [path for name in _PROMPTFOO if (path := folder / name).is_file()]
    if not found and (part == "test" or (part == "dev" and _named(folder, entries, "test", _NAMES["test"]))):
        found = _named(folder, entries, part, _EVAL)
    found = found or [path for path in entries if part in _parts_in(path)]
    found = found or [sheet for path in entries if is_workbook(path) for sheet in _sheets(path, part)]
    if len(found) > 1:
        both = " and ".join(str(path.relative_to(folder)) for path in found[:2])
        raise TuningError(f"data folder {str(folder)!r} has both {both}; keep one of them")
    others = re.compile(part + _OTHER_FORMS, re.IGNORECASE)
    if not found and (other := next((path for path in entries if others.fullmatch(path.name)), None)):
        raise TuningError(
            f"{str(other)!r} is not read, and there is no {part}.jsonl or {part}.csv: fetch it, unpack it or "
            "save it as one of these, or take it away"
        )
    return found[0] if found else None


def only_rows(folder: Path) -> Path | None:
    """The one file of rows of a folder that holds no part by name and little else, if there is one: what else could be
    meant?
    """
    entries = [path for path in sorted(folder.iterdir()) if not _ABOUT.match(path.name) and not _is_documents(path)]
    is_alone = len(entries) == 1 and entries[0].is_file() and entries[0].suffix.lower() in _ROWS
    return entries[0] if is_alone else None


def rows_not_read(folder: Path, read: Collection[Path]) -> list[str]:
    """The names of files of rows at the top of a folder that are not among those that are a part of it."""
    books = (path.parent for path in read if is_workbook(path.parent))
    known = {(path.parent, stem_of(path)) for path in (*read, *books)}
    return [
        path.name
        for path in sorted(folder.iterdir())
        if path.is_file() and path.suffix.lower() in _TABLES and (path.parent, stem_of(path)) not in known
        if not _ABOUT.match(path.name) and not _is_documents(path) and not _words_in(path) & _OTHER_THINGS
    ]


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


def _named(folder: Path, entries: Sequence[Path], part: Part, names: Sequence[str]) -> list[Path]:
    """What has one of these names and nothing else in it."""
    found = [path for path in entries if path.stem.lower() in names and path.suffix.lower() in _ROWS and is_there(path)]
    if unfit := next((path for path in found if not path.is_file()), None):
        raise TuningError(f"{str(unfit)!r} is no file; put its rows into a file of this name")
    found += [path for name in names for path in _numbered(folder, name)]
    folders = [path for path in entries if path.name.lower() in names and path.is_dir()]
    found += [path for path in folders if is_saved(path)]
    found = found or [path for one in folders for path in _split(one)]
    if part == "questions" and is_saved(folder):
        found.append(folder)
    if part == "test" or part == "questions":
        found += [path for suffix in _CASES if part in names and _holds_cases(path := folder / f"{part}{suffix}")]
    return found


def _split(folder: Path) -> list[Path]:
    """The file of rows in a folder that has a split's name. Raises TuningError where there are several."""
    found = [path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix.lower() in _ROWS]
    firsts = [path for path in found if path == shards_of(path)[0]]
    if len(firsts) > 1:
        names = listed((path.name for path in firsts), separator=", ")
        raise TuningError(f"{str(folder)!r} has several files of rows, {names}; put them into one")
    return firsts


def _sheets(book: Path, part: Part) -> list[Path]:
    """The sheets of a workbook that have a part's name; one that cannot be read has none."""
    names = (*_NAMES[part], *(_EVAL if part == "test" else ()))
    try:
        return [book / title for title in sheet_titles(book) if title.strip().lower() in names]
    except StorageError:
        return []


def _parts_in(path: Path) -> set[Part]:
    """The part that a file's name has among other words; none for one that has two, or names another thing."""
    is_later = "-of-" in path.stem and "-00000-of-" not in path.stem
    if path.suffix.lower() not in _ROWS or is_later or not path.is_file():
        return set()
    words = _words_in(path)
    found = {part for part, names in _NAMES.items() if words & {*names, *(_EVAL if part == "test" else ())}}
    return found if len(found) == 1 and not words & _OTHER_THINGS else set()


def _words_in(path: Path) -> set[str]:
    return set(re.split(r"[^a-z]+", path.stem.lower()))


def _is_documents(path: Path) -> bool:
    return path.stem.lower() == "docs"


def _numbered(folder: Path, name: str) -> list[Path]:
    """A hub's files of a split: numbered ones in the folder, in its data/ or in that of one of its configs, each lot by
    its first; and SQuAD's, which have a version. Raises TuningError where several folders have some.
    """
    first = re.compile(rf"{name}(-00000-of-\d{{5}}\.(parquet|arrow|jsonl|json|csv)|-v\d+(\.\d+)*\.json)", re.IGNORECASE)
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
    try:
        return FORMATS["promptfoo"].fits(columns_of(rows), rows) is not None
    except ValueError:  # which variable is the question is asked when they are read
        return True
