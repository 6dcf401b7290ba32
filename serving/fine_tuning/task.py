"""What a training's process is told, as a file in its job's folder: `Task.read(folder)`.

Beside it lie the job's files by their own names, then the rows that were read of them, the training's checkpoints, and
every step that it told of.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from storage.files import replace_text
from storage.records import from_json, json_lines
from tuning.base import ResolvedModel
from tuning.data.rows import Row

Part = Literal["training_file", "validation_file"]

_TASK, _STEPS = "task.json", "steps.jsonl"


@dataclass(frozen=True, slots=True)
class Task:
    """One training. `files` holds the name of each file that the user gave; `recipe` has all numbers once the files
    were checked. With `spreads_looks` no more rows are looked at than learned; `adapters` is the folder that the result
    is published in.
    """

    base: ResolvedModel
    name: str
    objective: str
    recipe: Mapping[str, Any]
    rate_factor: float | None
    spreads_looks: bool
    max_rank: int
    files: Mapping[Part, str]
    adapters: str
    provenance: Mapping[str, Any]

    def write(self, folder: Path) -> None:
        """Put it where the process finds it. Raises StorageError."""
        replace_text(folder / _TASK, json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> Task:
        """The task of a folder. Raises OSError and ValueError for none."""
        return from_json(cls, (folder / _TASK).read_bytes())


def file_path(folder: Path, part: Part, name: str) -> Path:
    """Where a job's file lies; its name says of what kind it is."""
    return folder / part / name


def write_rows(folder: Path, part: Part, rows: Sequence[Row]) -> None:
    """Keep what was read of a file. Raises StorageError."""
    replace_text(folder / f"{part}.rows", json_lines([row.content for row in rows]))


def read_rows(folder: Path, part: Part, kind: type) -> list[Any]:
    """What was read of a file, rows of this kind; nothing if there was none."""
    path = folder / f"{part}.rows"
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as lines:
        return [kind(tuple(prompt), *answers) for prompt, *answers in map(json.loads, lines)]


def keep_step(folder: Path, step: Mapping[str, Any]) -> None:
    """Keep what is told of a step, in case that nobody listens any more. Raises OSError."""
    with (folder / _STEPS).open("a", encoding="utf-8") as file:
        file.write(f"\n{json.dumps(step)}")  # a torn line spoils only itself


def read_steps(folder: Path) -> list[dict[str, Any]]:
    """All that was told, in its order; steps that were gone through twice stand there twice."""
    found: list[dict[str, Any]] = []
    with contextlib.suppress(FileNotFoundError), (folder / _STEPS).open(encoding="utf-8") as lines:
        for line in lines:
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
    return found
