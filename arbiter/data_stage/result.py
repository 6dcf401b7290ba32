"""What a transform leaves: a data folder that a run takes as it is, the rows that are not in it, and how it was made.

written = write_result(source, target, {"train": kept}, removed, made, is_forced=False, console=console)
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arbiter.console import Console, Output
from arbiter.data_stage.source import PROVENANCE, REMOVED, LeftOut, Source
from eval.questions import load_questions
from storage.errors import StorageError
from storage.folders import sweep_drafts, write_files
from storage.hashes import content_hash, hash_files
from storage.records import as_json, json_lines
from tuning.data.examples import load_examples
from tuning.data.formats.given import Columns
from tuning.data.layouts import Part, find_part

_PARTS: tuple[Part, ...] = ("train", "test", "dev", "guard", "questions")


@dataclass(frozen=True, slots=True)
class Written:
    """A row as it is written, and its number in the file that it comes from."""

    row: Mapping[str, object]
    line: int


@dataclass(frozen=True, slots=True)
class Made:
    """How a transform was made: the command line, its settings, the seed of what was drawn, and what it did in words,
    a line each.
    """

    command: str
    settings: Mapping[str, object]
    seed: int | None
    notes: tuple[str, ...]


def write_result(
    source: Source,
    target: Path,
    parts: Mapping[str, Sequence[Written]],
    removed: Sequence[LeftOut],
    made: Made,
    *,
    replaced: Sequence[Path] = (),
    is_forced: bool,
    console: Console,
) -> Output:
    """Write the rows of each part, what lay beside them in the source, the rows that are in no part, and provenance.

    All of it is there at once in a new folder; `replaced` are files of the source that `parts` stand for. Raises
    StorageError as `write_files`, and where the target is, holds or lies in the source.
    """
    target = target.expanduser().absolute()
    refuse_target(source, target, is_forced=is_forced)
    every = (*source.left_out, *removed)
    lost = json_lines({"line": one.line, "reason": one.reason, **one.detail, "row": as_json(one.row)} for one in every)
    files = {f"{part}.jsonl": json_lines(as_json(one.row) for one in rows) for part, rows in parts.items() if rows}
    copies = source.beside(without=replaced)
    counts = Counter(one.reason for one in every)
    provenance = {
        "command": made.command,
        "settings": dict(made.settings),
        "seed": made.seed,
        "source": str(source.path),
        "sha256": {path.name: _hash(path) for path in source.files()},
        "rows_in": len(source.rows) + len(source.left_out),
        "rows_out": {part: len(rows) for part, rows in parts.items()},
        "lines": {part: _ranges([one.line for one in rows]) for part, rows in parts.items()},
        "removed": dict(counts.most_common()),
        "notes": list(made.notes),
        "arbiter": importlib.metadata.version("arbiter"),
        "created_at": int(time.time()),
        "earlier": _earlier(source),
    }
    texts = files | {REMOVED: lost, PROVENANCE: json.dumps(provenance, ensure_ascii=False, indent=1) + "\n"}
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep_drafts(target.parent)
    with console.step(f"writing {target.name} ({len(copies)} files are copied)"):
        paths = write_files(target, texts, copies=copies, is_forced=is_forced, check=_read_back)
    head = [f"{part}.jsonl: {len(rows)} rows" for part, rows in parts.items() if rows]
    head += [f"{REMOVED}: {len(every)} of {len(source.rows) + len(source.left_out)} rows"]
    head += [f"  {count} {reason}" for reason, count in counts.most_common()]
    text = "\n".join([str(target), *head, *(f"note: {note}" for note in made.notes)])
    shown: dict[str, Any] = {key: provenance[key] for key in ("rows_in", "rows_out", "removed", "seed", "notes")}
    return text, {"folder": str(target), "files": [str(path) for path in paths], "copied": len(copies), **shown}


def refuse_target(source: Source, target: Path, *, is_forced: bool) -> None:
    """Raises StorageError for a folder that is, holds or lies in the source, or holds rows already."""
    target = target.expanduser().absolute()
    folder = (source.folder or source.path.parent).resolve()
    resolved = target.resolve()
    if resolved == folder or (source.folder is not None and (folder in resolved.parents or resolved in folder.parents)):
        raise StorageError(f"{str(target)!r} is, holds or lies in the source {str(folder)!r}; give a folder beside it")
    for part in _PARTS:
        there = find_part(resolved, part) if resolved.is_dir() else None
        if there is not None and there.name != f"{part}.jsonl":
            raise StorageError(f"{str(there)!r} would stand beside what is written; give another folder")
        if there is not None and not is_forced:
            raise StorageError(f"{str(there)!r} is there already; give another folder, or --force to replace files")


def _ranges(lines: Sequence[int]) -> str:
    """Line numbers in the order of the rows, runs as `3-9`."""
    runs: list[list[int]] = []
    for line in lines:
        if runs and line == runs[-1][1] + 1:
            runs[-1][1] = line
        else:
            runs.append([line, line])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _hash(path: Path) -> str:
    """Of a file, or of all files of a saved data set."""
    if path.is_dir():
        return content_hash(*(part for item in hash_files(path).items() for part in item))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _earlier(source: Source) -> object:
    """How the source itself was made, where a transform made it."""
    path = source.folder / PROVENANCE if source.folder is not None else None
    try:
        return json.loads(path.read_bytes()) if path is not None and path.is_file() else None
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot read {str(path)!r}: {error}; take it away or mend it") from error


def _read_back(folder: Path) -> None:
    columns: Columns = {}
    for name in ("train", "questions"):
        if (path := folder / f"{name}.jsonl").is_file():
            load_examples(path, columns)
    for name in ("test", "dev"):
        if (path := folder / f"{name}.jsonl").is_file():
            load_questions(path, columns, refuse_contradictions=False)
