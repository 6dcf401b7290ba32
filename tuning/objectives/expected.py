"""What a model expects of an answer from each of its tokens on: a head beside that of its words, for PPO.

add_head(model); values_of(model) after a forward pass; take_head_off(model)
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_HEAD = "value_head"
# Parts of a batch are worked on side by side, each in a thread.
_SEEN = threading.local()


def add_head(model: Any) -> None:
    """Give the model a head that expects 0 of everything, and have it see what the head of words sees."""
    import torch

    words = model.get_output_embeddings()
    head = torch.nn.Linear(words.weight.shape[-1], 1, device=model.device, dtype=torch.float32)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)

    def see(_module: Any, given: tuple[torch.Tensor, ...]) -> None:
        _SEEN.hidden = given[0]

    model.add_module(_HEAD, head)
    head.watching = words.register_forward_pre_hook(see)


def has_head(model: Any) -> bool:
    """Whether the model has one now."""
    return hasattr(model, _HEAD)


def values_of(model: Any) -> torch.Tensor:
    """(rows, positions) that the last forward pass of this thread made words of: what was expected there."""
    import torch

    with torch.autocast(model.device.type, enabled=False):
        values: torch.Tensor = getattr(model, _HEAD)(_SEEN.hidden.float()).squeeze(-1)
    return values


def take_head_off(model: Any) -> None:
    """The model as it was, with what it has learned."""
    getattr(model, _HEAD).watching.remove()
    delattr(model, _HEAD)
