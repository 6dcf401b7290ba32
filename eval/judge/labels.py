"""Labels as people write them: `read_label("correct")` is 1.0, `read_label("no")` 0.0, `read_label("0.5")` 0.5."""

from __future__ import annotations

import math

_RIGHT = frozenset({"yes", "y", "true", "t", "correct", "right", "pass", "passed", "good"})
_WRONG = frozenset({"no", "n", "false", "f", "incorrect", "wrong", "fail", "failed", "bad"})
LABELS = "a number from 0 to 1, or a word like yes, no, true, false, correct or incorrect"


def read_label(value: object) -> float | None:
    """The label as a number in [0, 1], None where it is none."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _RIGHT or word in _WRONG:
            return float(word in _RIGHT)
        try:
            value = float(word)
        except ValueError:
            return None
    is_label = isinstance(value, bool | int | float) and math.isfinite(value) and 0 <= value <= 1
    return float(value) if is_label else None  # type: ignore[arg-type]  # what is a label is a number
