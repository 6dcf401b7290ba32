"""The base model in the precision that trains fastest here: `load_base(path, choose_precision(), longest=80)`."""

from __future__ import annotations

import platform
import time
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tuning.errors import TuningError
from tuning.recipe import Quantization

Precision = Literal["bf16", "float32"]

# Scores of one layer are rows x heads x length x length; beyond this length their memory outweighs what they save.
_EAGER_UP_TO_TOKENS = 128
_X86 = ("x86_64", "amd64")
# How many times as fast products in bfloat16 must be where they are timed: so much is no other program's doing.
_WORTH = 2.0


def device() -> str:
    """Where is trained."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def choose_precision() -> Precision:
    """bfloat16 where the processor multiplies it fast, float32 elsewhere; the adapter's own weights are always float32.

    Measured with SmolLM2-135M, rank 16 on all linear layers, batches of 8 rows, 2 cores, tokens/s on rows of 64 and 256
    tokens: float32 434 and 440; bfloat16 with amx_bf16 772 and 907. Without such instructions it is up to thirty times
    slower; with AVX-512's alone it is about as fast as float32. What a processor can is asked of it, and nothing is
    timed but where it cannot be asked: a training that goes on must find what it began with.
    """
    if device() == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "float32"
    if platform.machine().lower() in _X86:
        return "bf16" if torch.cpu._is_amx_tile_supported() else "float32"
    return "bf16" if _product_s(torch.float32) > _WORTH * _product_s(torch.bfloat16) else "float32"


def _product_s(dtype: torch.dtype) -> float:
    """Seconds of a product as a training makes them, the least of a few."""
    a, b = torch.ones(64, 576, dtype=dtype), torch.ones(576, 576, dtype=dtype)
    taken = []
    for _ in range(20):
        began = time.perf_counter()
        a @ b
        taken.append(time.perf_counter() - began)
    return min(taken)


def load_base(
    base_path: str,
    precision: Precision,
    *,
    longest: int,
    is_exact: bool = False,
    quantization: Quantization = "",
) -> Any:
    # SDPA's CPU kernel takes as long as all matrix products together in its backward pass on short bfloat16 rows:
    # 626 tokens/s against 772 with plain matrix products (64 tokens a row), 860 against 907 with 256.
    # Without AMX the kernel is slow on long rows too: 56 tokens/s with 256 a row, in bfloat16.
    is_short = longest <= _EAGER_UP_TO_TOKENS or not torch.cpu._is_amx_tile_supported()
    is_eager = device() == "cpu" and precision == "bf16" and is_short
    model = load_pretrained(
        AutoModelForCausalLM,
        base_path,
        # Under autocast the products are rounded to bfloat16 anyway; weights that lie so need no cast in every step
        # (765 -> 860 tokens/s) and half the memory.
        dtype=torch.bfloat16 if precision == "bf16" and not is_exact else torch.float32,
        attn_implementation="eager" if is_eager else "sdpa",
        **(_in_four_bits() if quantization else {}),
    )
    if quantization:
        _compute_exactly(model)
    return model


def _in_four_bits() -> dict[str, Any]:
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    return {"quantization_config": config, "device_map": {"": device()}}


def _compute_exactly(model: Any) -> None:
    """Let layers of four bits compute with the numbers that these stand for, in the precision of their inputs."""
    from bitsandbytes.nn import Linear4bit

    for part in model.modules():
        if isinstance(part, Linear4bit):
            part.compute_dtype, part.compute_type_is_set = None, True
            part.weight.quant_state.dtype = torch.float32
            # Where the processor has the instructions, an answer would put rounded scales in their place for good.
            part.support_avx512bf16_for_cpu = False


def load_tokenizer(base_path: str) -> Any:
    """The tokenizer of a base model. Raises TuningError if the folder holds none."""
    return load_pretrained(AutoTokenizer, base_path)


def load_pretrained(loader: Any, base_path: str, **options: Any) -> Any:
    """`loader.from_pretrained` of a folder. Raises TuningError if it holds no model that can be loaded."""
    try:
        return loader.from_pretrained(base_path, local_files_only=True, **options)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TuningError(f"cannot load the base model in {base_path!r}: {reason}; check the folder") from error
