"""A finished evaluation as a directory, the decision views that are made from it, and the list of all of them.

[(row.id, row.arm, row.fault) for row in list_runs(home / "runs")]
run = open_run(home / "runs", "demo-3f")

runs/<id>/{config.yaml, questions.jsonl, answers.jsonl, scores.parquet, scorecard.json, manifest.json}   never changed
runs/<id>/{decision.json, card.json, report.html, report.md}                                             made again at
will
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TextIO, TypeVar

import yaml

from eval.answers import AnswerRecord
from eval.errors import EvalError
from eval.questions import Question
from router.deciding.decision import Decision
from router.deciding.scorecard import Scorecard
from storage.errors import listed
from storage.files import replace_text
from storage.folders import is_complete, publish, read_manifest, write_manifest
from storage.records import WrongShape, from_json, from_row, json_lines

Value = TypeVar("Value")

_STALE = "run {!r} was written by another version; delete it and run again"


@dataclass(frozen=True, slots=True)
class Run:
    """One finished evaluation on disk; `manifest` names the config, data and model versions it came from."""

    directory: Path
    manifest: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The directory's name."""
        return self.directory.name

    @property
    def finished_at(self) -> float | None:
        """In seconds since 1970, None where the manifest holds no such number."""
        found = self.manifest.get("finished_at")
        return float(found) if isinstance(found, int | float) else None

    @property
    def summary(self) -> Mapping[str, Any]:
        """What a list shows of the run, without its scorecard: `primary`, `num_questions` and the names of its `arms`.

        Raises EvalError for a run of another version, and for one whose scorecard is not the one that was published.
        """
        found = self.manifest.get("summary")
        if not isinstance(found, Mapping):
            raise EvalError(_STALE.format(self.id))
        path = self.directory / "scorecard.json"
        if not path.is_file() or path.stat().st_size != found["scorecard_bytes"]:
            raise EvalError(f"scorecard.json of run {self.id!r} is torn; delete the run and run again")
        return found

    def config(self) -> Any:
        """What its config.yaml says."""
        return self._read("config.yaml", yaml.safe_load) or {}

    def scorecard(self) -> Scorecard:
        """The stored scorecard. Raises EvalError when it is torn or was written by another version."""
        return self._read("scorecard.json", lambda file: from_json(Scorecard, file.read()))

    def questions(self) -> list[Question]:
        """The questions that were asked."""
        return self._read("questions.jsonl", lambda file: [from_json(Question, line) for line in file])

    def records(self) -> list[AnswerRecord]:
        """Every arm's answer to every question, arm by arm."""
        return self._read("answers.jsonl", lambda file: [from_json(AnswerRecord, line) for line in file])

    def decision(self) -> Any:
        """The decision in its JSON form. Raises EvalError when none was made yet."""
        return self._view("decision.json", "decision")

    def card(self) -> Any:
        """The decision card as `eval.report.card.make_card` gave it. Raises EvalError when no decision was made yet."""
        return self._view("card.json", "decision card")

    def write_views(
        self,
        decision: Decision,
        policy: Mapping[str, object],
        card: Mapping[str, Any],
        html: str,
        markdown: str,
    ) -> None:
        """Put the decision and its reports beside the evaluation, the decision last."""
        self.write_card(card, html, markdown)
        row = {**asdict(decision), "policy": dict(policy), "decided_at": int(time.time())}
        replace_text(self.directory / "decision.json", json.dumps(row, indent=1, allow_nan=False))

    def write_card(self, card: Mapping[str, Any], html: str, markdown: str) -> None:
        """Put the card and its reports beside the evaluation, in place of those that are there."""
        replace_text(self.directory / "card.json", json.dumps(card, indent=1, ensure_ascii=False, allow_nan=False))
        replace_text(self.directory / "report.html", html)
        replace_text(self.directory / "report.md", markdown)

    def _view(self, name: str, called: str) -> Any:
        if not (self.directory / name).is_file():
            raise EvalError(f"run {self.id!r} has no {called} yet; make it with: arbiter decide")
        return self._read(name, json.load)

    def _read(self, name: str, read: Callable[[TextIO], Value]) -> Value:
        try:
            with (self.directory / name).open(encoding="utf-8") as file:
                return read(file)
        except WrongShape as error:
            raise EvalError(_STALE.format(self.id)) from error
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise EvalError(f"cannot read {name} of run {self.id!r}: {error}; delete the run and run again") from error


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


def publish_run(
    directory: Path,
    *,
    config_yaml: str,
    questions: Sequence[Question],
    records: Sequence[AnswerRecord],
    scorecard: Scorecard,
    manifest: Mapping[str, object],
) -> Run:
    """Write a finished evaluation atomically. Raises StorageError when the disk is full, with nothing left behind."""
    import pyarrow
    import pyarrow.parquet

    with publish(directory) as folder:
        (folder / "config.yaml").write_text(config_yaml, encoding="utf-8")
        (folder / "questions.jsonl").write_text(json_lines(asdict(q) for q in questions), encoding="utf-8")
        (folder / "answers.jsonl").write_text(json_lines(asdict(r) for r in records), encoding="utf-8")
        rows = [
            {"arm": scores.arm.name, "question_id": question, "metric": metric, "score": values[i]}
            for scores in scorecard.arms
            for metric, values in scores.scores.items()
            for i, question in enumerate(scorecard.question_ids)
        ]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "scores.parquet")
        card = folder / "scorecard.json"
        card.write_text(json.dumps(asdict(scorecard), allow_nan=False), encoding="utf-8")
        summary = {
            "primary": scorecard.primary,
            "num_questions": len(scorecard.question_ids),
            "arms": [scores.arm.name for scores in scorecard.arms],
            "scorecard_bytes": card.stat().st_size,
        }
        write_manifest(folder, {**manifest, "summary": summary, "finished_at": time.time()})
    return Run(directory, read_manifest(directory))


def find_run(directory: Path) -> Run | None:
    """The finished run in this directory, or None."""
    return Run(directory, read_manifest(directory)) if is_complete(directory) else None


def finished_runs(runs: Path) -> list[Run]:
    """Every finished run of a folder, by name."""
    return [run for folder in sorted(runs.glob("*/")) if (run := find_run(folder)) is not None]


def newest_run(runs: Path, config_fingerprint: str, raced_by: str = "") -> Run | None:
    """The run that finished last among those of one config, whatever data they saw, or None. Of those of the same data,
    one that was raced by this policy comes first.
    """
    matching = [run for run in finished_runs(runs) if run.manifest.get("config_fingerprint") == config_fingerprint]
    matching.sort(key=lambda run: -(run.finished_at or 0.0))
    newest = [run for run in matching if run.manifest.get("data_version") == matching[0].manifest.get("data_version")]
    own = (run for run in newest if run.manifest.get("raced_by", "") == raced_by)
    return next(own, newest[0] if newest else None)


def earlier_looks(
    runs: Path, questions: Iterable[str], arms: Iterable[str], metric: str, data: Mapping[str, str]
) -> tuple[int, ...]:
    """The numbers of questions of the decided runs that compared the same arms by the same metric on another choice of
    questions with some of these: with fewer, or with those of another seed.

    `data` is what the run's own manifest has of its `data_name`, `data_version` and `config_fingerprint`. Races of one
    config over one data, whatever their policies, look after the same questions, and share one error rate.
    """
    names, wanted = set(questions), set(arms)
    shared = ("data_version", "config_fingerprint")
    found = []
    for run in finished_runs(runs):
        manifest = run.manifest
        if manifest.get("data_name") != data["data_name"] or not (run.directory / "decision.json").is_file():
            continue
        if manifest.get("raced_by") and all(manifest.get(key) == data[key] for key in shared):
            continue
        try:
            is_same = run.summary["primary"] == metric and set(run.summary["arms"]) == wanted
            others = {question.id for question in run.questions()} if is_same else set()
            if others & names and others != names:
                found.append(run.summary["num_questions"])
        except EvalError:  # a run that cannot be read was no look that anybody remembers
            continue
    return tuple(sorted(found))


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


def _row(folder: Path) -> RunRow:
    row = RunRow(folder.name, str(folder))
    if row.id.startswith("."):
        return replace(row, fault="being written, or left by a command that was killed")
    run = find_run(folder)
    if run is None:
        return replace(row, fault="torn: no manifest.json that can be read; delete it and run again")
    row = replace(row, finished_at=run.finished_at)
    try:
        summary = run.summary
    except EvalError as error:
        return replace(row, fault=str(error))
    row = replace(
        row,
        data=run.manifest.get("data"),
        primary=summary["primary"],
        num_questions=summary["num_questions"],
        arms=tuple(summary["arms"]),
    )
    if not (folder / "decision.json").is_file():
        return row
    try:
        decision = from_row(Decision, run.decision(), extra="ignore")
    except (EvalError, WrongShape):
        return replace(row, fault="its decision cannot be read; make it again with: arbiter decide CONFIG")
    return replace(row, arm=decision.arm, verdict=decision.verdict, confidence=decision.confidence)
