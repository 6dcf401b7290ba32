"""What cannot be trained is said of a model without weights in the words of the training itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fakes.lazy import Lazy
from fakes.trainings import TRAINED, skip_without_gpu

from tuning.automatic import settled
from tuning.base import ResolvedModel
from tuning.errors import TuningError
from tuning.methods.lora import LoraRecipe, fitting
from tuning.methods.registry import METHODS
from tuning.methods.size import shapes_of
from tuning.recipe import Occasion, Recipe
from tuning.training.obstacles import misfit, obstacles

if TYPE_CHECKING:
    import torch
else:
    torch = Lazy("torch")

# It imports torch and peft.
pytestmark = pytest.mark.slow

# Queries and outputs of the tiny base's attention are 32 x 32, keys and values 32 x 16, its inner layers 32 x 64.
MISFITS: list[tuple[str, dict[str, Any], str]] = [
    ("lora", {"layers": (40,)}, "layers [40] do not fit the base model, which has blocks 0 to 1"),
    ("lora", {"init": "orthogonal", "rank": 3}, "requires the LoRA rank to be even, got 3"),
    ("ia3", {"target_modules": ("q_proj", "wq")}, "target_modules ['wq'] do not fit the base model, which has down_"),
    ("dora", {"target_modules": ("input_layernorm",)}, "Target module LlamaRMSNorm"),
    ("c3a", {"block": 12}, "block (12) must divide the sides of the base model's layers (16, 32, 64); set it to 8"),
    ("oft", {"block": 64}, "block (64) must divide the inputs of the base model's layers (32, 64); set it to 32"),
    ("boft", {"block": 7}, "block (7) must divide the inputs of the base model's layers (32, 64); set it to 4"),
    ("boft", {"target_modules": ("q_proj", "wq")}, "target_modules ['wq'] do not fit the base model"),
    ("road", {"group": 64}, "group (64) must divide the outputs of the base model's layers (16, 32, 64); set it to 16"),
    ("vblora", {"length": 5}, "length (5) must divide the sides of the base model's layers (16, 32, 64); set it to 4"),
    ("gralora", {"rank": 15, "blocks": 3}, "blocks (3) must divide the sides of the base model's layers (16, 32, 64)"),
    ("miss", {"rank": 33}, "rank (33) must be at most 32, the fewest inputs of the base model's layers"),
    ("corda", {"rank": 17}, "rank (17) must be at most 16, the smallest side of the base model's layers"),
    ("lora_ga", {"rank": 9}, "rank (9) must be at most 8, half the smallest side of the base model's layers"),
    (
        "eva",
        {"rank": 9, "rho": 4.0},
        "rank (9) must be at most 8, the fewest inputs of the base model's layers over ",
    ),
    ("psoft", {"rank": 17}, "rank (17) must be at most 16, the smallest side of the base model's layers"),
    ("loftq", {"layers": (2,)}, "layers [2] do not fit the base model, which has blocks 0 to 1"),
    ("shira", {"rank": 11}, "rank (11) must be at most 10, where a LoRA has as many numbers as"),
    ("fourierft", {"frequencies": 513}, "frequencies (513) must be at most 512, the numbers of the base model's small"),
    ("waveft", {"frequencies": 513}, "frequencies (513) must be at most 512, the numbers of the base model's smallest"),
    ("lokr", {"rank": 22}, "rank 22 is too high for the base model's layers; lower it, or factor"),
    ("freeze", {"blocks": 3}, "blocks (3) do not fit the base model, which has 2"),
]


@pytest.fixture(scope="module")
def shapes(tiny_base: Path) -> Any:
    return shapes_of(str(tiny_base))


def batches(size: int, count: int) -> Sequence[dict[str, torch.Tensor]]:
    ids = torch.arange(20).repeat(min(size, 2), 1) % 19
    return [{"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}] * min(count, 2)


def said_in_training(base: Path, recipe: Recipe) -> str | None:
    """What the method itself says of the model with its weights."""
    from tuning.training.libraries import quiet
    from tuning.training.loading import load_base

    model = load_base(str(base), "float32", longest=8, quantization=METHODS[recipe.method].quantization)
    try:
        with quiet():
            METHODS[recipe.method].prepare(model, recipe, Occasion(batches, num_steps=100))
    except TuningError as error:
        return str(error)
    return None


@pytest.mark.parametrize(("method", "numbers", "said"), MISFITS)
def test_numbers_that_do_not_fit_are_told_as_in_the_training(
    method: str, numbers: dict[str, Any], said: str, shapes: Any, tiny_base: Path
) -> None:
    recipe = settled(METHODS[method].recipe(**numbers))
    found = misfit(shapes, recipe)
    assert found is not None
    assert said in found
    assert "\n" not in found
    assert said_in_training(tiny_base, recipe) == found


@pytest.mark.parametrize(
    ("method", "numbers"),
    [
        ("c3a", {"block": 8}),
        ("oft", {"block": 16}),
        ("boft", {"block": 32, "layers": (1,)}),
        ("road", {"group": 16}),
        ("vblora", {"length": 16}),
        ("miss", {"rank": 32}),
        ("corda", {"rank": 16}),
        ("lora_ga", {"rank": 8}),
        ("eva", {"rank": 8, "rho": 2.0}),
        ("shira", {"rank": 10}),
        ("psoft", {"rank": 16}),
        ("fourierft", {"frequencies": 512}),
        ("waveft", {"frequencies": 512}),
        ("freeze", {"blocks": 2}),
        # A layer that is not chosen has no say.
        ("c3a", {"block": 32, "target_modules": ("q_proj",)}),
    ],
)
def test_the_largest_numbers_that_fit_are_not_refused(
    method: str, numbers: dict[str, Any], shapes: Any, tiny_base: Path
) -> None:
    recipe = settled(METHODS[method].recipe(**numbers))
    assert (misfit(shapes, recipe), said_in_training(tiny_base, recipe)) == (None, None)


# Queries, keys and values are one layer of 32 x 96, its inner layers are 32 x 64.
@pytest.mark.parametrize(
    ("method", "numbers", "said"),
    [
        ("corda", {"rank": 33}, "rank (33) must be at most 32, the smallest side of the base model's layers"),
        ("lora_ga", {"rank": 17}, "rank (17) must be at most 16, half the smallest side of the base model's layers"),
        ("eva", {"rank": 33}, "rank (33) must be at most 32, the fewest inputs of the base model's layers over rho, 1"),
        ("lora", {"target_modules": ("q_proj",)}, "which has c_attn, c_fc, c_proj"),
        ("corda", {"rank": 32, "layers": (1,)}, None),
        ("lora_ga", {"rank": 16}, None),
        ("eva", {"rank": 16, "rho": 2.0, "target_modules": ("c_fc",)}, None),
        ("lora", {"layers": (1,)}, None),
    ],
)
def test_layers_that_are_no_linear_ones_of_torch_are_looked_at_too(
    method: str, numbers: dict[str, Any], said: str | None, conv1d_base: Path
) -> None:
    recipe = settled(METHODS[method].recipe(**numbers))
    found = misfit(shapes_of(str(conv1d_base)), recipe)
    assert (said in found) if said and found else found == said
    assert said_in_training(conv1d_base, recipe) == found


@pytest.mark.parametrize("method", TRAINED)
def test_every_method_s_own_numbers_fit_or_are_told_as_in_the_training(
    method: str, shapes: Any, tiny_base: Path
) -> None:
    skip_without_gpu(method)
    recipe = settled(METHODS[method].recipe())
    assert misfit(shapes, recipe) == said_in_training(tiny_base, recipe)


@pytest.mark.parametrize("name", ["tiny_base", "conv1d_base"])
def test_what_fits_all_fits_these(name: str, request: pytest.FixtureRequest) -> None:
    shapes = shapes_of(str(request.getfixturevalue(name)))
    recipes = [settled(one.recipe()) for one in METHODS.values()]
    sure = [recipe for recipe in recipes if METHODS[recipe.method].fits_all(recipe)]
    assert {recipe.method: misfit(shapes, recipe) for recipe in sure} == dict.fromkeys(
        ("lora", "rslora", "lora_plus", "lora_fa", "qlora", "full", "pruned", "quantized")
    )


def test_what_only_a_gpu_trains_fits_without_one(shapes: Any) -> None:
    assert misfit(shapes, settled(METHODS["loftq"].recipe())) is None


def test_a_mean_of_what_has_none_is_told(shapes: Any) -> None:
    said = misfit(shapes, settled(METHODS["adalora"].recipe(keep="mean")))
    assert said == "keep: mean does not fit adalora, which keeps more than weights; use best or last"
    assert misfit(shapes, settled(LoraRecipe(keep="mean"))) is None


def test_each_recipe_has_its_own_reason_and_a_base_that_is_not_there_has_none(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    recipes = {
        "plain": LoraRecipe(rank=8),
        "lacking": LoraRecipe(optimizer="adalomo", layers=(9,)),
        "unfit": METHODS["c3a"].recipe(),
    }
    base = ResolvedModel("org/tiny", "r1", str(tiny_base))
    found = obstacles(recipes, base, tmp_path)
    assert list(found) == ["lacking", "unfit"]
    assert "adalomo needs a CUDA GPU" in found["lacking"]
    assert found["unfit"].endswith("(16, 32, 64); set it to 16")
    assert list(obstacles(recipes, replace(base, path=""), tmp_path)) == ["lacking"]
    with pytest.raises(TuningError, match="cannot read the base model in 'nowhere'"):
        obstacles(recipes, replace(base, path="nowhere"), tmp_path)


@pytest.mark.parametrize("is_peft_s", [True, False])
def test_what_only_weights_can_tell_is_no_misfit(is_peft_s: bool, shapes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(model: Any, _recipe: Recipe, _occasion: Occasion) -> Any:
        if not is_peft_s:
            model.lm_head.weight.nonzero()
        with fitting():
            model.lm_head.weight.max().item()

    monkeypatch.setitem(METHODS, "lora", replace(METHODS["lora"], prepare=prepare))  # type: ignore[arg-type]  # a dict
    assert misfit(shapes, settled(LoraRecipe())) is None
