"""The model that adapters are trained on and served with: `ResolvedModel("org/name", "3f9c", "/models/name")`."""

from __future__ import annotations

from dataclasses import dataclass

WEIGHTS = "adapter_model.safetensors"
"""The weights of an adapter's folder; PEFT's name."""
CONFIG = "adapter_config.json"
"""What they are, for PEFT and for engines; PEFT's name."""

MODEL_CARD = "README.md"
"""What people read of a model, beside it; the hub's name."""


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model: `revision` is the hub's commit, or `sha256:...` of the content; `path` is "" for one that is not on this
    disk, or not in the form that is loaded.
    """

    name: str
    revision: str
    path: str

    @property
    def label(self) -> str:
        """Name and revision, as provenance tells them."""
        return f"{self.name} {self.revision}"
