"""LoRA (Hu et al. 2021): beside each chosen layer, a product of two thin matrices is trained. Also its numbers, which
most methods share: `lora_config(model, recipe, init_lora_weights="orthogonal")`, and rsLoRA.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from storage.settings import NUMBER, Count, Whole, settings
from tuning.errors import TuningError
from tuning.recipe import Method, Occasion, Prepared, Recipe, known

# An adapter on these would change the head's logits, which neither TRL's loss nor vLLM's LoRA support.
NO_TARGETS = frozenset({"lm_head", "embed_tokens"})
Targets = Literal["all-linear"] | Annotated[tuple[str, ...], Field(min_length=1)]


@settings(TuningError)
class LayerRecipe(Recipe):
    """A training that moves something beside chosen layers."""

    target_modules: Targets = "all-linear"
    """The layers that are updated, by name such as q_proj."""
    layers: Annotated[tuple[Whole, ...], Field(min_length=1)] | None = None
    """The numbers of the blocks whose layers are updated, from 0; null is every block."""

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        if self.target_modules != "all-linear" and any(_last(name) in NO_TARGETS for name in self.target_modules):
            raise ValueError(f"target_modules must be without lm_head and embed_tokens, not {self.target_modules!r}")


@settings(TuningError)
class ScaledRecipe(LayerRecipe):
    """A rank, and what scales the update."""

    rank: Count | None = None
    """The rank of a weight's update, which is alpha / rank x B A; null is 16, or for 10,000 rows 32, for 100,000 64."""
    alpha: Count = 32
    """Scales the update."""
    dropout: Annotated[float, Field(ge=0, lt=1), NUMBER] = 0.0
    """The share of an update's inputs that is left out at each step."""


@settings(TuningError)
class PatternRecipe(ScaledRecipe):
    """Ranks and scales that may differ from layer to layer."""

    rank_pattern: Mapping[str, Count] = field(default_factory=dict)
    """Other ranks for some layers, by a pattern of their names, such as down_proj: 32."""
    alpha_pattern: Mapping[str, Count] = field(default_factory=dict)
    """Other alphas, the same way."""

    def __post_init__(self) -> None:
        LayerRecipe.__post_init__(self)
        for pattern in (*self.rank_pattern, *self.alpha_pattern):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no pattern of names: {error}") from error


@settings(TuningError)
class LoraRecipe(PatternRecipe):
    """A low-rank update of every chosen layer."""

    method: Literal["lora"] = "lora"
    init: Literal["default", "gaussian", "orthogonal"] = "default"
    """How A begins; B begins with zeros, except `orthogonal`, where both are orthogonal and their product is 0."""


@settings(TuningError)
class RsLoraRecipe(PatternRecipe):
    """LoRA whose update is alpha / sqrt(rank) x B A, so that a high rank learns as fast as a low one."""

    method: Literal["rslora"] = "rslora"


def peft_targets(model: Any, recipe: LayerRecipe) -> dict[str, Any]:
    """The chosen layers in the words of any PEFT config. Raises TuningError for blocks that the model lacks."""
    targets = recipe.target_modules
    if recipe.layers is not None:
        refuse_blocks(model, recipe.layers)
    if targets != "all-linear":
        names = [name for name, part in model.named_modules() if getattr(part, "weight", None) is not None]
        missing = [target for target in targets if not any(_is_meant(name, (target,)) for name in names)]
        if missing:
            raise TuningError(
                f"target_modules {missing!r} do not fit the base model, which has {', '.join(_linear(model))}"
            )
    if recipe.layers is not None:  # not every PEFT config takes blocks, but all take whole names
        targets = tuple(chosen_layers(model, recipe))
    return {"target_modules": targets if isinstance(targets, str) else list(targets), "task_type": "CAUSAL_LM"}


def chosen_layers(model: Any, recipe: LayerRecipe) -> dict[str, Any]:
    """The linear layers that a recipe updates, by name."""
    return {name: part for name, part in linear_layers(model).items() if is_chosen(name, recipe)}


def is_chosen(name: str, recipe: LayerRecipe) -> bool:
    """Whether a recipe updates the linear layer of this name."""
    is_meant = recipe.target_modules == "all-linear" or _is_meant(name, recipe.target_modules)
    return is_meant and (recipe.layers is None or block_of(name) in recipe.layers)


def _is_meant(name: str, targets: Sequence[str]) -> bool:
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _last(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def refuse_blocks(model: Any, layers: Sequence[int]) -> None:
    """Raise TuningError for blocks that the model lacks."""
    blocks = getattr(model.config, "num_hidden_layers", 0)
    if missing := [number for number in layers if number >= blocks]:
        raise TuningError(f"layers {missing} do not fit the base model, which has blocks 0 to {blocks - 1}")


def takes_all(recipe: LayerRecipe) -> bool:
    """Whether every linear layer is updated, so that none is named which a base model may lack."""
    return recipe.target_modules == "all-linear" and recipe.layers is None


def block_of(name: str) -> int | None:
    """The number of the block that a module's name is in, None for one outside."""
    return next((int(word) for word in name.split(".") if word.isdigit()), None)


def lora_config(model: Any, recipe: ScaledRecipe, **rest: Any) -> Any:
    """The recipe's LoraConfig."""
    from peft import LoraConfig

    return LoraConfig(
        r=recipe.rank, lora_alpha=recipe.alpha, lora_dropout=recipe.dropout, **peft_targets(model, recipe), **rest
    )


def add_layers(model: Any, config: Any) -> Any:
    """A PeftModel of a config. Raises TuningError if it does not fit the model."""
    from peft import get_peft_model

    with fitting():
        return get_peft_model(model, config)


@contextmanager
def fitting() -> Iterator[None]:
    """Turns what PEFT says of numbers that do not fit a model into a TuningError of one line."""
    try:
        yield
    except (ValueError, TypeError, RuntimeError, AssertionError, NotImplementedError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TuningError(f"these numbers do not fit the base model: {said}") from error


def linear_layers(model: Any) -> dict[str, Any]:
    """The linear layers of a model by name, its head left out."""
    return {
        name: part
        for name, part in model.named_modules()
        if layer_sides(part) is not None and _last(name) not in NO_TARGETS
    }


def layer_sides(part: Any) -> tuple[int, int] | None:
    """Inputs and outputs of a linear layer, torch's or GPT-2's own kind (Conv1D); None for what is none."""
    for inputs, outputs in (("in_features", "out_features"), ("nx", "nf")):
        if hasattr(part, inputs):
            return int(getattr(part, inputs)), int(getattr(part, outputs))
    return None


def _linear(model: Any) -> list[str]:
    return sorted(set(map(_last, linear_layers(model))))


def preparing(make: Callable[[Any, Any], Any]) -> Callable[[Any, Any, Occasion], Prepared]:
    """The `prepare` of a method that is all in its PEFT config, `make(model, recipe)`."""

    def prepare(model: Any, recipe: Recipe, _occasion: Occasion) -> Prepared:
        return Prepared(model=add_layers(model, make(model, recipe)))

    return prepare


def save_layers(prepared: Prepared, _recipe: Recipe, folder: Path) -> None:
    """PEFT's two files, as they are."""
    prepared.model.save_pretrained(str(folder))


def pattern_rank(recipe: PatternRecipe) -> int:
    """The largest rank of any layer."""
    return max([known(recipe.rank), *recipe.rank_pattern.values()])


def patterns(recipe: PatternRecipe) -> dict[str, Any]:
    """The recipe's patterns in PEFT's words."""
    return {"rank_pattern": dict(recipe.rank_pattern), "alpha_pattern": dict(recipe.alpha_pattern)}


def _add_lora(model: Any, recipe: LoraRecipe, _occasion: Occasion) -> Prepared:
    init = True if recipe.init == "default" else recipe.init
    return Prepared(model=add_layers(model, lora_config(model, recipe, init_lora_weights=init, **patterns(recipe))))


def _add_rslora(model: Any, recipe: RsLoraRecipe, _occasion: Occasion) -> Prepared:
    return Prepared(model=add_layers(model, lora_config(model, recipe, use_rslora=True, **patterns(recipe))))


LORA = Method(
    name="lora",
    title="LoRA: a low-rank update of every chosen layer",
    paper="arxiv.org/abs/2106.09685",
    recipe=LoraRecipe,
    prepare=_add_lora,
    fits_all=lambda recipe: takes_all(recipe) and recipe.init != "orthogonal",  # which wants an even rank
    export=save_layers,
    export_rank=pattern_rank,
)
RSLORA = Method(
    name="rslora",
    title="rsLoRA: LoRA scaled by the square root of the rank",
    paper="arxiv.org/abs/2312.03732",
    recipe=RsLoraRecipe,
    prepare=_add_rslora,
    fits_all=takes_all,
    export=save_layers,
    export_rank=pattern_rank,
)
