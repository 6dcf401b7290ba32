"""The official client drives a real training of a tiny model, through kills, to a model that is served."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest
from fakes.trainings import COLOURS
from fakes.tuning_server import MODEL, LoadingEngine, Tuning, tuning_server, until

from serving.fine_tuning.process import worker_command
from storage.folders import read_manifest
from tuning.base import ResolvedModel
from tuning.export.adapters import load_adapter

pytestmark = [pytest.mark.model, pytest.mark.timeout(1800)]

EPOCHS = 40


def line(word: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": f"what is {word}"}, {"role": "assistant", "content": answer}]}


ROWS = [line(*one) for one in COLOURS.items()]


def create(tuning: Tuning, **changes: Any) -> Any:
    asked: dict[str, Any] = {
        "validation_file": tuning.uploaded(*ROWS[:2], name="dev.jsonl"),
        "suffix": "colours",
        "seed": 3,
        "method": {
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": EPOCHS, "batch_size": 1, "learning_rate_multiplier": 10}},
        },
        "extra_body": {"arbiter": {"rank": 4, "look_every": 10}},
    }
    return tuning.created(*ROWS, **{**asked, **changes})


def workers() -> list[psutil.Process]:
    return [one for one in psutil.Process().children() if "serving.fine_tuning.worker" in " ".join(one.cmdline())]


def test_a_killed_and_a_paused_training_end_with_the_model_of_an_undisturbed_one(
    tiny_base: Path, tmp_path: Path
) -> None:
    base = ResolvedModel(MODEL, "r1", str(tiny_base))
    with tuning_server(tmp_path / "whole", base=base, command=worker_command) as tuning:
        whole = tuning.until(create(tuning).id, "succeeded", limit_s=900)
        assert whole.hyperparameters.to_dict() == {
            "n_epochs": EPOCHS,
            "batch_size": 1,
            "learning_rate_multiplier": 10.0,
        }
        told = tuning.client.fine_tuning.jobs.list_events(whole.id, limit=100)
        steps = [event.data["step"] for event in told if event.type == "metrics"][::-1]  # type: ignore[index]
        assert steps == list(range(1, 5 * EPOCHS + 1))
        adapter = load_adapter(tmp_path / "whole" / "adapters" / whole.fine_tuned_model.partition(":")[2])
        assert whole.trained_tokens == adapter.num_tokens
        assert adapter.final_loss < 0.5
        # It has learned the two rows that it was looked at with.
        (checkpoint,) = tuning.client.fine_tuning.jobs.checkpoints.list(whole.id)
        assert checkpoint.metrics.to_dict()["valid_exact_match"] == 1.0
        lines = tuning.client.files.content(whole.result_files[0]).text.splitlines()
        assert len(lines) == 1 + 1 + 5 * EPOCHS
        assert whole.fine_tuned_model in {model.id for model in tuning.client.models.list()}
        bad = tuning.until(create(tuning, training_file=tuning.uploaded("{")).id, "failed", limit_s=900)
        assert bad.error.message.startswith("train.jsonl: 1 faulty row: line 1: not valid JSON")

    with tuning_server(tmp_path / "parts", base=base, command=worker_command) as tuning:
        job = create(tuning)
        until(lambda: len(tuning.steps(job.id)) > 5, limit_s=900)
        (process,) = workers()
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: "the process was ended by SIGKILL; it is started again" in tuning.messages(job.id), limit_s=60)
        count = len(tuning.steps(job.id))
        until(lambda: len(tuning.steps(job.id)) > count or len(workers()) == 1, limit_s=900)
        tuning.client.fine_tuning.jobs.pause(job.id)
        until(lambda: not workers(), limit_s=60)
        tuning.client.fine_tuning.jobs.resume(job.id)
        time.sleep(0.5)
    # The server went down, and another one goes on.
    loading = LoadingEngine()
    with tuning_server(tmp_path / "parts", base=base, command=worker_command, loading=loading) as tuning:
        done = tuning.until(job.id, "succeeded", limit_s=900)
        assert done.fine_tuned_model == whole.fine_tuned_model
        assert loading.loaded == [whole.fine_tuned_model.partition(":")[2]]
        events = tuning.client.fine_tuning.jobs.list_events(job.id, limit=100)
        steps = [event.data["step"] for event in events if event.type == "metrics"][::-1]  # type: ignore[index]
        assert steps == list(range(1, 5 * EPOCHS + 1)), "every step is told once"
        manifest = read_manifest(tmp_path / "parts" / "adapters" / loading.loaded[0])
        assert manifest["provenance"]["job"] == job.id
        assert tuning.left() == []
        # A model that was made is trained further.
        alone = {"validation_file": openai.omit, "extra_body": {"arbiter": {"rank": 4}}}
        further = create(tuning, model=done.fine_tuned_model, suffix="further", **alone)
        assert tuning.until(further.id, "succeeded", limit_s=900).fine_tuned_model != done.fine_tuned_model
    assert json.dumps(manifest["recipe"]) == json.dumps(read_manifest(adapter.path)["recipe"])
