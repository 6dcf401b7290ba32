"""What pruning and rounding share: a recipe that may take no step, its layers, and what a model's files hold.

layers_of(model, recipe)
counted(folder, shapes_of(folder), recipe, "2:4")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.settings import NotNegative, settings
from tuning.errors import TuningError
from tuning.look import Compression
from tuning.methods.lora import LayerRecipe, chosen_layers, peft_targets

if TYPE_CHECKING:
    import torch


@settings(TuningError)
class CompressedRecipe(LayerRecipe):
    """A model made smaller; `continue_from` takes a LoRA too, which is merged first."""

    epochs: NotNegative | None = None
    """As elsewhere; 0 trains nothing, and serves what is left as it is."""

    def __post_init__(self) -> None:
        LayerRecipe.__post_init__(self)
        if self.epochs != 0:
            return
        for key, only, fits in (
            ("keep", "last", not self.has_looks),
            ("objective", "supervised", self.objective.name == "supervised"),
            ("optimizer", "adamw", self.optimizer == "adamw"),
            ("neftune_alpha", 0, not self.neftune_alpha),
            ("accumulate", 1, self.accumulate == 1),
        ):
            if not fits:
                more = " and patience 0" if key == "keep" else ""
                raise ValueError(f"{key} must be {only}{more} with epochs 0, which trains nothing")


def layers_of(model: Any, recipe: LayerRecipe) -> dict[str, Any]:
    """The linear layers of the blocks that a recipe names; a head and embeddings, which may share their weights, are
    none. Raises TuningError for names and blocks that the model lacks.
    """
    peft_targets(model, recipe)
    found = chosen_layers(model, recipe)
    if not found:
        raise TuningError("target_modules and layers name no linear layer of the base model; name others")
    return found


def by_outputs(part: Any) -> torch.Tensor:
    """(outputs, inputs) of a linear layer's weights, torch's kind or GPT-2's: a change of it is a change of them."""
    weight: torch.Tensor = part.weight.data
    return weight.T if hasattr(part, "nf") else weight


def counted(
    folder: Path,
    shapes: Any,
    recipe: CompressedRecipe,
    kind: str,
    look: Callable[[str, torch.Tensor], int | None] = lambda _name, _weight: None,
) -> Compression:
    """What a model's files hold. `look` is given each layer of the recipe, by its name, (outputs, inputs), and may give
    the bytes that it would take if it were packed. `shapes` is the model without weights.

    Raises TuningError for a layer that is not there.
    """
    numbers = nonzero = layer_numbers = layer_zeros = 0
    packed = list[int]()
    layers = layers_of(shapes, recipe)
    for key, tensor in _tensors(folder):
        not_0 = int(tensor.count_nonzero())
        numbers, nonzero = numbers + tensor.numel(), nonzero + not_0
        name = key.removesuffix(".weight")
        if (part := layers.pop(name, None)) is None:
            continue
        layer_numbers, layer_zeros = layer_numbers + tensor.numel(), layer_zeros + tensor.numel() - not_0
        if (found := look(name, tensor.T if hasattr(part, "nf") else tensor)) is not None:
            packed.append(found - tensor.nbytes)
    if layers:
        raise TuningError(f"{str(folder)!r} does not hold the layer {sorted(layers)[0]!r}; take another base model")
    num_bytes = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return Compression(
        before=recipe.continue_from,
        kind=kind,
        layer_numbers=layer_numbers,
        layer_zeros=layer_zeros,
        numbers=numbers,
        nonzero=nonzero,
        num_bytes=num_bytes,
        packed_bytes=num_bytes + sum(packed) if packed else None,
        is_trained=recipe.epochs != 0,
    )


def _tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """One after the other, so that not all lie in the memory."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as stored:
            for key in stored.keys():  # noqa: SIM118  # no mapping
                yield key, stored.get_tensor(key)
