"""How a race spends its questions: how many between looks, how many are held out, and what caps it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from eval.errors import EvalError
from storage.settings import NUMBER, Above0, Count, Whole, settings


@settings(EvalError)
class RaceSettings:
    """Questions are spent in batches, and arms that are shown to be worse drop out. A batch is asked only if it is
    expected to fit the caps, the held-out questions included; null is no cap.
    """

    batch: Count = 20
    """Questions between looks."""
    held_out: Annotated[float, Field(ge=0, lt=1), NUMBER] = 0.25
    """The share of questions that only the finalists are asked, after the race."""
    max_questions: Count | None = None
    """Questions in all."""
    max_tokens: Count | None = None
    """Tokens of all arms' answers."""
    max_minutes: Above0 | None = None
    """Minutes of this start."""
    max_cost: Above0 | None = None
    """What all arms' answers may cost, in the currency of the policy's prices."""
    seed: Whole = 0
    """Of the order of the questions."""
