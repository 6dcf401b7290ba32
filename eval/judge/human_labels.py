"""People's scores of some answers, which correct what a judge says of all of them.

labels = load_human_labels(Path("labels.jsonl"))     {"arm": "rag", "question_id": "q7", "label": 1}
labels["rag"]["q7"]                                  # 1.0
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from eval.errors import EvalError, listed
from eval.judge.labels import LABELS, read_label
from storage.jsonl import scan_jsonl


def load_human_labels(path: Path) -> dict[str, dict[str, float]]:
    """Arm -> question id -> label in [0, 1], from rows `{arm, question_id, label}`.

    Raises EvalError naming the line of every faulty row (the first ten), two labels of one answer among them, and when
    there is no row at all; StorageError when there is no such file.
    """
    labels: dict[str, dict[str, float]] = {}
    faults: list[str] = []
    for line, row in scan_jsonl(path):
        found = row if isinstance(row, str) else _label(row)
        if isinstance(found, str):
            faults.append(f"line {line}: {found}")
            continue
        arm, question_id, label = found
        if question_id in labels.setdefault(arm, {}):
            faults.append(f"line {line}: arm {arm!r} has a label for question {question_id!r} already; keep one")
        else:
            labels[arm][question_id] = label
    if faults:
        raise EvalError(f"{path}: {len(faults)} faulty labels: {listed(faults)}")
    if not labels:
        raise EvalError(f'{path} holds no labels; add rows like {{"arm": ..., "question_id": ..., "label": 1}}')
    return labels


def _label(row: Mapping[str, object]) -> tuple[str, str, float] | str:
    """Arm, question id and label of a row, or what is wrong with it."""
    arm, question_id, label = row.get("arm"), row.get("question_id"), read_label(row.get("label"))
    if not isinstance(arm, str) or not arm:
        return "no `arm`"
    if not isinstance(question_id, str | int) or isinstance(question_id, bool) or question_id == "":
        return "no `question_id`"
    if label is None:
        return f"`label` must be {LABELS}, not {row.get('label')!r}"
    return arm, str(question_id), label
