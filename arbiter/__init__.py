"""Arbiter from Python: what the command line does, as calls.

import arbiter

pipeline = arbiter.Pipeline(arbiter.load_config("configs/demo.yaml", ["limits.questions=20"]))
run = pipeline.evaluate()                       indexes and trains first, what is not there yet
decision = pipeline.decide(run)
with arbiter.open_answerer(pipeline) as ask:    the decided arm, over a running engine
    print(ask("When does the loan desk open?").text)

`pipeline.index()` and `pipeline.tune()` do one step alone. `import arbiter` loads nothing: each name brings its own.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arbiter.answering import OpenAnswerer, open_answerer
    from arbiter.config import Config, data_home, load_config
    from arbiter.console import Console
    from arbiter.pipeline import Pipeline
    from storage.errors import ArbiterError

__all__ = [
    "ArbiterError",
    "Config",
    "Console",
    "OpenAnswerer",
    "Pipeline",
    "data_home",
    "load_config",
    "open_answerer",
]

_MODULES = {
    "ArbiterError": "storage.errors",
    "Config": "arbiter.config",
    "Console": "arbiter.console",
    "OpenAnswerer": "arbiter.answering",
    "Pipeline": "arbiter.pipeline",
    "data_home": "arbiter.config",
    "load_config": "arbiter.config",
    "open_answerer": "arbiter.answering",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'arbiter' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
