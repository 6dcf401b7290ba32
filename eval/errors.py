"""The evaluation's exceptions."""

from __future__ import annotations


class EvalError(Exception):
    """Base of everything the evaluation raises; the message is one line a person can act on."""
