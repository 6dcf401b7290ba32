"""LoRA that begins with a part of the base's own weights and leaves the rest of them as the base: PiSSA (Meng et al.
2024), OLoRA (Büyükakyüz 2024), CorDA (Yang et al. 2024) and LoRA-GA (Wang et al. 2024).

They change the base, so what is served is the difference to what they began with, of twice the rank.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from storage.settings import Count, settings
from tuning.errors import TuningError
from tuning.methods.difference import Pairs, pairs_of, save_difference
from tuning.methods.lora import ScaledRecipe, add_layers, fitting, lora_config
from tuning.recipe import Method, Occasion, Prepared, Recipe


@settings(TuningError)
class PissaRecipe(ScaledRecipe):
    """LoRA that begins with the largest singular directions of each weight."""

    method: Literal["pissa"] = "pissa"


@settings(TuningError)
class OloraRecipe(ScaledRecipe):
    """LoRA that begins with an orthogonal part of each weight, by its QR decomposition."""

    method: Literal["olora"] = "olora"


@settings(TuningError)
class CordaRecipe(ScaledRecipe):
    """LoRA that begins with the directions of each weight that the rows use most, or least."""

    method: Literal["corda"] = "corda"
    keeps: Literal["instructions", "knowledge"] = "instructions"
    """`instructions` trains the directions that the rows use most (IPM), `knowledge` those they use least (KPM)."""
    probe_rows: Count = 64
    """The rows that are looked at."""


@settings(TuningError)
class LoraGaRecipe(ScaledRecipe):
    """LoRA that begins with the directions of each weight's gradient."""

    method: Literal["lora_ga"] = "lora_ga"
    probe_batches: Count = 8
    """The batches whose gradients are summed."""


class _Residual(Prepared):
    """What began with a part of the base, and how that was."""

    initial: Pairs


def _residual(made: Any) -> Prepared:
    prepared = _Residual(model=made)
    prepared.initial = pairs_of(made)
    return prepared


def _save(prepared: Prepared, _recipe: Recipe, folder: Path) -> None:
    assert isinstance(prepared, _Residual)
    save_difference(prepared.model, prepared.initial, folder)


def _add_pissa(model: Any, recipe: PissaRecipe, _occasion: Occasion) -> Prepared:
    return _residual(add_layers(model, lora_config(model, recipe, init_lora_weights="pissa")))


def _add_olora(model: Any, recipe: OloraRecipe, _occasion: Occasion) -> Prepared:
    return _residual(add_layers(model, lora_config(model, recipe, init_lora_weights="olora")))


def _add_corda(model: Any, recipe: CordaRecipe, occasion: Occasion) -> Prepared:
    import torch
    from peft.tuners.lora.config import CordaConfig
    from peft.tuners.lora.corda import preprocess_corda

    way = CordaConfig(corda_method="ipm" if recipe.keeps == "instructions" else "kpm")
    config = lora_config(model, recipe, init_lora_weights="corda", corda_config=way)
    # CorDA sums the products of inputs without a mask, so that padding would count.
    rows = occasion.batches(1, recipe.probe_rows)

    def look() -> None:
        with torch.no_grad():
            for row in rows:
                model(input_ids=row["input_ids"], attention_mask=row["attention_mask"])

    _resolve_targets(model, config)
    model.eval()
    with fitting():
        preprocess_corda(model, config, run_model=look)
    return _residual(add_layers(model, config))


def _add_lora_ga(model: Any, recipe: LoraGaRecipe, occasion: Occasion) -> Prepared:
    from peft.tuners.lora.config import LoraGAConfig
    from peft.tuners.lora.loraga import preprocess_loraga

    config = lora_config(model, recipe, init_lora_weights="lora_ga", lora_ga_config=LoraGAConfig())
    batches = occasion.batches(recipe.batch_size, recipe.probe_batches)

    def look() -> None:
        for batch in batches:
            model(**batch).loss.backward()

    _resolve_targets(model, config)
    model.eval()
    with fitting():
        preprocess_loraga(model, config, look)
    model.zero_grad(set_to_none=True)
    return _residual(add_layers(model, config))


def _resolve_targets(model: Any, config: Any) -> None:
    """PEFT's looks ahead need names where it would find "all-linear" out by itself later."""
    from peft.tuners.tuners_utils import _maybe_include_all_linear_layers

    _maybe_include_all_linear_layers(config, model)


def _doubled(recipe: ScaledRecipe) -> int:
    return 2 * recipe.rank


PISSA = Method(
    name="pissa",
    title="PiSSA: LoRA that begins with the weights' largest singular directions",
    paper="arxiv.org/abs/2404.02948",
    recipe=PissaRecipe,
    prepare=_add_pissa,
    export=_save,
    export_rank=_doubled,
    moves_base=True,
)
OLORA = Method(
    name="olora",
    title="OLoRA: LoRA that begins with an orthogonal part of the weights",
    paper="arxiv.org/abs/2406.01775",
    recipe=OloraRecipe,
    prepare=_add_olora,
    export=_save,
    export_rank=_doubled,
    moves_base=True,
)
CORDA = Method(
    name="corda",
    title="CorDA: LoRA that begins with the directions that the rows use",
    paper="arxiv.org/abs/2406.05223",
    recipe=CordaRecipe,
    prepare=_add_corda,
    export=_save,
    export_rank=_doubled,
    moves_base=True,
)
LORA_GA = Method(
    name="lora_ga",
    title="LoRA-GA: LoRA that begins with the directions of the gradient",
    paper="arxiv.org/abs/2407.05000",
    recipe=LoraGaRecipe,
    prepare=_add_lora_ga,
    export=_save,
    export_rank=_doubled,
    moves_base=True,
)
