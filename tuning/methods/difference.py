"""What was trained minus what it began with, as one LoRA of the two ranks together.

save_difference(model, pairs_of(model), folder)

An update scale x (B1 A1 - B0 A0) of a weight is [B1, B0] (scale x [A1; -A0]). So what began with a part of the base's
own weights, and took it out of them, is served on the base as it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.base import CONFIG, WEIGHTS

if TYPE_CHECKING:
    import torch

Pairs = Mapping[str, tuple["torch.Tensor", "torch.Tensor", float]]
"""A, B and their scale by the name of the layer."""

_ADAPTER, PREFIX = "default", "base_model.model."


def lora_layers(model: Any) -> dict[str, Any]:
    """The layers of a PeftModel that have a LoRA, by name."""
    return {name: part for name, part in model.named_modules() if _ADAPTER in getattr(part, "lora_A", {})}


def pairs_of(model: Any) -> Pairs:
    """Copies of A, (rank, in), and B, (out, rank), of every layer."""
    return {
        name: (
            part.lora_A[_ADAPTER].weight.detach().clone(),
            part.lora_B[_ADAPTER].weight.detach().clone(),
            float(part.scaling[_ADAPTER]),
        )
        for name, part in lora_layers(model).items()
    }


def save_difference(model: Any, initial: Pairs, folder: Path, *, now: float = 1.0, then: float = 1.0) -> None:
    """Write `now` x the update as it is minus `then` x the one it began with, in PEFT's two files."""
    import torch

    tensors, ranks = {}, {}
    for name, (a, b, scale) in pairs_of(model).items():
        first_a, first_b, first_scale = initial[name]
        tensors[f"{name}.lora_A.weight"] = torch.cat([now * scale * a, -then * first_scale * first_a])
        tensors[f"{name}.lora_B.weight"] = torch.cat([b, first_b], dim=1)
        ranks[name.removeprefix(PREFIX)] = len(a) + len(first_a)
    save_pairs(tensors, ranks, folder)


def save_pairs(tensors: Mapping[str, torch.Tensor], ranks: Mapping[str, int], folder: Path) -> None:
    """Write the tensors `<layer>.lora_A.weight` and `<layer>.lora_B.weight` as an adapter whose scale is 1."""
    from peft import LoraConfig
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    rank = max(ranks.values())
    others = {name: own for name, own in ranks.items() if own != rank}
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=sorted(ranks),
        rank_pattern=others,
        alpha_pattern=others,
        task_type="CAUSAL_LM",
        inference_mode=True,
    )
    save_file(
        {name: tensor.float().contiguous().cpu() for name, tensor in tensors.items()},
        folder / WEIGHTS,
        metadata={"format": "pt"},
    )
    config.save_pretrained(str(folder))
    path = folder / CONFIG
    path.write_text(json.dumps(json.loads(path.read_bytes())), encoding="utf-8")
