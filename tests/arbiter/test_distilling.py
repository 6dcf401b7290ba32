"""A teacher on a socket of this machine, computed from a tiny model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fakes import trainings
from fakes.distilling import FakeServer, TinyTeacher, serving
from fakes.json_server import serving_json
from fakes.trainings import ROWS
from pydantic import ValidationError

from arbiter.config.schema import Config
from arbiter.console import Console
from arbiter.distilling import Distilling
from storage.errors import ArbiterError
from tuning.methods.lora import LoraRecipe
from tuning.objectives.distilled import Gkd

# A model answers over HTTP.
pytestmark = pytest.mark.slow

Open = Callable[..., Distilling]
RECIPE = LoraRecipe(rank=4, alpha=8, learning_rate=0.03, epochs=3.0, batch_size=2, seed=3)


@pytest.fixture(scope="module")
def tiny(tiny_base: Path) -> TinyTeacher:
    return TinyTeacher(tiny_base)


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """What asks the teacher at a URL, in a command of its own."""

    def make(url: str, **limits: Any) -> Distilling:
        teacher = {"url": url, "model": "large", "timeout_s": limits.pop("timeout_s", 20.0), "retries": 0}
        config = Config.model_validate(
            {
                "data": tmp_path,
                "distill": {"teacher": teacher, **limits},
                "adapters": {"own": {"objective": "gkd"}},
                "arms": {"mine": {"adapter": "own"}},
            }
        )
        return Distilling(config, home=tmp_path / "home", console=Console())

    return make


def test_each_prompt_is_answered_once_over_all_starts(tiny: TinyTeacher, opened: Open) -> None:
    with serving(tiny) as server:
        first = opened(server.url)
        rows, notes = first.answered([*ROWS, ROWS[0]], max_tokens=None)
        assert [row.prompt for row in rows] == [row.prompt for row in (*ROWS, ROWS[0])]
        assert [row.completion for row in rows[:5]] == [tiny.answer(row.prompt) for row in ROWS]
        assert (rows[5], notes) == (rows[0], ())
        assert first.answered(ROWS, max_tokens=None)[0] == rows[:5]
        assert opened(server.url).answered(ROWS, max_tokens=None)[0] == rows[:5]
        assert len(server.bodies) == len(ROWS)
        opened(server.url).answered(ROWS[:1], max_tokens=7)
        assert (len(server.bodies), server.bodies[-1]["max_tokens"]) == (6, 7), "a longer answer is another one"


def test_without_asking_a_row_that_was_not_answered_keeps_its_own(tiny: TinyTeacher, opened: Open) -> None:
    with serving(tiny) as server:
        taught, _ = opened(server.url).answered(ROWS[:2], max_tokens=None)
        found, _ = opened(server.url).answered(ROWS, max_tokens=None, asks=False)
        assert (found, len(server.bodies)) == ([*taught, *ROWS[2:]], 2)


def test_a_spent_budget_is_one_line_and_the_next_start_goes_on(tiny: TinyTeacher, opened: Open) -> None:
    with serving(tiny) as server:
        with pytest.raises(ArbiterError, match=r"budget of 3 requests is spent \(distill.max_requests\), .* is kept"):
            opened(server.url, max_requests=3).answered(ROWS, max_tokens=None)
        assert len(server.bodies) <= 3
        assert len(opened(server.url, max_requests=5).answered(ROWS, max_tokens=None)[0]) == 5
        assert len(server.bodies) == 5


def test_a_teacher_that_is_away_is_one_line_and_what_it_said_is_kept(tiny: TinyTeacher, opened: Open) -> None:
    with serving(tiny, status=lambda number: 503 if number == 2 else 200) as server:
        with pytest.raises(
            ArbiterError, match=r"teacher large at http.* cannot be asked any more: .*503.* goes on from"
        ):
            opened(server.url).answered(ROWS, max_tokens=None)
        assert len(opened(server.url).answered(ROWS, max_tokens=None)[0]) == 5
        assert len(server.bodies) == 6, "the one that failed is asked once more"
    with pytest.raises(ArbiterError, match=r"cannot be asked any more: the engine at .* cannot be reached"):
        opened(server.url).teacher().read([(1, 2, 3)], [1], 2)


def test_answers_that_teach_nothing_are_left_out_and_counted(tiny: TinyTeacher, opened: Open) -> None:
    def spoil(_path: str, body: dict[str, Any]) -> Any:
        said = body["choices"][0]
        said["finish_reason"] = "length" if len(server.bodies) == 1 else "stop"
        said["message"]["content"] = " " if len(server.bodies) == 2 else said["message"]["content"]
        return body

    with serving(tiny, spoil=spoil, status=lambda number: 413 if number == 3 else 200) as server:
        rows, notes = opened(server.url).answered(ROWS, max_tokens=None)
        assert len(rows) == 2
        assert sorted(notes) == [
            f"1 rows are left out: the teacher's answer is {why}" for why in ("cut off", "empty", "refused")
        ]
    with (
        serving(tiny, status=lambda number: 413) as server,
        pytest.raises(ArbiterError, match=r"gave no answer to 2 prompts that can be learned \(refused\); raise"),
    ):
        opened(server.url).answered(ROWS[:2], max_tokens=None)


def test_what_the_teacher_tells_of_tokens_is_what_its_model_computes(tiny: TinyTeacher, opened: Open) -> None:
    ids = tuple(tiny.tokenizer("what is sea blue red")["input_ids"])
    with serving(tiny) as server:
        teacher = opened(server.url).teacher()
        ((one, two),) = teacher.read([ids], [len(ids) - 2], 4)
        for place, told in ((-2, one), (-1, two)):
            row = tiny.log_probs(ids)[place - 1]
            assert told[0][0] == ids[place]
            assert [number for _, number in told] == pytest.approx([float(row[token]) for token, _ in told], abs=1e-5)
            assert set(row.topk(4).indices.tolist()) <= {token for token, _ in told}
        assert list(teacher.spell("what is sea")) == tiny.spell("what is sea")
        assert opened(server.url).teacher().read([ids], [len(ids) - 2], 4) == [[one, two]]
        assert len(server.bodies) == 2


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"prompt_logprobs": None}, "gives no prompt_logprobs"),
        ({"prompt_logprobs": [None, {}]}, "gives no prompt_logprobs"),
        ({"prompt_logprobs": [0, 1, 2]}, "not of vLLM's form"),
    ],
)
def test_a_teacher_without_probabilities_is_refused_by_one_line(
    answer: dict[str, Any], said: str, tiny: TinyTeacher, opened: Open
) -> None:
    with (
        serving(tiny, spoil=lambda path, body: {**body, "choices": [body["choices"][0] | answer]}) as server,
        pytest.raises(ArbiterError, match=rf"not tell how likely it finds a text: .*{said}.* or take objective dis"),
    ):
        opened(server.url).teacher().read([(1, 2, 3)], [1], 2)


def test_a_text_that_is_refused_says_why(tiny: TinyTeacher, opened: Open) -> None:
    with (
        serving(tiny, status=lambda number: 400) as server,
        pytest.raises(ArbiterError, match=r"refused to read a text: scripted; lower objective.top_k"),
    ):
        opened(server.url).teacher().read([(1, 2, 3)], [1], 99)


def test_prose_in_place_of_json_is_one_line(opened: Open) -> None:
    with (
        serving_json(lambda path, asked: (200, "Welcome to the teacher!")) as url,
        pytest.raises(ArbiterError, match="the teacher large at"),
    ):
        opened(url).answered(ROWS[:1], max_tokens=None)


def test_a_training_that_was_stopped_asks_nothing_twice_and_ends_the_same(
    tiny_base: Path, tiny: TinyTeacher, opened: Open, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, objective=Gkd(lmbda=0.5, top_k=5, max_tokens=3))

    def train(server: FakeServer, home: str, **given: Any) -> str:
        teacher = opened(server.url).teacher()
        return trainings.train(tiny_base, tmp_path / home, recipe=recipe, teacher=teacher, **given).name

    with serving(tiny) as server:
        # No checkpoint: all steps are made again, and what was drawn in them is drawn again.
        trainings.interrupted(partial(train, server, "parts", checkpoint_every_s=99.0), 3, 6)
        parts = train(server, "parts")
        asked = [str(body["prompt"]) for body in server.bodies]
        assert len(set(asked)) == len(asked)
        whole = train(server, "whole")
        assert len(server.bodies) == len(asked)
    assert parts == whole


def test_a_config_needs_a_teacher_for_what_learns_from_one(tmp_path: Path) -> None:
    for objective in ("distill", "gkd"):
        with pytest.raises(ValidationError, match=rf"adapters.own: objective {objective} learns from a teacher"):
            Config.model_validate({"data": tmp_path, "adapters": {"own": {"objective": objective}}})


def test_a_teacher_that_nobody_learns_from_changes_no_run(tmp_path: Path) -> None:
    def fingerprint(objective: str, **teacher: Any) -> str:
        told = {"url": "http://127.0.0.1:9/v1", "model": "large", **teacher}
        adapters = {"own": {"objective": objective}}
        config = {"data": tmp_path, "adapters": adapters, "distill": {"teacher": told}}
        return Config.model_validate(config).fingerprint()

    plain = Config.model_validate({"data": tmp_path, "adapters": {"own": {"objective": "supervised"}}}).fingerprint()
    assert plain == fingerprint("supervised")
    assert fingerprint("distill") == fingerprint("distill", timeout_s=3.0)
    assert fingerprint("distill") != fingerprint("distill", model="another")
