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
    from arbiter.answering import OpenAnswerer as OpenAnswerer
    from arbiter.answering import open_answerer as open_answerer
    from arbiter.config.loading import load_config as load_config
    from arbiter.config.schema import Config as Config
    from arbiter.console import Console as Console
    from arbiter.home import data_home as data_home
    from arbiter.pipeline import Pipeline as Pipeline
    from storage.errors import ArbiterError as ArbiterError

_MODULES = {
    "ArbiterError": "storage.errors",
    "Config": "arbiter.config.schema",
    "Console": "arbiter.console",
    "OpenAnswerer": "arbiter.answering",
    "Pipeline": "arbiter.pipeline",
    "data_home": "arbiter.home",
    "load_config": "arbiter.config.loading",
    "open_answerer": "arbiter.answering",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'arbiter' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
