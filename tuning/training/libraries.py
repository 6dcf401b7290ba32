"""The libraries that train, kept quiet, and what they say of too little memory in our words.

with quiet(), plain_memory_errors("lower max_length (1024)"): ...
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import warnings
from collections.abc import Iterator

import huggingface_hub.constants
import torch
import transformers.utils.logging

from tuning.errors import TuningError
from tuning.methods.registry import METHODS
from tuning.optimizers.registry import OPTIMIZERS
from tuning.recipe import Recipe

_LIBRARIES = ("transformers", "trl", "peft", "accelerate", "datasets")


def package_versions(recipe: Recipe) -> dict[str, str]:
    """Installed versions of what decides the weights, the method's and the optimizer's packages among them."""
    names = ["torch", "transformers", "trl", "peft", "accelerate", "safetensors", "tokenizers"]
    names += filter(None, [METHODS[recipe.method].package, OPTIMIZERS[recipe.optimizer].package])
    return {name: importlib.metadata.version(name) for name in names}


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
