"""LoRA (Hu et al. 2021, arXiv 2106.09685): beside each chosen layer, a product of two thin matrices is trained."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from storage.settings import NUMBER, Count, settings
from tuning.errors import TuningError
from tuning.recipe import Method, Recipe

# An adapter on these would change the head's logits, which neither TRL's loss nor vLLM's LoRA support.
_NO_TARGETS = ("lm_head", "embed_tokens")


@settings(TuningError)
class LoraRecipe(Recipe):
    """One adapter: the numbers of its LoRA training, and the shape of its rows."""

    method: Literal["lora"] = "lora"
    """What moves: lora."""
    rank: Count = 16
    """The rank of a weight's update, which is alpha / rank x B A."""
    alpha: Count = 32
    """Scales the update."""
    dropout: Annotated[float, Field(ge=0, lt=1), NUMBER] = 0.0
    """The share of an update's inputs that is left out at each step."""
    target_modules: Literal["all-linear"] | Annotated[tuple[str, ...], Field(min_length=1)] = "all-linear"
    """The layers that are updated, by name such as q_proj."""

    def __post_init__(self) -> None:
        if set(_NO_TARGETS) & set(self.target_modules):
            raise ValueError(f"target_modules must be without {' and '.join(_NO_TARGETS)}, not {self.target_modules!r}")


def add_lora(model: Any, recipe: LoraRecipe) -> Any:
    """A PeftModel whose LoRA matrices alone move. Raises TuningError if the target modules are not the model's."""
    from peft import LoraConfig, get_peft_model

    targets = recipe.target_modules
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        layers = {name.rsplit(".", 1)[-1] for name, part in model.named_modules() if hasattr(part, "in_features")}
        raise TuningError(
            f"target_modules {targets!r} do not fit the base model, which has {', '.join(sorted(layers))}"
        ) from error


LORA = Method(name="lora", recipe=LoraRecipe, prepare=add_lora)
