"""Updates of whole weights, which no LoRA holds: they are served merged into the base.

MERGED; save_merged(prepared, recipe, folder)

Each turns, scales or fills the weights of the chosen layers in a way of its own, by PEFT.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from storage.settings import NUMBER, Above0, Count, settings
from tuning.errors import TuningError
from tuning.methods.lora import (
    LayerRecipe,
    PatternRecipe,
    Targets,
    add_layers,
    chosen_layers,
    layer_sides,
    lora_config,
    patterns,
    peft_targets,
    preparing,
)
from tuning.methods.sides import refuse_above, refuse_uneven
from tuning.recipe import Method, Occasion, Prepared, Recipe


@settings(TuningError)
class DoraRecipe(PatternRecipe):
    """LoRA of the direction of each column, and a number for its length."""

    method: Literal["dora"] = "dora"


@settings(TuningError)
class OftRecipe(LayerRecipe):
    """The inputs of each layer are turned, block by block."""

    method: Literal["oft"] = "oft"
    block: Annotated[int, Field(ge=2), NUMBER] = 32
    """The size of a block; every layer's inputs are a multiple of it."""


@settings(TuningError)
class BoftRecipe(LayerRecipe):
    """The outputs of each layer are turned by a product of sparse turns."""

    method: Literal["boft"] = "boft"
    block: Count = 4
    """The size of a block; every layer's inputs are a multiple of it."""
    factors: Annotated[int, Field(ge=1, le=4), NUMBER] = 1
    """How many turns are multiplied; more than 1 need a GPU with nvcc and ninja."""


@settings(TuningError)
class HraRecipe(LayerRecipe):
    """The inputs of each layer are mirrored, a few times."""

    method: Literal["hra"] = "hra"
    rank: Annotated[int, Field(ge=2, multiple_of=2), NUMBER] = 8
    """How many mirrors; an even number begins with none."""


@settings(TuningError)
class Ia3Recipe(LayerRecipe):
    """Keys, values and what enters the last layer of a block are scaled, number by number."""

    method: Literal["ia3"] = "ia3"
    target_modules: Targets = ("k_proj", "v_proj", "down_proj")
    """The layers that are scaled: the inputs of those that are as wide as the inner layer, the outputs of others."""
    usual_rate = 1e-2


@settings(TuningError)
class RandLoraRecipe(LayerRecipe):
    """A sum of random low-rank matrices, each scaled, which is of full rank."""

    method: Literal["randlora"] = "randlora"
    rank: Count = 32
    """The rank of each random matrix; the lower, the more numbers are trained."""
    alpha: Count = 640
    """Scales the update, over the rank."""


@settings(TuningError)
class FourierRecipe(LayerRecipe):
    """A few entries of the update's Fourier transform are trained, at random places."""

    method: Literal["fourierft"] = "fourierft"
    frequencies: Count = 1000
    """How many entries a layer."""
    scale: Above0 = 150.0
    """Scales the update."""
    usual_rate = 1e-2


@settings(TuningError)
class WaveRecipe(LayerRecipe):
    """A few entries of the update's wavelet transform (Haar's) are trained, at random places."""

    method: Literal["waveft"] = "waveft"
    frequencies: Count = 2592
    """How many entries a layer."""
    scale: Above0 = 25.0
    """Scales the update."""


@settings(TuningError)
class NormRecipe(Recipe):
    """The scales of the normalising layers alone are trained."""

    method: Literal["ln"] = "ln"
    usual_rate = 1e-2


@settings(TuningError)
class ShiraRecipe(LayerRecipe):
    """A few of a weight's own numbers are trained, at random places, as many as a LoRA of this rank would have."""

    method: Literal["shira"] = "shira"
    rank: Count = 16
    """Of the LoRA that has as many numbers."""


@settings(TuningError)
class RoadRecipe(LayerRecipe):
    """The outputs of each layer are turned and scaled, two by two."""

    method: Literal["road"] = "road"
    group: Annotated[int, Field(ge=2, multiple_of=2), NUMBER] = 64
    """Which outputs make a pair: those half a group apart. Every layer's outputs are a multiple of it."""


_Make = Callable[[Any, Any], Any]


def save_merged(prepared: Prepared, _recipe: Recipe, folder: Path) -> None:
    """Whole weights in float32: the model itself is changed to them."""
    model = prepared.model
    save_whole(model.merge_and_unload() if hasattr(model, "merge_and_unload") else model, folder)


def save_whole(model: Any, folder: Path) -> None:
    """A whole model as it is."""
    from transformers import GenerationConfig

    # Its generation settings are the base's file, which newer libraries may refuse; the trainer turned the cache off.
    model.generation_config = GenerationConfig()
    model.config.use_cache = True
    model.save_pretrained(str(folder))
    (folder / "generation_config.json").unlink(missing_ok=True)


def norm_layers(model: Any) -> list[str]:
    """The names of the normalising layers."""
    return sorted({name for name, part in model.named_modules() if "norm" in type(part).__name__.lower()})


def _dora(model: Any, recipe: DoraRecipe) -> Any:
    return lora_config(model, recipe, use_dora=True, **patterns(recipe))


def _oft(model: Any, recipe: OftRecipe) -> Any:
    from peft import OFTConfig

    refuse_uneven(model, recipe, "block", "inputs")
    return OFTConfig(oft_block_size=recipe.block, **peft_targets(model, recipe))


def _boft(model: Any, recipe: BoftRecipe) -> Any:
    from peft import BOFTConfig

    refuse_uneven(model, recipe, "block", "inputs")
    return BOFTConfig(
        boft_block_size=recipe.block, boft_n_butterfly_factor=recipe.factors, **peft_targets(model, recipe)
    )


def _add_boft(model: Any, recipe: BoftRecipe) -> Any:
    made = add_layers(model, _boft(model, recipe))
    # Without its extension PEFT takes one, whatever it is told.
    if any(len(part.boft_R["default"]) != recipe.factors for part in made.modules() if hasattr(part, "boft_R")):
        raise TuningError(f"factors ({recipe.factors}) must be 1 where PEFT cannot build its CUDA extension")
    return made


def _prepare_boft(model: Any, recipe: BoftRecipe, _occasion: Occasion) -> Prepared:
    return Prepared(model=_add_boft(model, recipe))


def _fit_boft(model: Any, recipe: BoftRecipe) -> None:
    """Of one layer of each shape: PEFT makes a square matrix for every layer, and none on torch's meta device."""
    import torch

    _boft(model, recipe)
    alike = {layer_sides(part): name for name, part in chosen_layers(model, recipe).items()}
    one = replace(recipe, target_modules=tuple(alike.values()), layers=None) if alike else recipe
    with torch.device("cpu"):
        _add_boft(model, one)


def _hra(model: Any, recipe: HraRecipe) -> Any:
    from peft import HRAConfig

    return HRAConfig(r=recipe.rank, **peft_targets(model, recipe))


def _ia3(model: Any, recipe: Ia3Recipe) -> Any:
    from peft import IA3Config

    inner = getattr(model.config, "intermediate_size", 0)
    wide = sorted(
        {name.rsplit(".", 1)[-1] for name, part in model.named_modules() if getattr(part, "in_features", None) == inner}
    )
    chosen = peft_targets(model, recipe)
    targets = chosen["target_modules"]
    if not isinstance(targets, str):
        wide = [name for name in targets if name.rsplit(".", 1)[-1] in wide]
    return IA3Config(feedforward_modules=wide, **chosen)


def _randlora(model: Any, recipe: RandLoraRecipe) -> Any:
    from peft import RandLoraConfig

    return RandLoraConfig(
        r=recipe.rank, randlora_alpha=recipe.alpha, projection_prng_key=recipe.seed, **peft_targets(model, recipe)
    )


def _fourierft(model: Any, recipe: FourierRecipe) -> Any:
    from peft import FourierFTConfig

    _refuse_frequencies(model, recipe)
    # Without init_weights it begins with a damaged model.
    return FourierFTConfig(
        n_frequency=recipe.frequencies,
        scaling=recipe.scale,
        random_loc_seed=recipe.seed,
        init_weights=True,
        **peft_targets(model, recipe),
    )


def _refuse_frequencies(model: Any, recipe: FourierRecipe | WaveRecipe) -> None:
    numbers = "the numbers of the base model's smallest layer"
    refuse_above(model, recipe, "frequencies", lambda inputs, outputs: inputs * outputs, numbers)


def _waveft(model: Any, recipe: WaveRecipe) -> Any:
    from peft import WaveFTConfig

    _refuse_frequencies(model, recipe)
    return WaveFTConfig(
        n_frequency=recipe.frequencies,
        scaling=recipe.scale,
        random_loc_seed=recipe.seed,
        **peft_targets(model, recipe),
    )


def _norms(model: Any, _recipe: NormRecipe) -> Any:
    from peft import LNTuningConfig

    return LNTuningConfig(target_modules=norm_layers(model), task_type="CAUSAL_LM")


def _shira(model: Any, recipe: ShiraRecipe) -> Any:
    from peft import ShiraConfig

    meaning = "where a LoRA has as many numbers as the base model's smallest layer"
    refuse_above(model, recipe, "rank", lambda inputs, outputs: inputs * outputs // (inputs + outputs), meaning)
    config = ShiraConfig(r=recipe.rank, random_seed=recipe.seed, **peft_targets(model, recipe))
    if model.device.type == "meta":  # without weights there are no places to draw
        config.mask_fn = None
    return config


def _road(model: Any, recipe: RoadRecipe) -> Any:
    from peft import RoadConfig

    refuse_uneven(model, recipe, "group", "outputs", step=2)
    return RoadConfig(group_size=recipe.group, **peft_targets(model, recipe))


def _method(name: str, title: str, paper: str, recipe: type[Recipe], make: _Make) -> Method:
    return merged_method(name, title, paper, recipe, preparing(make))


def merged_method(
    name: str,
    title: str,
    paper: str,
    recipe: type[Recipe],
    prepare: Callable[[Any, Any, Occasion], Prepared],
    fit: Callable[[Any, Any], object] | None = None,
) -> Method:
    """A method that is served as whole weights; `paper` is its number at arXiv."""
    return Method(
        name=name,
        title=title,
        paper=f"arxiv.org/abs/{paper}",
        recipe=recipe,
        prepare=prepare,
        fit=fit,
        export=save_merged,
        form="merged",
        moves_base=True,
    )


MERGED = (
    _method("dora", "DoRA: LoRA of directions, and a length for each", "2402.09353", DoraRecipe, _dora),
    _method("oft", "OFT: inputs turned, block by block", "2306.07280", OftRecipe, _oft),
    merged_method(
        "boft", "BOFT: outputs turned by a product of sparse turns", "2311.06243", BoftRecipe, _prepare_boft, _fit_boft
    ),
    _method("hra", "HRA: inputs mirrored, a few times", "2405.17484", HraRecipe, _hra),
    _method("ia3", "IA3: keys, values and inner layers scaled", "2205.05638", Ia3Recipe, _ia3),
    _method("randlora", "RandLoRA: a scaled sum of random matrices", "2502.00987", RandLoraRecipe, _randlora),
    _method("fourierft", "FourierFT: a few entries of the Fourier transform", "2405.03003", FourierRecipe, _fourierft),
    _method("waveft", "WaveFT: a few entries of the wavelet transform", "2505.12532", WaveRecipe, _waveft),
    _method("ln", "LN tuning: the normalising layers alone", "2312.11420", NormRecipe, _norms),
    _method("shira", "SHiRA: a few of the weight's own numbers", "2406.13175", ShiraRecipe, _shira),
    _method("road", "RoAd: outputs turned and scaled, two by two", "2409.00119", RoadRecipe, _road),
)
