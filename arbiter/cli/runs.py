"""What `arbiter runs list | diff | export` and `arbiter import` print: a text for people and a value for --json.

console.result(*show_runs(home))
console.result(*show_diff(home, "demo-3f", "demo-81", policy))
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from arbiter.console import Output, pad_table
from arbiter.data import find_documents
from arbiter.finished_runs import config_of
from eval.exchange.export_formats import ExportFormat, export_run
from eval.exchange.formats import Format
from eval.exchange.import_formats import import_dataset, write_data_folder
from eval.question_sets import make_sets
from eval.report.wording import as_percent
from eval.runs.diff import ArmChange, RunDiff, diff_runs
from eval.runs.run import Run, RunRow, list_runs, open_run
from rag.documents.load import load_documents
from router.deciding.policy import Policy
from router.deciding.wording import as_lead, as_score
from storage.errors import ArbiterError, listed
from tuning.data.formats.read import parse_columns

_SHOWN_IDS = 12
_CELL = 60


def show_runs(home: Path) -> Output:
    """All runs of a data directory, the newest first; the faulty ones with what is wrong with them."""
    rows = list_runs(home / "runs")
    if not rows:
        return f"no runs in {str(home)!r}; make one with: arbiter run CONFIG", []
    head = ("run", "finished", "data", "questions", "metric", "arms", "decision", "fault")
    return pad_table(head, [_run_cells(row) for row in rows]), [asdict(row) for row in rows]


def show_diff(home: Path, before: str, after: str, policy: Policy) -> Output:
    """What changed between two runs, given by id, beginning of an id, or path. Raises EvalError."""
    diff = diff_runs(open_run(home / "runs", before), open_run(home / "runs", after), policy)
    return _diff_text(diff, policy), asdict(diff)


def export_answers(
    home: Path,
    name: str,
    folder: Path,
    *,
    format: ExportFormat,
    arms: Sequence[str] = (),
    is_forced: bool = False,
) -> Output:
    """Write a run's answers for another tool; gold documents come from the run's data folder as it is now.

    Raises EvalError for an unknown run, arm or format, and for files that are there already.
    """
    run = open_run(home / "runs", name)
    documents, missing = _documents_of(run) if format == "ragas" else ({}, [])
    written, left_out = export_run(run, folder, format=format, arms=arms, documents=documents, is_forced=is_forced)
    paths, notes = [str(path) for path in written], [*left_out, *missing]
    return "\n".join([*paths, *(f"note: {note}" for note in notes)]), {"run": run.id, "files": paths, "notes": notes}


def import_folder(
    source: Path,
    target: Path,
    *,
    format: Format | None = None,
    columns: str | None = None,
    train_share: float | None = None,
    is_forced: bool = False,
) -> Output:
    """Write a data set that people have as a data folder that a run takes. Without training rows of its own, as many
    are split off as a run would, or `train_share`. Raises ArbiterError for faulty rows and files that are there.
    """
    beside = find_documents(source) if source.is_dir() else None
    documents = load_documents(beside).documents if beside is not None else ()
    imported = import_dataset(source, format, parse_columns(columns) if columns is not None else None, documents)
    num_questions = len(imported.questions) + len(imported.train) + len(imported.dev)
    made: tuple[str, ...] = ()
    if imported.is_test and not imported.train and train_share is None:
        # What is called test stays that.
        train_share, made = 0.0, ("no row is for training, for all are called test; --train-share sets a share",)
    sets, done = make_sets(imported.questions, imported.train, imported.dev, train_share=train_share)
    imported = replace(imported, questions=sets.questions, train=sets.examples, dev=sets.dev)
    written = write_data_folder(imported, target, is_forced=is_forced)
    paths, notes = [str(path) for path in written], [*imported.notes, *made, *done]
    num_documents = len(imported.documents)
    head = f"{imported.format}: {num_documents} documents, {num_questions} questions"
    return "\n".join([head, *paths, *(f"note: {note}" for note in notes)]), {
        "format": imported.format,
        "documents": num_documents,
        "questions": num_questions,
        "training_rows": len(imported.train),
        "files": paths,
        "notes": notes,
    }


def _documents_of(run: Run) -> tuple[dict[str, str], list[str]]:
    """Texts of the documents by id, and why there are none."""
    try:
        folder = config_of(run).data
        path = find_documents(folder)
        if path is None:
            return {}, [f"there are no reference contexts: no documents in {str(folder)!r} any more"]
        return {document.id: document.text for document in load_documents(path).documents}, []
    except ArbiterError as error:
        return {}, [f"there are no reference contexts: the run's data cannot be read ({error})"]


def _run_cells(row: RunRow) -> tuple[str, ...]:
    decision = f"{row.arm}, {row.verdict}" if row.arm is not None else "–"
    sure = f" ({as_percent(row.confidence)})" if row.arm is not None and row.confidence is not None else ""
    finished = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.finished_at)) if row.finished_at is not None else "–"
    return (
        row.id,
        finished,
        row.data or "–",
        "–" if row.num_questions is None else str(row.num_questions),
        row.primary or "–",
        ", ".join(row.arms) or "–",
        decision + sure,
        row.fault or "",
    )


def _diff_text(diff: RunDiff, policy: Policy) -> str:
    head = f"{diff.before} -> {diff.after}: {diff.num_shared} shared questions, compared by {diff.metric}"
    notes = []
    if not diff.is_same_primary:
        notes.append(f"the first was decided by {diff.primaries[0]}, the second by {diff.primaries[1]}")
    if diff.num_regraded:
        notes.append(f"{diff.num_regraded} shared questions have other gold answers now")
    for what, ids in (
        ("only in the first", diff.only_before),
        ("only in the second", diff.only_after),
        ("asked in other words", diff.reworded),
    ):
        if ids:
            notes.append(f"{len(ids)} {what}: {listed(ids, separator=', ', shown=_SHOWN_IDS)}")
    changes = [(c.part, c.key, _short(c.before), _short(c.after)) for c in diff.changes]
    level = f"{1 - policy.alpha:.0%} interval"
    columns = ("arm", "before", "after", "difference", level, "p (Holm)", "won", "lost", "cost per 1k", "latency ms")
    flips = [
        f"{change.arm}: {len(ids)} {how}: {listed(ids, separator=', ', shown=_SHOWN_IDS)}"
        for change in diff.arms
        for how, ids in (("wrong to right", change.gained), ("right to wrong", change.lost))
        if ids
    ]
    parts = [
        "\n".join([head, *(f"- {note}" for note in notes)]),
        pad_table(("part", "setting", "before", "after"), changes)
        if changes
        else "no setting, data or version differs",
        pad_table(columns, [_arm_cells(change) for change in diff.arms]),
        "\n".join(flips),
    ]
    return "\n\n".join(part for part in parts if part)


def _arm_cells(change: ArmChange) -> tuple[str, ...]:
    found, lead = change.difference, ("–", "–")
    if found is not None:
        lead = as_lead(found.mean), f"{as_lead(found.low)} to {as_lead(found.high)}"
    return (
        change.arm,
        _shown(change.mean_before, as_score),
        _shown(change.mean_after, as_score),
        *lead,
        _shown(change.p_holm, "{:.2g}".format),
        str(len(change.gained)),
        str(len(change.lost)),
        " -> ".join(_shown(cost, "{:.3g}".format) for cost in change.cost_per_1k),
        " -> ".join(_shown(ms, "{:.0f}".format) for ms in change.latency_ms),
    )


def _shown(value: float | None, form: Callable[[float], str]) -> str:
    return "–" if value is None else form(value)


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"
