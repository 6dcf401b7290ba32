"""What a job's folder holds comes back as it was written."""

from pathlib import Path

from fakes.tasks import make_task

from serving.fine_tuning.task import Task, keep_step, read_rows, read_steps, write_rows
from tuning.data.rows import PairRow, TrainingRow

ROWS = [
    TrainingRow(({"role": "system", "content": "be brief"}, {"role": "user", "content": "wann\u2028?"}), "um\nneun"),
    TrainingRow(({"role": "user", "content": "who"},), "Ada"),
]


def test_a_task_comes_back(tmp_path: Path) -> None:
    task = make_task(tmp_path / "base", tmp_path)
    task.write(tmp_path)
    assert Task.read(tmp_path) == task


def test_rows_come_back(tmp_path: Path) -> None:
    write_rows(tmp_path, "training_file", ROWS)
    assert read_rows(tmp_path, "training_file", TrainingRow) == ROWS
    assert read_rows(tmp_path, "validation_file", TrainingRow) == []
    pairs = [PairRow(row.prompt, row.completion, "no") for row in ROWS]
    write_rows(tmp_path, "training_file", pairs)
    assert read_rows(tmp_path, "training_file", PairRow) == pairs


def test_steps_come_back_but_for_a_torn_one(tmp_path: Path) -> None:
    assert read_steps(tmp_path) == []
    keep_step(tmp_path, {"step": 1})
    with (tmp_path / "steps.jsonl").open("a") as file:
        file.write('\n{"step": 2, "train_l')
    keep_step(tmp_path, {"step": 2})
    assert read_steps(tmp_path) == [{"step": 1}, {"step": 2}]
