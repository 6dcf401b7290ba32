"""What a request's numbers mean to the training: `recipe_of(asked, ...)`, and once its rows are known `settle(...)`."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from serving.errors import Invalid
from serving.fine_tuning.request import MAX_EPOCHS, CreateJob, DpoHyperparameters
from storage.errors import did_you_mean
from tuning.automatic import settled
from tuning.errors import TuningError
from tuning.methods.registry import METHODS
from tuning.optimizers.registry import OPTIMIZERS
from tuning.recipe import Form, Recipe, known
from tuning.training import start

# Numbers of a recipe that a job has another place for, or none.
_ELSEWHERE = {
    "seed": "give it as seed",
    "objective": "give it as the type of method",
    "continue_from": "name it as model",
    "passages": "the rows of a job hold all that the model is shown",
    "golden_fraction": "the rows of a job hold all that the model is shown",
    "guard_drop": "a job has no guard rows",
}
_OF_LOOKS = ("keep", "patience", "look_every", "look_rows")
# A batch that is left open is at most so large.
_LARGEST_BATCH = 32


def recipe_of(asked: CreateJob, *, seed: int, continue_from: str, forms: Collection[Form], max_rank: int) -> Recipe:
    """The recipe that a request asks for, for an engine that takes adapters of these forms and up to this rank.

    Raises Invalid naming the field that cannot be honoured.
    """
    given, hyper = dict(asked.arbiter or {}), asked.numbers
    for name, remedy in _ELSEWHERE.items():
        if name in given:
            raise _invalid(f"arbiter.{name}", f"not supported; {remedy}", code="unsupported_parameter")
    for name, value in (("epochs", hyper.n_epochs), ("batch_size", hyper.batch_size)):
        if value is not None and given.get(name) is not None:
            raise _invalid(f"arbiter.{name}", f"given twice; leave it to {asked.at}")
        if value is not None:
            given[name] = value
    if hyper.learning_rate_multiplier is not None and given.get("learning_rate") is not None:
        raise _invalid("arbiter.learning_rate", f"given twice; leave it out, or the multiplier of {asked.at}")
    if asked.validation_file is None and (of_looks := next((name for name in _OF_LOOKS if name in given), None)):
        raise _invalid(f"arbiter.{of_looks}", "needs a validation_file, with whose rows the training is looked at")
    if isinstance(hyper, DpoHyperparameters):
        # Of a job's file nothing is held out: what is measured is the validation file.
        beta = {} if hyper.beta is None else {"beta": hyper.beta}
        given["objective"] = {"name": asked.objective, "held_out": 0.0, **beta}
    recipe = _made(given, seed=seed, continue_from=continue_from)
    if recipe.epochs == 0:
        raise _invalid("arbiter.epochs", "must be above 0: a job trains; what is only made smaller is an adapter's")
    if recipe.epochs is not None and recipe.epochs > MAX_EPOCHS:
        raise _invalid("arbiter.epochs", f"must be at most {MAX_EPOCHS}, not {recipe.epochs:g}")
    _check_served(recipe, forms, max_rank)
    if asked.validation_file is not None and OPTIMIZERS[recipe.optimizer].averages:
        why = f"cannot be used with optimizer {recipe.optimizer}, whose mean of the weights no look sees"
        raise _invalid("validation_file", why)
    _check_rate(recipe, hyper.learning_rate_multiplier, asked.at)
    return recipe


def settle(
    recipe: Recipe,
    num_rows: int,
    *,
    num_looked_at: int = 0,
    adapters_dir: Path,
    rate_factor: float | None,
    max_rank: int,
) -> Recipe:
    """The recipe with all numbers that its rows decide. A rank that is left open is one that the engine takes, epochs
    are whole as OpenAI's are, and between two looks no fewer rows are learned than `num_looked_at`.

    Raises TuningError where there is no such rank.
    """
    found = start.settle(recipe, num_rows, adapters_dir)
    if recipe.epochs is None:
        found = start.settle(replace(recipe, epochs=float(round(known(found.epochs)))), num_rows, adapters_dir)
    found = replace(found, look_every=max(found.look_every, num_looked_at / num_rows))
    if rate_factor is not None:
        found = replace(found, learning_rate=known(found.learning_rate) * rate_factor)
    return _served(found, max_rank, is_open=getattr(recipe, "rank", 0) is None)


def read_recipe(values: Mapping[str, Any]) -> Recipe:
    """A recipe as `dataclasses.asdict` gave it. Raises TuningError where its numbers are none any more."""
    return METHODS[values["method"]].recipe(**values)


def _made(given: dict[str, Any], *, seed: int, continue_from: str) -> Recipe:
    name = given.pop("method", "lora")
    if not isinstance(name, str) or name not in METHODS:
        fault = f"{name!r:.80} is no method{did_you_mean(str(name), METHODS)}; there is {', '.join(METHODS)}"
        raise _invalid("arbiter.method", fault, code="unsupported_value")
    kind = METHODS[name].recipe
    names = {field.name for field in dataclasses.fields(kind)}
    if unknown := next((one for one in given if one not in names), None):
        fault = f"method {name} has no such number{did_you_mean(unknown, names)}"
        raise _invalid(f"arbiter.{unknown}", fault, code="unsupported_parameter")
    try:
        return kind(**given, method=name, seed=seed, continue_from=continue_from)
    except TuningError as error:
        field = re.match(r"\w*", str(error))
        raise _invalid(f"arbiter.{field[0]}" if field else "arbiter", str(error)) from error


def _check_served(recipe: Recipe, forms: Collection[Form], max_rank: int) -> None:
    method = METHODS[recipe.method]
    if method.form not in forms:
        fault = (
            f"{method.name} makes what is served in the form {method.form!r}, for which this server's engine was not "
        )
        raise _invalid("arbiter.method", f"{fault}started; serve a config with an adapter of such a method")
    try:
        _served(settled(recipe, 1), max_rank, is_open=getattr(recipe, "rank", 0) is None)
    except TuningError as error:
        raise _invalid("arbiter.rank", f"{error}; lower it, or raise engine.max_lora_rank") from error


def _served(found: Recipe, max_rank: int, *, is_open: bool) -> Recipe:
    """The recipe with a rank that the engine takes, which is lowered where it was left open. Raises TuningError."""
    rank_of, rank = METHODS[found.method].export_rank, getattr(found, "rank", 0)
    while is_open and rank > 1 and rank_of(found) > max_rank:
        rank //= 2
        found = replace(found, rank=rank)  # type: ignore[call-arg]  # of those that leave it open
    if rank_of(found) > max_rank:
        raise TuningError(f"it would be served at rank {rank_of(found)}, and the engine takes {max_rank}")
    return found


def _check_rate(recipe: Recipe, factor: float | None, at: str) -> None:
    """Refuse a rate that is over 1 with the largest batch that it may come to."""
    if factor is None:
        return
    largest = math.ceil(_LARGEST_BATCH / recipe.accumulate) * recipe.accumulate
    rate = known(settled(replace(recipe, batch_size=recipe.batch_size or largest)).learning_rate)
    if factor * rate > 1:
        param = f"{at}.learning_rate_multiplier"
        raise _invalid(param, f"must be at most {1 / rate:.4g} with method {recipe.method}, not {factor:g}")


def _invalid(param: str, fault: str, *, code: str | None = None) -> Invalid:
    words = fault if fault.startswith(param) else f"{param}: {fault}"
    return Invalid(words, param=param, code=code)
