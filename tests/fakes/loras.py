"""LoRAs of the tiny base that nobody trained: `published(base, home / "adapters", "raft", seed=1, r=4)`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from storage.folders import write_manifest
from storage.hashes import hash_files
from tuning.base import ResolvedModel
from tuning.export.adapters import Adapter, adapter_hash, load_adapter, save_adapter
from tuning.export.admission import chat_template_hash

SHARED = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
ROWS = [[4, 11, 6, 3, 5, 9, 3], [4, 12, 7, 8, 3, 5, 10, 3]]


def opened(base: Path | str) -> Any:
    """The tiny base in float32."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base)


def random_lora(base: Path, seed: int, *, even: float | None = None, **config: Any) -> Any:
    """A PeftModel whose every trained weight is random, of the config's numbers over the usual ones; with `even` only
    its sign is, so that with rank and alpha 1 every number of an update is as large.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    model = get_peft_model(opened(base), LoraConfig(**{**SHARED, **config}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
                if even is not None:
                    parameter.copy_(parameter.sign() * (even if "lora_B" in name else 1.0))
    return model


def published(
    base: Path, adapters_dir: Path, name: str, *, seed: int = 1, model: ResolvedModel | None = None, **config: Any
) -> Adapter:
    """A random LoRA as an adapter; what begins with `manifest_` goes into its manifest."""
    told = {key.removeprefix("manifest_"): config.pop(key) for key in [*config] if key.startswith("manifest_")}
    resolved = model or ResolvedModel("org/tiny", "r1", str(base))
    draft = adapters_dir / "draft"
    save_adapter(partial(random_lora(base, seed, **config).save_pretrained), draft, resolved)
    final = adapters_dir / f"{name}@{adapter_hash(draft)}"
    manifest = {
        "name": final.name,
        "base_name": resolved.name,
        "base_revision": resolved.revision,
        "chat_template_hash": chat_template_hash(base),
        "recipe_hash": f"{name} {seed}",
        "method": "lora",
        "num_rows": 9,
        "num_dropped": 0,
        "num_tokens": 400,
        "training_s": 2.5,
        "final_loss": 0.5,
        "files": hash_files(draft),
    }
    write_manifest(draft, manifest | told)
    return load_adapter(draft.rename(final))


def deltas(base: Path, *adapters: Adapter) -> list[dict[str, Any]]:
    """The update of each layer in float64, as PEFT itself works it out."""
    from peft import PeftModel

    found = []
    for adapter in adapters:
        model = PeftModel.from_pretrained(opened(base), str(adapter.path)).double()
        found.append(deltas_of(model))
    return found


def deltas_of(model: Any, adapter: str = "default") -> dict[str, Any]:
    """The same of one adapter of a PeftModel."""
    layers = {name: part for name, part in model.named_modules() if adapter in getattr(part, "lora_A", {})}
    return {name: part.get_delta_weight(adapter).detach().double() for name, part in layers.items()}


def weighted_sum(parts: list[dict[str, Any]], weights: list[float]) -> dict[str, Any]:
    """By layer, those that only some have among them."""
    total: dict[str, Any] = {}
    for weight, part in zip(weights, parts, strict=True):
        for name, update in part.items():
            total[name] = total.get(name, 0.0) + weight * update
    return total


def relative_error(found: dict[str, Any], wanted: dict[str, Any]) -> float:
    """The length of all differences together, over that of what is wanted."""
    names = found.keys() | wanted.keys()
    off = sum(float((found.get(name, 0.0) - wanted.get(name, 0.0)).square().sum()) for name in names)
    return (off / sum(float(update.square().sum()) for update in wanted.values())) ** 0.5
