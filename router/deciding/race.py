"""How a race spent its questions: who was dropped, when, by whom, and why it ended. The rules are in
router/deciding/evidence.py, the race itself in eval/race.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Why a race ended: one arm is left; every arm left is within the margin of the one that is served; all questions are
# spent; or a cap of the budget was reached.
Stop = Literal["one arm left", "within the margin", "questions spent", "budget spent"]


@dataclass(frozen=True, slots=True)
class Drop:
    """An arm that was shown to be worse than `beaten_by` after so many questions.

    `p_value` is anytime-valid and corrected for the number of arms; looking after every batch does not inflate it.
    """

    arm: str
    beaten_by: str
    after: int
    p_value: float


@dataclass(frozen=True, slots=True)
class RaceRecord:
    """The first `num_raced` questions of the scorecard were spent in batches, in this order. Those in `held_out` were
    put to the finalists afterwards and decided nothing, so what they say about an arm is unbiased.

    `num_answers` were asked for in all, a full grid would have been `num_possible`. `budget` names the cap that ended
    the race, if one did. No source document brought more than `largest` questions.
    """

    seed: int
    batch: int
    num_raced: int
    held_out: tuple[str, ...]
    drops: tuple[Drop, ...]
    stopped: Stop
    num_answers: int
    num_possible: int
    budget: str | None = None
    largest: int = 1

    @property
    def summary(self) -> str:
        """What it took and why it ended, in a sentence without its full stop."""
        ended = {
            "one arm left": "it ended with one arm left",
            "within the margin": "it ended when no arm left could be better by the margin",
            "questions spent": "it ended because all questions were spent",
            "budget spent": f"it ended because the budget ({self.budget}) was spent",
        }[self.stopped]
        share = self.num_answers / self.num_possible if self.num_possible else 1.0
        return f"{self.num_answers:,} of {self.num_possible:,} answers were needed ({share:.0%}); {ended}"
