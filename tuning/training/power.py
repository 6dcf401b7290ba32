"""The power that a training draws, as far as this machine says it: `draw_of(device())`, in watts and in words."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

# What a core with its share of memory and board draws where nothing says more; servers have 4 to 15.
_CORE_W = 10.0
_QUERY_S = 10.0

RAPL = Path("/sys/class/powercap")
"""Where Linux says what the processors may draw, and have used."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Watts, and where the number comes from."""

    watts: float
    source: str


def draw_of(device: str, *, rapl: Path = RAPL) -> Draw | None:
    """The most that the GPU, or the processors, are allowed to draw; of a CPU that does not say so a number a core is
    assumed. None for a GPU that does not say it. What is drawn may be less.
    """
    if device == "cuda":
        return _of_gpu()
    limits = []
    for folder in sorted(rapl.glob("intel-rapl:[0-9]")):
        try:
            limits.append(int((folder / "constraint_0_power_limit_uw").read_text(encoding="ascii")) / 1e6)
        except (OSError, ValueError):
            continue
    if limits and all(limit > 0 for limit in limits):
        return Draw(sum(limits), "the limit of the processors (RAPL)")
    cores = os.cpu_count() or 1
    return Draw(_CORE_W * cores, f"assumed, {_CORE_W:g} W for each of {cores} cores")


def _of_gpu() -> Draw | None:
    """The first GPU's limit, where one trains."""
    query = ["nvidia-smi", "--query-gpu=power.limit", "--format=csv,noheader,nounits", "--id=0"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=_QUERY_S, check=True).stdout
        return Draw(float(said.split()[0]), "the limit of the GPU (nvidia-smi)")
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
