"""A module that is imported when a test first uses it: each process collects all tests, and runs only some."""

from __future__ import annotations

import importlib
from typing import Any


class Lazy:
    """`torch = Lazy("torch")` in place of `import torch`, which takes seconds."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith(("_", "pytest")):
            raise AttributeError(attribute)  # pytest looks for its own at everything that stands in a module
        return getattr(importlib.import_module(self._name), attribute)
