"""The runs of a data directory: what each measured and decided, those that cannot be used with the reason, and finding
one by the start of its id.

[(row.id, row.arm, row.fault) for row in list_runs(home / "runs")]
run = open_run(home / "runs", "demo-3f")
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from eval.errors import EvalError, listed
from eval.runs.run import Run, find_run
from storage.records import WrongShape, from_row


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run directory. `arm`, `verdict` and `confidence` are None until it is decided; `finished_at` is in seconds
    since 1970. `fault` says why it cannot be used, or shown in full, and is None for a sound run.
    """

    id: str
    path: str
    data: str | None = None
    primary: str | None = None
    num_questions: int | None = None
    arms: tuple[str, ...] = ()
    arm: str | None = None
    verdict: str | None = None
    confidence: float | None = None
    finished_at: float | None = None
    fault: str | None = None


def list_runs(runs_dir: Path) -> tuple[RunRow, ...]:
    """Every run, the one that finished last first, then what is unfinished or torn; empty without any."""
    if not runs_dir.is_dir():
        return ()
    rows = [_row(folder) for folder in sorted(runs_dir.iterdir()) if folder.is_dir()]
    return tuple(sorted(rows, key=lambda row: (row.finished_at is None, -(row.finished_at or 0.0), row.id)))


def open_run(runs_dir: Path, name: str) -> Run:
    """The finished run with this path, id, or beginning of an id that only one has. Raises EvalError otherwise."""
    path = Path(name).expanduser()
    if name and path.is_dir() and (found := find_run(path.absolute())) is not None:
        return found
    known = [row for row in list_runs(runs_dir) if not row.id.startswith(".")]
    exact = [row for row in known if row.id == name]
    matching = exact or [row for row in known if name and row.id.startswith(name)]
    if len(matching) == 1:
        found = find_run(Path(matching[0].path))
        if found is None:
            raise EvalError(f"run {matching[0].id!r} cannot be used: {matching[0].fault}")
        return found
    if matching:
        raise EvalError(f"{name!r} is the beginning of {len(matching)} runs: {_names(matching)}; give more of it")
    where = f"; there are {_names(known)}" if known else f"; {str(runs_dir)!r} holds none"
    raise EvalError(f"no run {name!r}{where}")


def _names(rows: list[RunRow]) -> str:
    return listed((row.id for row in rows), separator=", ", shown=5)


@dataclass(frozen=True, slots=True)
class _Decided:
    """What a row says of a decision."""

    arm: str | None = None
    verdict: str | None = None
    confidence: float | None = None


def _row(folder: Path) -> RunRow:
    row = RunRow(folder.name, str(folder))
    if row.id.startswith("."):
        return replace(row, fault="being written, or left by a command that was killed")
    run = find_run(folder)
    if run is None:
        return replace(row, fault="torn: no manifest.json that can be read; delete it and run again")
    finished_at, data = run.manifest.get("finished_at"), run.manifest.get("data")
    row = replace(row, finished_at=float(finished_at) if isinstance(finished_at, int | float) else None)
    try:
        summary = run.summary
    except EvalError as error:
        return replace(row, fault=str(error))
    decided, fault = _Decided(), None
    try:
        if (run.directory / "decision.json").is_file():
            decided = from_row(_Decided, run.decision(), extra="ignore")
    except (EvalError, WrongShape):
        fault = "its decision cannot be read; make it again with: arbiter decide CONFIG"
    return replace(
        row,
        data=data if isinstance(data, str) else None,
        primary=summary["primary"],
        num_questions=summary["num_questions"],
        arms=tuple(summary["arms"]),
        fault=fault,
        **asdict(decided),
    )
