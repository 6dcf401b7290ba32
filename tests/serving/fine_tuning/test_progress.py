"""What a process says, as events, checkpoints and numbers of its job."""

from pathlib import Path
from typing import Any

from serving.fine_tuning.progress import Progress
from serving.fine_tuning.store import LIVE, JobStore
from serving.http.pages import Page
from storage.database import open_database


def step(number: int, *, checkpoint: int = 0, seconds_left: float | None = None, **look: float) -> dict[str, Any]:
    told = {"kind": "step", "step": number, "num_steps": 9, "train_loss": 1 / number, "num_tokens": 10 * number}
    looks = [{"step": 0, "valid_loss": 9.0}, {"step": number, **look}] if look else []
    return {**told, "seconds_left": seconds_left, "looks": looks, "checkpoint": checkpoint}


class Watched:
    """A running job and its progress; `again` is what a server that starts anew makes of it."""

    def __init__(self, home: Path) -> None:
        self.store = JobStore(open_database(home), clock=lambda: 1_000.0)
        self.id = self.store.add({}, {}, place="here", submit=lambda *_: None).id
        self.store.change(self.id, LIVE, status="running", attempts=3)
        self.again()

    def again(self) -> None:
        self.progress = Progress(self.store, self.store.get(self.id), "org/base:support")

    def steps(self) -> list[int]:
        rows = self.store.events(self.id, Page(order="asc", limit=100)).rows
        return [row.data["step"] for row in rows if row.type == "metrics"]

    def checkpoints(self) -> list[tuple[int, str, Any]]:
        rows = self.store.checkpoints(self.id, Page(order="asc")).rows
        return [(row.step_number, row.model, row.metrics) for row in rows]


def test_a_forecast_and_the_seconds_left_say_when_it_ends(tmp_path: Path) -> None:
    job = Watched(tmp_path)
    job.progress.note([{"kind": "forecast", "seconds": 500.4, "memory_bytes": 2_500_000_000}])
    assert job.store.get(job.id).estimated_finish == 1_500
    assert job.store.events(job.id, Page()).rows[0].message == (
        "the training will take about 8 min and 2.5 GB of memory"
    )
    job.progress.note([step(1), step(2, seconds_left=70.0)])
    assert job.store.get(job.id).estimated_finish == 1_070


def test_a_step_is_told_once_and_a_further_one_forgives_what_was_killed(tmp_path: Path) -> None:
    job = Watched(tmp_path)
    job.progress.note([step(1), step(2), step(2)])
    assert (job.store.get(job.id).step, job.store.get(job.id).attempts) == (2, 0)
    job.store.change(job.id, LIVE, attempts=2)
    job.again()
    job.progress.note([step(1), step(2)])
    assert job.store.get(job.id).attempts == 2, "it got no further"
    job.progress.note([step(3)])
    assert job.steps() == [1, 2, 3]
    assert job.store.get(job.id).attempts == 0


def test_the_last_two_checkpoints_are_shown_with_what_was_measured(tmp_path: Path) -> None:
    job = Watched(tmp_path)
    job.progress.note([step(1), step(2, valid_loss=0.5, valid_exact_match=0.25), step(3, checkpoint=2)])
    measured = {"step": 2, "train_loss": 0.5, "valid_loss": 0.5, "valid_exact_match": 0.25}
    assert job.checkpoints() == [(2, "org/base:support:step-2", measured)]
    job.progress.note([step(4, checkpoint=3), step(5, checkpoint=4)])
    assert [number for number, *_ in job.checkpoints()] == [3, 4]
    # After a stop it goes on from the last one, of which what was measured is kept.
    job.again()
    job.progress.note([step(1), step(3, checkpoint=2), step(4, checkpoint=3), step(5, checkpoint=4)])
    assert [number for number, *_ in job.checkpoints()] == [3, 4]
    assert job.checkpoints()[1] == (4, "org/base:support:step-4", {"step": 4, "train_loss": 0.25})
    said = [row.message for row in job.store.events(job.id, Page(order="asc", limit=100)).rows]
    assert [one for one in said if one.startswith("checkpoint")] == [f"checkpoint after step {n}" for n in (2, 3, 4)]


def test_a_checkpoint_after_a_stop_has_what_was_measured_before_it(tmp_path: Path) -> None:
    job = Watched(tmp_path)
    job.progress.note([step(1), step(2, valid_loss=0.5)])
    job.again()
    job.progress.note([step(1), step(2, valid_loss=0.5), step(3, checkpoint=2)])
    assert job.checkpoints() == [(2, "org/base:support:step-2", {"step": 2, "train_loss": 0.5, "valid_loss": 0.5})]


def test_of_a_job_that_was_cancelled_nothing_is_kept(tmp_path: Path) -> None:
    job = Watched(tmp_path)
    job.store.change(job.id, LIVE, status="cancelled")
    job.progress.note([step(1), step(2, checkpoint=1)])
    assert (job.steps(), job.checkpoints()) == ([], [])
