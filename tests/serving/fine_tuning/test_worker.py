"""Both stages of a training's process, on a tiny base model; and the process itself."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from fakes.tasks import make_task

from serving.fine_tuning import worker
from serving.fine_tuning.process import ENDED, Message, start_process
from serving.fine_tuning.task import Task, file_path, read_rows, read_steps
from storage.folders import read_manifest
from tuning.data.rows import PairRow, TrainingRow
from tuning.export.adapters import load_adapter
from tuning.methods.c3a import C3aRecipe
from tuning.methods.lora import LoraRecipe

# It trains.
pytestmark = pytest.mark.slow

COLOURS = {"sea": "blue", "north": "red", "south": "green", "one": "two", "two": "three"}


def line(word: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": f"what is {word}"}, {"role": "assistant", "content": answer}]}


def pair(word: str, answer: str) -> dict[str, Any]:
    def said(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    asked = {"messages": [{"role": "user", "content": f"what is {word}"}]}
    return {
        "input": asked,
        "preferred_output": said(answer),
        "non_preferred_output": said("three" if answer != "three" else "two"),
    }


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """Products this small take longer to share out than to compute."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def prepared(base: Path, home: Path, *, looked_at: int = 0, **changes: Any) -> tuple[Task, Path]:
    """A task and its job's folder, with a file of five rows, and one of the first so many."""
    folder, files = home / "job", {"training_file": "train.jsonl"}
    files |= {"validation_file": "dev.jsonl"} if looked_at else {}
    task = make_task(base, home, files=files, **changes)
    for part, count in (("training_file", len(COLOURS)), ("validation_file", looked_at)):
        if part in files:
            path = file_path(folder, part, files[part])  # type: ignore[arg-type]
            path.parent.mkdir(parents=True)
            path.write_text("".join(json.dumps(line(*one)) + "\n" for one in list(COLOURS.items())[:count]))
    return task, folder


def checked(task: Task, folder: Path) -> dict[str, Any]:
    said: list[dict[str, Any]] = []
    worker.check(task, folder, said.append)
    (found,) = said
    return found


def trained(task: Task, folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The steps that were told, and the last word."""
    said: list[dict[str, Any]] = []
    worker.train(task, folder, said.append)
    return [one for one in said if one["kind"] == "step"], said[-1]


def test_files_are_checked_and_their_numbers_settled(tiny_base: Path, tmp_path: Path) -> None:
    recipe = asdict(LoraRecipe())
    task, folder = prepared(tiny_base, tmp_path, looked_at=2, recipe=recipe, rate_factor=3.0, max_rank=8)
    found = checked(task, folder)
    assert (found["kind"], found["num_rows"], found["num_validation_rows"]) == ("checked", 5, 2)
    settled = found["recipe"]
    assert (settled["epochs"], settled["batch_size"], settled["rank"]) == (10.0, 4, 8)
    assert settled["learning_rate"] == pytest.approx(0.003)
    assert "2 of the 2 rows to look at it with are learned, too" in found["notes"]
    assert [len(read_rows(folder, part, TrainingRow)) for part in ("training_file", "validation_file")] == [5, 2]
    assert json.loads(json.dumps(found)) == found, "it goes into a row"


@pytest.mark.parametrize(
    ("text", "code"), [("", "invalid_training_file"), ('{"messages": []}\n', "invalid_training_file")]
)
def test_a_bad_file_names_the_field(text: str, code: str, tiny_base: Path, tmp_path: Path) -> None:
    task, folder = prepared(tiny_base, tmp_path)
    file_path(folder, "training_file", "train.jsonl").write_text(text)
    with pytest.raises(worker.Unfit) as refused:
        checked(task, folder)
    assert (refused.value.code, refused.value.param) == (code, "training_file")


def test_numbers_that_the_base_does_not_fit_are_said_before_the_training(tiny_base: Path, tmp_path: Path) -> None:
    task, folder = prepared(tiny_base, tmp_path, recipe=asdict(C3aRecipe(block=12)))
    with pytest.raises(worker.Unfit, match=r"it cannot be trained: block \(12\) must divide") as refused:
        checked(task, folder)
    assert (refused.value.code, refused.value.param) == ("invalid_hyperparameters", "arbiter")


def test_an_adapter_is_trained_told_of_and_published(tiny_base: Path, tmp_path: Path) -> None:
    task, folder = prepared(tiny_base, tmp_path, looked_at=3)
    task = make_task(tiny_base, tmp_path, files=task.files, recipe=checked(task, folder)["recipe"])
    steps, last = trained(task, folder)
    # 5 rows, 4 epochs, batches of 2; a look at 3 rows after 3 that were learned.
    assert [step["step"] for step in steps] == list(range(1, 11))
    assert {step["num_steps"] for step in steps} == {10}
    assert read_steps(folder) == steps
    adapter = load_adapter(tmp_path / "adapters" / last["adapter"])
    assert (last["kind"], last["was_there"]) == ("trained", False)
    assert adapter.name.startswith("support@")
    assert steps[-1]["num_tokens"] == adapter.num_tokens
    manifest = read_manifest(adapter.path)
    assert [step["train_loss"] for step in steps] == manifest["loss_curve"]
    assert manifest["provenance"] == {"job": "ftjob-1"}
    # The first of them, of the base model, comes with the first step.
    assert steps[0]["looks"][0]["step"] == 0
    told = [(look["step"], look["valid_loss"], look["valid_exact_match"]) for step in steps for look in step["looks"]]
    assert told == [(look.step, look.loss, look.score) for look in adapter.looks]
    # What was looked at is the last of it: a job publishes its last weights, as OpenAI's do.
    assert adapter.published is not None
    assert adapter.published.steps == (10,)
    again, last_again = trained(task, folder)
    assert (again, last_again) == ([], {**last, "was_there": True})


def test_preferences_are_checked_and_trained(tiny_base: Path, tmp_path: Path) -> None:
    objective: Any = {"name": "dpo", "beta": 0.5}
    numbers = LoraRecipe(rank=4, alpha=8, epochs=2, batch_size=2, learning_rate=0.01, seed=3, objective=objective)
    recipe = asdict(numbers)
    folder, files = tmp_path / "job", {"training_file": "pairs.jsonl", "validation_file": "other.jsonl"}
    task = make_task(tiny_base, tmp_path, files=files, recipe=recipe, objective="dpo")
    for part, count in (("training_file", 5), ("validation_file", 1)):
        path = file_path(folder, part, files[part])  # type: ignore[arg-type]
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(pair(*one)) + "\n" for one in list(COLOURS.items())[:count]))
    found = checked(task, folder)
    assert (found["num_rows"], found["num_validation_rows"], found["recipe"]["objective"]["beta"]) == (5, 1, 0.5)
    assert read_rows(folder, "training_file", PairRow)[0].rejected == "three"
    task = make_task(tiny_base, tmp_path, files=files, recipe=found["recipe"], objective="dpo")
    steps, last = trained(task, folder)
    told = [look for step in steps for look in step["looks"]]
    # At the beginning no answer has gained: a tie, and a choice at even odds.
    assert (told[0]["valid_reward_accuracy"], told[0]["valid_loss"]) == (0.5, pytest.approx(0.6931, abs=1e-4))
    assert told[-1]["valid_loss"] < told[0]["valid_loss"], "its pair is among those that are learned"
    adapter = load_adapter(tmp_path / "adapters" / last["adapter"])
    assert (adapter.objective, len(adapter.looks)) == ("dpo", len(told))
    assert steps[0]["train_loss"] == pytest.approx(0.6931, abs=1e-4)


def test_what_is_looked_at_less_than_it_might_be_is_said(tiny_base: Path, tmp_path: Path) -> None:
    recipe = asdict(LoraRecipe(rank=4, look_rows=4))
    found = checked(*prepared(tiny_base, tmp_path, looked_at=5, recipe=recipe))
    assert found["recipe"]["look_every"] == 0.8
    assert "4 of the 5 rows to look at it with are taken (arbiter.look_rows)" in found["notes"]
    said = "the training is looked at every 0.8 epochs, so that no more rows are looked at than learned"
    assert f"{said} (arbiter.look_every)" in found["notes"]
    task, folder = prepared(tiny_base, tmp_path / "told", looked_at=5, recipe=recipe, spreads_looks=False)
    assert checked(task, folder)["recipe"]["look_every"] == 0.5


def test_one_validation_prompt_is_too_few_to_choose_by(tiny_base: Path, tmp_path: Path) -> None:
    recipe = asdict(LoraRecipe(rank=4, keep="best", objective={"name": "dpo"}))  # type: ignore[arg-type]
    task, folder = prepared(tiny_base, tmp_path, looked_at=1, recipe=recipe, objective="dpo")
    for part in ("training_file", "validation_file"):
        file_path(folder, part, task.files[part]).write_text(json.dumps(pair("sea", "blue")))  # type: ignore[arg-type,index]
    with pytest.raises(worker.Unfit, match="its pairs answer one prompt; keep and patience need two") as refused:
        checked(task, folder)
    assert (refused.value.code, refused.value.param) == ("invalid_validation_file", "validation_file")


def heard(stage: Any, folder: Path) -> list[Message]:
    messages: list[Message] = []
    with start_process(stage, folder) as process:
        while (message := process.hear(300)) is not ENDED:
            assert message is not None, process.last_words()
            messages.append(message)
        assert process.how_it_ended() == ""
    return messages


def test_the_process_says_what_the_stage_says(tiny_base: Path, tmp_path: Path) -> None:
    task, folder = prepared(tiny_base, tmp_path)
    task.write(folder)
    (found,) = heard("check", folder)
    assert (found["kind"], found["num_rows"]) == ("checked", 5)
    file_path(folder, "training_file", "train.jsonl").write_text("no JSON\n")
    (refused,) = heard("check", folder)
    assert (refused["kind"], refused["param"]) == ("failed", "training_file")
    assert refused["message"].startswith("train.jsonl: 1 faulty row: line 1: not valid JSON")
    make_task(tiny_base, tmp_path, recipe=found["recipe"], name="no name").write(folder)
    *_, failed = heard("train", folder)
    assert (failed["kind"], failed["code"]) == ("failed", "train_failed")
    assert "adapter name 'no name' must consist of letters" in failed["message"]
