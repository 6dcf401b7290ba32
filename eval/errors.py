"""The evaluation's exceptions."""

from __future__ import annotations

from storage.errors import ArbiterError


class EvalError(ArbiterError):
    """Base of everything the evaluation raises; the message is one line a person can act on."""
