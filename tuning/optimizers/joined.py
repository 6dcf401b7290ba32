"""Two optimizers as one: `Joined([Muon(matrices, lr=1e-3), AdamW(vectors, lr=1e-3)])`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


class Joined(torch.optim.Optimizer):
    """Its groups are those of its parts, the same objects, so that a schedule reaches both; so is its state, from the
    first step on.
    """

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._share_groups()

    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # an overload for each kind of closure
        """A step of each part."""
        assert closure is None
        for part in self.parts:
            part.step()
            self.state.update(part.state)

    def state_dict(self) -> dict[str, Any]:
        """Of each part, in their order."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share_groups()

    def _share_groups(self) -> None:
        self.param_groups = [group for part in self.parts for group in part.param_groups]
