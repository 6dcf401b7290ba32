"""The methods by name: `METHODS[recipe.method].prepare(model, recipe)`."""

from __future__ import annotations

from collections.abc import Mapping

from tuning.methods.lora import LORA
from tuning.methods.method import Method

METHODS: Mapping[str, Method] = {method.name: method for method in (LORA,)}
