"""transformers, trl and peft as a program wants them: silent, from the disk alone, their errors in plain words."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import huggingface_hub.constants
import torch
import transformers.utils.logging

from tuning.errors import TuningError

_LIBRARIES = ("transformers", "trl", "peft", "accelerate", "datasets")


def load(loader: Any, base_path: str, **options: Any) -> Any:
    """`loader.from_pretrained` of a folder. Raises TuningError if it holds no model that can be loaded."""
    try:
        return loader.from_pretrained(base_path, local_files_only=True, **options)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TuningError(f"cannot load the base model in {base_path!r}: {reason}; check the folder") from error


@contextlib.contextmanager
def plain_memory_errors(remedy: str) -> Iterator[None]:
    """Turn the libraries' ways of saying that memory is short into one TuningError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error):
            raise TuningError(f"out of memory; {remedy}") from error
        raise


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, notes or usage reports of the libraries: the progress callback tells all there is."""
    hub, loggers = huggingface_hub.constants, [logging.getLogger(name) for name in _LIBRARIES]
    is_silent, levels = hub.HF_HUB_DISABLE_TELEMETRY, [logger.level for logger in loggers]
    has_bars = transformers.utils.logging.is_progress_bar_enabled()
    hub.HF_HUB_DISABLE_TELEMETRY = True
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hub.HF_HUB_DISABLE_TELEMETRY = is_silent
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if has_bars:
            transformers.utils.logging.enable_progress_bar()
