"""LoRA that begins with a part of the base's own weights and leaves the rest of them as the base: PiSSA (Meng et al.
2024), OLoRA (Büyükakyüz 2024), CorDA (Yang et al. 2024) and LoRA-GA (Wang et al. 2024).

They change the base, so what is served is the difference to what they began with, of twice the rank.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from storage.settings import Count, settings
from tuning.errors import TuningError
from tuning.methods.difference import Pairs, pairs_of, save_difference
from tuning.methods.lora import ScaledRecipe, add_layers, fitting, linear_layers, lora_config
from tuning.methods.sides import refuse_above
from tuning.recipe import Method, Occasion, Prepared, Recipe, known


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


@dataclass(kw_only=True, eq=False)
class _Residual(Prepared):
    """What began with a part of the base, and how that was."""

    initial: Pairs


def _residual(made: Any) -> Prepared:
    return _Residual(model=made, initial=pairs_of(made))


def _save(prepared: Prepared, _recipe: Recipe, folder: Path) -> None:
    assert isinstance(prepared, _Residual)
    save_difference(prepared.model, prepared.initial, folder)


def _add_pissa(model: Any, recipe: PissaRecipe, _occasion: Occasion) -> Prepared:
    return _residual(add_layers(model, lora_config(model, recipe, init_lora_weights="pissa")))


def _add_olora(model: Any, recipe: OloraRecipe, _occasion: Occasion) -> Prepared:
    return _residual(add_layers(model, lora_config(model, recipe, init_lora_weights="olora")))


def _refuse_corda(model: Any, recipe: CordaRecipe) -> None:
    refuse_above(model, recipe, "rank", min, "the smallest side of the base model's layers")


def _add_corda(model: Any, recipe: CordaRecipe, occasion: Occasion) -> Prepared:
    import torch
    from peft.tuners.lora.config import CordaConfig
    from peft.tuners.lora.corda import preprocess_corda

    _refuse_corda(model, recipe)
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


def _refuse_lora_ga(model: Any, recipe: LoraGaRecipe) -> None:
    # A and B begin with as many directions each, and have none in common.
    half = "half the smallest side of the base model's layers"
    refuse_above(model, recipe, "rank", lambda inputs, outputs: min(inputs, outputs) // 2, half)


def _add_lora_ga(model: Any, recipe: LoraGaRecipe, occasion: Occasion) -> Prepared:
    from peft.tuners.lora.config import LoraGAConfig
    from peft.tuners.lora.loraga import preprocess_loraga

    _refuse_lora_ga(model, recipe)
    config = lora_config(model, recipe, init_lora_weights="lora_ga", lora_ga_config=LoraGAConfig())
    batches = occasion.batches(known(recipe.batch_size), recipe.probe_batches)

    def look() -> None:
        for batch in batches:
            model(**batch).loss.backward()

    _resolve_targets(model, config)
    model.eval()
    with fitting():
        preprocess_loraga(model, config, look)
    model.zero_grad(set_to_none=True)
    return _residual(add_layers(model, config))


def _fitting(refuse: Callable[[Any, Any], None]) -> Callable[[Any, Any], object]:
    def fit(model: Any, recipe: ScaledRecipe) -> object:
        refuse(model, recipe)
        return add_layers(model, lora_config(model, recipe))

    return fit


def _resolve_targets(model: Any, config: Any) -> None:
    """PEFT's looks ahead need names where it would find "all-linear" out by itself later."""
    if isinstance(config.target_modules, str):
        config.target_modules = list(linear_layers(model))


def _method(
    name: str,
    title: str,
    paper: str,
    recipe: type[ScaledRecipe],
    prepare: Callable[[Any, Any, Occasion], Prepared],
    fit: Callable[[Any, Any], object] | None = None,
) -> Method:
    return Method(
        name=name,
        title=title,
        paper=f"arxiv.org/abs/{paper}",
        recipe=recipe,
        prepare=prepare,
        fit=fit,
        export=_save,
        export_rank=lambda recipe: 2 * recipe.rank,
        moves_base=True,
    )


RESIDUAL = (
    _method(
        "pissa",
        "PiSSA: LoRA that begins with the weights' largest singular directions",
        "2404.02948",
        PissaRecipe,
        _add_pissa,
    ),
    _method(
        "olora",
        "OLoRA: LoRA that begins with an orthogonal part of the weights",
        "2406.01775",
        OloraRecipe,
        _add_olora,
    ),
    _method(
        "corda",
        "CorDA: LoRA that begins with the directions that the rows use",
        "2406.05223",
        CordaRecipe,
        _add_corda,
        _fitting(_refuse_corda),
    ),
    _method(
        "lora_ga",
        "LoRA-GA: LoRA that begins with the directions of the gradient",
        "2407.05000",
        LoraGaRecipe,
        _add_lora_ga,
        _fitting(_refuse_lora_ga),
    ),
)
