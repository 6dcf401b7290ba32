"""Pruning: of every chosen layer the least weights become zeros, and what is left is trained, or served as it is.

Those of the least magnitude go, or with `by: activations` (Wanda, Sun et al. 2024) those that weigh least on what they
are multiplied with, among the weights of one output. The norms of the inputs are the unpruned model's, in one pass over
the first rows, where the paper prunes block after block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from storage.settings import NUMBER, Count, settings
from tuning.errors import TuningError
from tuning.look import Compression
from tuning.methods.compressed import CompressedRecipe, by_outputs, counted, layers_of
from tuning.methods.lora import layer_sides, takes_all
from tuning.methods.merged import merged_method
from tuning.recipe import Method, Occasion, Prepared

if TYPE_CHECKING:
    import torch

_OF_FOUR, _ZEROS_OF_FOUR = 4, 2


@settings(TuningError)
class PrunedRecipe(CompressedRecipe):
    """A share of the weights is taken away, and what is left is trained."""

    acts_after_steps = True
    method: Literal["pruned"] = "pruned"
    sparsity: Annotated[float, Field(gt=0, lt=1), NUMBER] = 0.5
    """The share of each layer's weights that become zeros."""
    pattern: Literal["unstructured", "2:4"] = "unstructured"
    """Where the zeros may lie: anywhere, or two in every four neighbouring inputs, which some GPUs skip."""
    by: Literal["magnitude", "activations"] = "magnitude"
    """What goes first: the smallest weights of a layer, or of each output the smallest by weight times the norm of its
    input over the first rows (Wanda)."""
    probe_rows: Count = 64
    """How many rows the norms are taken over."""
    usual_rate = 5e-5

    def __post_init__(self) -> None:
        CompressedRecipe.__post_init__(self)
        if self.pattern == "2:4" and self.sparsity != _ZEROS_OF_FOUR / _OF_FOUR:
            raise ValueError(f"sparsity ({self.sparsity:g}) must be 0.5 with pattern 2:4, which is two of four")


class Pruned(Prepared):
    """A model whose pruned weights are zeros, and become so again after every step."""

    def __init__(self, model: Any, gone: dict[str, torch.Tensor]) -> None:
        super().__init__(model=model, on_step=self._hold)
        self._gone = gone
        self._hold(0)

    def _hold(self, _step: int) -> None:
        for name, gone in self._gone.items():
            by_outputs(self.model.get_submodule(name)).masked_fill_(gone, 0.0)


def least(scores: torch.Tensor, recipe: PrunedRecipe) -> torch.Tensor:
    """(outputs, inputs) of a layer's scores -> where its zeros lie."""
    import torch

    if recipe.pattern == "2:4":
        groups, count = scores.reshape(-1, _OF_FOUR), _ZEROS_OF_FOUR
    else:
        groups = scores if recipe.by == "activations" else scores.reshape(1, -1)
        count = round(recipe.sparsity * groups.shape[1])
    places = groups.topk(count, dim=1, largest=False).indices
    return torch.zeros_like(groups, dtype=torch.bool).scatter_(1, places, value=True).reshape(scores.shape)


def num_zeros(sides: tuple[int, int], recipe: PrunedRecipe) -> int:
    """How many weights of a layer with so many inputs and outputs become zeros."""
    inputs, outputs = sides
    if recipe.pattern == "2:4" or recipe.by == "activations":
        return round(recipe.sparsity * inputs) * outputs
    return round(recipe.sparsity * inputs * outputs)


def _refuse(model: Any, recipe: PrunedRecipe) -> dict[str, Any]:
    """The layers that are pruned. Raises TuningError where they do not fit the recipe."""
    layers = layers_of(model, recipe)
    widths = sorted({sides[0] for part in layers.values() if (sides := layer_sides(part)) is not None})
    if recipe.pattern == "2:4" and any(width % _OF_FOUR for width in widths):
        raise TuningError(
            f"pattern 2:4 needs layers whose inputs are a multiple of 4, and the base model's have "
            f"{', '.join(map(str, widths))}; take unstructured"
        )
    return layers


def _prepare(model: Any, recipe: PrunedRecipe, occasion: Occasion) -> Prepared:
    import torch

    layers = _refuse(model, recipe)
    norms = _input_norms(model, layers, occasion, recipe.probe_rows) if recipe.by == "activations" else {}
    model.requires_grad_(False)
    gone = {}
    with torch.no_grad():
        for name, part in layers.items():
            part.weight.requires_grad_(True)
            scores = by_outputs(part).abs()
            gone[name] = least(scores * norms[name] if norms else scores, recipe)
    return Pruned(model, gone)


def _input_norms(model: Any, layers: dict[str, Any], occasion: Occasion, num_rows: int) -> dict[str, torch.Tensor]:
    """By layer (inputs,), each one's length over all tokens of the rows, which are read one by one, without padding."""
    import torch

    sums: dict[str, Any] = dict.fromkeys(layers, 0.0)

    def adding(name: str) -> Callable[..., None]:
        def add(_part: Any, given: tuple[torch.Tensor, ...]) -> None:
            sums[name] += given[0].float().square().flatten(0, -2).sum(0)

        return add

    hooks = [part.register_forward_pre_hook(adding(name)) for name, part in layers.items()]
    model.eval()
    try:
        with torch.no_grad():
            for row in occasion.batches(1, num_rows):
                model(input_ids=row["input_ids"], attention_mask=row["attention_mask"])
    finally:
        for hook in hooks:
            hook.remove()
    return {name: total.sqrt() for name, total in sums.items()}


def _measure(folder: Path, shapes: Any, recipe: PrunedRecipe) -> Compression:
    """Raises TuningError where a stored layer has not the zeros that it is to have."""

    def look(name: str, weight: torch.Tensor) -> None:
        is_zero = weight == 0
        found, wanted = int(is_zero.sum()), num_zeros((weight.shape[1], weight.shape[0]), recipe)
        in_fours = is_zero.reshape(-1, _OF_FOUR).sum(1) if recipe.pattern == "2:4" else None
        if found < wanted or (in_fours is not None and int(in_fours.min()) < _ZEROS_OF_FOUR):
            raise TuningError(
                f"what pruned would serve is not pruned: {name} has {found:,} zeros of {wanted:,} ({recipe.pattern}); "
                "nothing was published: train again, or take another base model"
            )

    return counted(folder, shapes, recipe, recipe.pattern, look)


PRUNED: Method = replace(
    merged_method(
        "pruned",
        "Pruning: the least weights become zeros, and what is left is trained",
        "2306.11695",
        PrunedRecipe,
        _prepare,
        _refuse,
    ),
    fits_all=lambda recipe: takes_all(recipe) and recipe.pattern == "unstructured",
    merges_start=True,
    measure=_measure,
)
