"""An adapter as a whole model, its update merged into the base's weights: `write_whole(adapter, base, folder, ...)`."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from tuning.base import ResolvedModel
from tuning.exchange.settings import Dtype, Quantize
from tuning.export.adapters import Adapter, save_adapter
from tuning.methods.merged import save_whole

_LAYERS = "whole"


def write_whole(
    adapter: Adapter, base: ResolvedModel, folder: Path, *, dtype: Dtype, quantize: Quantize | None = None
) -> None:
    """Write what transformers loads, with the base's tokenizer, to a new folder. Merged in float32, then rounded."""
    import torch

    merged = _merged(adapter, base)
    if quantize is None:
        save_adapter(partial(save_whole, merged.to(getattr(torch, dtype))), folder, base, "merged")
        return
    between = folder.with_name(_LAYERS)
    save_whole(merged, between)
    del merged
    save_adapter(partial(save_whole, _quantized(between, dtype, quantize)), folder, base, "merged")
    shutil.rmtree(between)


def open_whole(folder: Path, *, is_quantized: bool = False) -> Any:
    """A folder's model in float32; of quantised layers the numbers that they stand for."""
    import torch
    from transformers import AutoModelForCausalLM

    from tuning.training.loading import load_pretrained

    if not is_quantized:
        return load_pretrained(AutoModelForCausalLM, str(folder), dtype=torch.float32)
    return load_pretrained(AutoModelForCausalLM, str(folder)).to("cpu").dequantize(torch.float32)


def _merged(adapter: Adapter, base: ResolvedModel) -> Any:
    """In float32."""
    from peft import PeftModel

    if adapter.form == "merged":
        return open_whole(adapter.path)
    return PeftModel.from_pretrained(open_whole(Path(base.path)), str(adapter.path)).merge_and_unload()


def _quantized(folder: Path, dtype: Dtype, quantize: Quantize) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    kept = getattr(torch, dtype)
    if quantize == "nf4":
        config = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=kept
        )
    else:
        config = BitsAndBytesConfig(load_in_8bit=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=kept, quantization_config=config, device_map={"": device}, local_files_only=True
    )
