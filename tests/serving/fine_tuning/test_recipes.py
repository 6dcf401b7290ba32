"""What a request's numbers come to, and which are refused."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from serving.errors import Invalid
from serving.fine_tuning import recipes
from serving.fine_tuning.recipes import read_recipe, recipe_of
from serving.fine_tuning.request import CreateJob
from serving.http.body import read_model
from tuning.errors import TuningError
from tuning.methods.lora import LoraRecipe
from tuning.objectives.preference import Dpo
from tuning.recipe import Form, Recipe


def asked(**fields: Any) -> CreateJob:
    return read_model(CreateJob, {"model": "org/base", "training_file": "file-1", **fields})


def recipe(forms: tuple[Form, ...] = ("lora",), max_rank: int = 16, **fields: Any) -> Recipe:
    return recipe_of(asked(**fields), seed=5, continue_from="", forms=forms, max_rank=max_rank)


settle = partial(recipes.settle, adapters_dir=Path("none"))


def test_what_is_left_open_stays_open() -> None:
    assert recipe() == LoraRecipe(seed=5)


def test_the_numbers_of_a_request_are_those_of_an_adapter() -> None:
    numbers = {"n_epochs": 2, "batch_size": 8, "learning_rate_multiplier": 2}
    found = recipe(hyperparameters=numbers, arbiter={"rank": 8, "max_length": 512})
    assert found == LoraRecipe(seed=5, epochs=2, batch_size=8, rank=8, max_length=512)
    by_method = {"type": "supervised", "supervised": {"hyperparameters": numbers}}
    assert recipe(method=by_method, arbiter={"rank": 8, "max_length": 512}) == found
    assert recipe(forms=("merged",), arbiter={"method": "dora"}).method == "dora"


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ({"arbiter": {"passages": 2}}, "arbiter.passages", "the rows of a job hold all that the model is shown"),
        ({"arbiter": {"seed": 2}}, "arbiter.seed", "give it as seed"),
        ({"arbiter": {"objective": {"name": "dpo"}}}, "arbiter.objective", "give it as the type of method"),
        ({"arbiter": {"epochs": 1e9}}, "arbiter.epochs", "must be at most 50, not 1e+09"),
        ({"arbiter": {"method": "quantized"}}, "arbiter.epochs", "must be above 0: a job trains"),
        ({"arbiter": {"method": "pruned", "epochs": 0}}, "arbiter.epochs", "must be above 0: a job trains"),
        ({"arbiter": {"method": {}}}, "arbiter.method", "{} is no method"),
        ({"method": {"type": "dpo", "supervised": {}}}, "method.supervised", "goes with type 'supervised'"),
        (
            {"hyperparameters": {}, "method": {"type": "dpo", "dpo": {"hyperparameters": {}}}},
            "hyperparameters",
            "given twice; leave them to method.dpo",
        ),
        ({"arbiter": {"continue_from": "x@1"}}, "arbiter.continue_from", "name it as model"),
        ({"arbiter": {"keep": "best"}}, "arbiter.keep", "needs a validation_file"),
        ({"arbiter": {"guard_drop": 0.1}}, "arbiter.guard_drop", "a job has no guard rows"),
        ({"arbiter": {"method": "pisa"}}, "arbiter.method", "did you mean 'pissa'?"),
        ({"arbiter": {"rnak": 8}}, "arbiter.rnak", "did you mean 'rank'?"),
        ({"arbiter": {"rank": 0}}, "arbiter.rank", "must be a whole number of at least 1"),
        ({"arbiter": {"rank": 64}}, "arbiter.rank", "it would be served at rank 64, and the engine takes 16"),
        ({"arbiter": {"method": "pissa", "rank": 16}}, "arbiter.rank", "at rank 32"),
        ({"arbiter": {"method": "dora"}}, "arbiter.method", "in the form 'merged'"),
        ({"arbiter": {"method": "prompt"}}, "arbiter.method", "serve a config with an adapter of such a method"),
        (
            {"arbiter": {"batch_size": 4}, "hyperparameters": {"batch_size": 4}},
            "arbiter.batch_size",
            "given twice; leave it to hyperparameters",
        ),
        (
            {"arbiter": {"learning_rate": 0.1}, "hyperparameters": {"learning_rate_multiplier": 2}},
            "arbiter.learning_rate",
            "given twice",
        ),
        (
            {"hyperparameters": {}, "method": {"type": "supervised", "supervised": {"hyperparameters": {}}}},
            "hyperparameters",
            "given twice",
        ),
        (
            {"arbiter": {"accumulate": 3}, "hyperparameters": {"batch_size": 4}},
            "arbiter.batch_size",
            "must be a multiple of accumulate (3)",
        ),
        # 32 rows a batch learn at sqrt(8) times 0.001.
        (
            {"hyperparameters": {"learning_rate_multiplier": 400}},
            "hyperparameters.learning_rate_multiplier",
            "must be at most 353.6 with method lora, not 400",
        ),
        (
            {"arbiter": {"optimizer": "schedule_free"}, "validation_file": "file-2"},
            "validation_file",
            "cannot be used with optimizer schedule_free",
        ),
    ],
)
def test_what_cannot_be_honoured_names_its_field(fields: dict[str, Any], param: str, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        recipe(**fields)
    assert refused.value.param == param
    assert said in str(refused.value)
    assert str(refused.value).startswith(param)


def test_a_multiplier_is_of_the_rate_that_suits_the_rows() -> None:
    plain = settle(recipe(), 300, rate_factor=None, max_rank=16)
    doubled = settle(recipe(), 300, rate_factor=2.0, max_rank=16)
    assert (plain.epochs, plain.batch_size, plain.learning_rate) == (3.0, 4, 0.001)
    assert doubled.learning_rate == pytest.approx(0.002)
    assert settle(recipe(hyperparameters={"batch_size": 16}), 300, rate_factor=0.5, max_rank=16).learning_rate == 0.001


def test_epochs_that_are_left_open_are_whole() -> None:
    # 3 times the root of 300 / 200 is 3.5 in halves.
    assert settle(recipe(), 200, rate_factor=None, max_rank=16).epochs == 4
    assert settle(recipe(arbiter={"epochs": 1.5}), 200, rate_factor=None, max_rank=16).epochs == 1.5


def test_no_more_rows_are_looked_at_than_learned() -> None:
    looked_at = recipe(validation_file="file-2")
    assert settle(looked_at, 200, num_looked_at=64, rate_factor=None, max_rank=16).look_every == 0.5
    assert settle(looked_at, 24, num_looked_at=60, rate_factor=None, max_rank=16).look_every == 2.5


def test_the_objective_is_that_of_the_method() -> None:
    numbers = {"n_epochs": 2, "beta": 0.5}
    found = recipe(method={"type": "dpo", "dpo": {"hyperparameters": numbers}})
    assert found == LoraRecipe(seed=5, epochs=2, objective=Dpo(beta=0.5, held_out=0.0))
    older = recipe(method={"type": "dpo"}, hyperparameters={"n_epochs": 2, "batch_size": "auto"})
    assert older == LoraRecipe(seed=5, epochs=2, objective=Dpo(held_out=0.0))


def test_a_rank_that_is_left_open_is_one_that_the_engine_takes() -> None:
    assert settle(LoraRecipe(), 200_000, rate_factor=None, max_rank=512).rank == 64  # type: ignore[attr-defined]
    assert settle(LoraRecipe(), 200_000, rate_factor=None, max_rank=16).rank == 16  # type: ignore[attr-defined]
    pissa = recipe(arbiter={"method": "pissa"})
    assert settle(pissa, 300, rate_factor=None, max_rank=16).rank == 8  # type: ignore[attr-defined]
    with pytest.raises(TuningError, match="at rank 64, and the engine takes 16"):
        settle(LoraRecipe(rank=64), 300, rate_factor=None, max_rank=16)


def test_a_rank_that_is_left_open_is_that_of_what_is_continued(tmp_path: Path) -> None:
    (tmp_path / "first@1234").mkdir()
    (tmp_path / "first@1234" / "adapter_config.json").write_text('{"r": 4}')
    found = recipes.settle(
        LoraRecipe(continue_from="first@1234"), 300, adapters_dir=tmp_path, rate_factor=None, max_rank=16
    )
    assert found.rank == 4  # type: ignore[attr-defined]


def test_a_recipe_comes_back_from_its_row() -> None:
    import json
    from dataclasses import asdict

    found = recipe(arbiter={"layers": [0, 1], "rank_pattern": {"q_proj": 8}})
    assert read_recipe(json.loads(json.dumps(asdict(found)))) == found
