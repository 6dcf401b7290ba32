"""AdaLoRA (Zhang et al. 2023): every layer begins with more rank than it ends with, and the least important directions
of all layers together are given up.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from storage.settings import NUMBER, Count, NotNegative, settings
from tuning.errors import TuningError
from tuning.methods.difference import lora_layers, save_pairs
from tuning.methods.lora import ScaledRecipe, add_layers, peft_targets
from tuning.recipe import Method, Occasion, Prepared, Recipe

if TYPE_CHECKING:
    import torch

_ADAPTER = "default"
# Of PEFT's scale, so that no layer without rank is divided by 0.
_EPSILON = 1e-5


@settings(TuningError)
class AdaLoraRecipe(ScaledRecipe):
    """LoRA that finds out which layers need the rank."""

    acts_after_steps = True
    method: Literal["adalora"] = "adalora"
    rank: Count = 16
    """The mean rank of a layer at the end."""
    first_rank: Count = 24
    """Every layer's rank at the beginning."""
    warmup_share: Annotated[float, Field(ge=0, lt=0.5), NUMBER] = 0.1
    """The share of the steps before rank is given up."""
    final_share: Annotated[float, Field(ge=0, lt=0.5), NUMBER] = 0.3
    """The share of the steps after it."""
    orthogonality: NotNegative = 0.1
    """The weight of what keeps a layer's directions apart, in the loss."""

    def __post_init__(self) -> None:
        ScaledRecipe.__post_init__(self)
        if self.first_rank <= self.rank:
            raise ValueError(f"first_rank ({self.first_rank}) must be above rank ({self.rank})")


class AdaLora(Prepared):
    """A model whose ranks are allocated after every step."""

    def __init__(self, made: Any, recipe: AdaLoraRecipe) -> None:
        super().__init__(
            model=made,
            on_step=made.base_model.update_and_allocate,
            penalty=(lambda: recipe.orthogonality * _dependence(made)) if recipe.orthogonality else None,
            state=self._state,
            restore=self._restore,
        )

    def _state(self) -> dict[str, Any]:
        allocator = self.model.base_model.rankallocator
        known = {name: dict(getattr(allocator, name)) for name in ("ipt", "exp_avg_ipt", "exp_avg_unc")}
        return {**known, "rank_pattern": self.model.peft_config[_ADAPTER].rank_pattern}

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.peft_config[_ADAPTER].rank_pattern = state.pop("rank_pattern")
        for name, known in state.items():
            setattr(self.model.base_model.rankallocator, name, known)


def _dependence(model: Any) -> torch.Tensor:
    """How far the directions of A and of B are from orthogonal: the mean norm of A A' - I and B' B - I."""
    import torch

    norms = []
    for part in lora_layers(model).values():
        a, b = part.lora_A[_ADAPTER], part.lora_B[_ADAPTER]
        norms += [
            torch.norm(product - torch.eye(len(product), device=product.device)) for product in (a @ a.T, b.T @ b)
        ]
    return torch.stack(norms).mean()


def _prepare(model: Any, recipe: AdaLoraRecipe, occasion: Occasion) -> Prepared:
    from peft import AdaLoraConfig

    config = AdaLoraConfig(
        init_r=recipe.first_rank,
        target_r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        tinit=int(recipe.warmup_share * occasion.num_steps),
        tfinal=int(recipe.final_share * occasion.num_steps),
        total_step=occasion.num_steps,
        orth_reg_weight=recipe.orthogonality,
        **peft_targets(model, recipe),
    )
    return AdaLora(add_layers(model, config), recipe)


def _save(prepared: Prepared, _recipe: Recipe, folder: Path) -> None:
    """A E with the scale in it, and B, without the directions whose E is 0."""
    tensors, ranks = {}, {}
    for name, part in lora_layers(prepared.model).items():
        a, b, e = (getattr(part, f"lora_{letter}")[_ADAPTER].detach() for letter in "ABE")
        scale = part.scaling[_ADAPTER] / (float(part.ranknum[_ADAPTER]) + _EPSILON)
        kept = (e.flatten() != 0).nonzero().flatten()
        kept = kept if len(kept) else kept.new_zeros(1)  # its product is 0
        tensors[f"{name}.lora_A.weight"] = scale * (a * e)[kept]
        tensors[f"{name}.lora_B.weight"] = b[:, kept]
        ranks[name.removeprefix("base_model.model.")] = len(kept)
    save_pairs(tensors, ranks, folder)


ADALORA = Method(
    name="adalora",
    title="AdaLoRA: LoRA that finds out which layers need the rank",
    paper="arxiv.org/abs/2303.10512",
    recipe=AdaLoraRecipe,
    prepare=_prepare,
    export=_save,
    export_rank=lambda recipe: recipe.first_rank,
)
