"""Which number format a training uses on this machine: `choose_precision()`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Literal

Precision = Literal["bf16", "float32"]


def choose_precision() -> Precision:
    """bfloat16 where the processor multiplies it fast, float32 elsewhere; the adapter's own weights are always float32.

    Measured with SmolLM2-135M, rank 16 on all linear layers, batches of 8 rows, 2 cores, tokens/s on rows of 64 and 256
    tokens: float32 434 and 440; bfloat16 with amx_bf16 772 and 907; with avx512_bf16 alone (ONEDNN_MAX_CPU_ISA=
    AVX512_CORE_BF16) 330 and 56. So on a CPU it takes AMX.
    """
    import torch

    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "float32"
    return "bf16" if "amx_bf16" in cpu_flags() else "float32"


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """What Linux says the processor can do; nothing on other systems, none of which runs on AMX."""
    with contextlib.suppress(OSError):
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("flags"):
                return set(line.partition(":")[2].split())
    return set()
