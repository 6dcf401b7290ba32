"""Delta-LoRA (Zi et al. 2023): the base's weight moves by what the product of the two thin matrices moves.

No library has it. With W the weight, s the scale and l the ratio, the paper adds s l (B' A' - B A) to W after every
step from step K on, without a gradient of its own. The sum of these is s l (B A - B_K A_K), which is set anew from the
first weight after every step: it gathers no rounding, and a resumed training finds the same weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from storage.settings import Above0, Whole, settings
from tuning.errors import TuningError
from tuning.methods.difference import lora_layers, pairs_of, save_difference
from tuning.methods.lora import ScaledRecipe, add_layers, lora_config
from tuning.recipe import Method, Occasion, Prepared, Recipe


@settings(TuningError)
class DeltaLoraRecipe(ScaledRecipe):
    """LoRA whose base moves along."""

    acts_after_steps = True
    method: Literal["delta_lora"] = "delta_lora"
    ratio: Above0 = 2.0
    """How far the base moves for each step of the update."""
    start_step: Whole = 0
    """The step from which it moves."""


class DeltaLora(Prepared):
    """A LoRA model, its base's first weights, and the update from which the base began to move."""

    def __init__(self, made: Any, recipe: DeltaLoraRecipe) -> None:
        super().__init__(model=made, on_step=self._move, state=self._state, restore=self._restore)
        self.recipe = recipe
        self.first = {name: part.base_layer.weight.detach().clone() for name, part in lora_layers(made).items()}
        self.start = pairs_of(made) if recipe.start_step == 0 else {}

    def _move(self, step: int) -> None:
        if step + 1 == self.recipe.start_step:
            self.start = pairs_of(self.model)
        elif self.start:
            self._place()

    def _place(self) -> None:
        now = pairs_of(self.model)
        for name, part in lora_layers(self.model).items():
            (a, b, scale), (first_a, first_b, _) = now[name], self.start[name]
            part.base_layer.weight.data = self.first[name] + self.recipe.ratio * scale * (b @ a - first_b @ first_a)

    def _state(self) -> dict[str, Any]:
        return {"start": dict(self.start)}

    def _restore(self, state: dict[str, Any]) -> None:
        self.start = state["start"]
        if self.start:
            self._place()


def _prepare(model: Any, recipe: DeltaLoraRecipe, _occasion: Occasion) -> Prepared:
    return DeltaLora(add_layers(model, lora_config(model, recipe)), recipe)


def _save(prepared: Prepared, recipe: Recipe, folder: Path) -> None:
    assert isinstance(prepared, DeltaLora)
    assert isinstance(recipe, DeltaLoraRecipe)
    if not prepared.start:  # it ended before the base moved
        prepared.model.save_pretrained(str(folder))
        return
    save_difference(prepared.model, prepared.start, folder, now=1 + recipe.ratio, then=recipe.ratio)


DELTA_LORA = Method(
    name="delta_lora",
    title="Delta-LoRA: LoRA whose base moves along",
    paper="arxiv.org/abs/2309.02411",
    recipe=DeltaLoraRecipe,
    prepare=_prepare,
    export=_save,
    export_rank=lambda recipe: 2 * recipe.rank,
    moves_base=True,
)
