"""Numbers that a recipe leaves open."""

from __future__ import annotations

import pytest

from tuning.automatic import settled
from tuning.methods.lora import LoraRecipe
from tuning.methods.registry import METHODS
from tuning.methods.whole import FullRecipe
from tuning.recipe import known


@pytest.mark.parametrize(
    ("num_rows", "epochs"),
    [(1, 10.0), (12, 10.0), (40, 8.0), (75, 6.0), (150, 4.0), (256, 3.0), (300, 3.0), (3000, 3.0), (12_000, 1.5)],
)
def test_few_rows_are_gone_through_more_often(num_rows: int, epochs: float) -> None:
    assert settled(LoraRecipe(), num_rows).epochs == epochs


def test_many_rows_are_seen_once_in_large_batches_by_a_high_rank() -> None:
    many = settled(LoraRecipe(), 200_000)
    assert (many.epochs, many.batch_size, many.rank) == (1.0, 32, 64)
    assert many.learning_rate == pytest.approx(1e-3 * 8**0.5)
    assert (settled(LoraRecipe(), 10_000).rank, settled(LoraRecipe(), 9_999).rank) == (32, 16)


def test_rows_with_passages_are_gone_through_less() -> None:
    assert settled(LoraRecipe(passages=2), 300).epochs == 2.0
    assert settled(LoraRecipe(passages=2), 75).epochs == 4.0


def test_what_is_given_stays() -> None:
    given = LoraRecipe(epochs=0.5, batch_size=8, learning_rate=2e-4, rank=8)
    assert settled(given, 40) is given
    assert settled(LoraRecipe(epochs=5), 40).epochs == 5


def test_a_given_batch_has_a_rate_of_its_own() -> None:
    assert settled(LoraRecipe(batch_size=16), 300).learning_rate == pytest.approx(2e-3)
    assert settled(FullRecipe(batch_size=16), 300).learning_rate == pytest.approx(1e-4)


def test_a_batch_is_a_multiple_of_its_parts() -> None:
    assert settled(LoraRecipe(accumulate=3), 300).batch_size == 6
    assert settled(LoraRecipe(accumulate=8), 300).batch_size == 8


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_all_numbers_then(method: str) -> None:
    recipe = settled(METHODS[method].recipe(), 300)
    assert (recipe.epochs, recipe.batch_size) == (0.0 if method == "quantized" else 3.0, 4)
    assert recipe.learning_rate == METHODS[method].recipe.usual_rate
    assert getattr(recipe, "rank", 1) is not None


def test_a_rate_is_at_most_1() -> None:
    assert known(settled(METHODS["c3a"].recipe(batch_size=1024), 300).learning_rate) == 1.0
