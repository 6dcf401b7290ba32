"""Before anything is asked: how many questions an effect takes, and what effect so many questions can show.

for row in plan_questions(num_arms=6, discordance=0.2):
    row.difference, row.two_arms, row.best_of_all, row.race
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from router.deciding.sequential import FIRST_SHARE, nominal_levels
from router.deciding.statistics import detectable_difference, questions_needed, upper_z

EFFECTS = (0.02, 0.03, 0.05, 0.08, 0.10, 0.15, 0.20, 0.30)
_LOOKS = 20


@dataclass(frozen=True, slots=True)
class PlanRow:
    """How many questions show, with 80% power, that one arm is better by `difference`.

    `two_arms` is for two arms, `best_of_all` for the best arm against all others (Bonferroni's bound on
    Holm's). Half of all races over `best_of_all` questions are decided after `race` of them.
    """

    difference: float
    two_arms: int
    best_of_all: int
    race: int | None


def plan_questions(
    *, num_arms: int, discordance: float, alpha: float = 0.05, effects: Sequence[float] = EFFECTS
) -> list[PlanRow]:
    """A row per effect. No effect can be larger than `discordance`, the share of questions on which arms disagree."""
    rivals, sd, first = max(num_arms - 1, 1), math.sqrt(discordance), FIRST_SHARE * alpha
    rows = []
    for effect in effects:
        if effect <= discordance:
            best = questions_needed(effect, sd, alpha=first / rivals)
            race = race_questions(effect, sd, num_questions=best, alpha=alpha)
            rows.append(PlanRow(effect, questions_needed(effect, sd, alpha=first), best, race))
    return rows


def carries_flips(num_questions: int, *, lead: float, alpha: float = 0.05) -> bool:
    """Whether there are questions enough to say where a choice flips: with too few of them, noise puts the flip there.

    There are if they could show the lead between two arms that disagree on a fifth of the questions, or on as many as
    the lead needs: 37 questions for a lead of up to 0.2, fewer for a larger one.
    """
    discordance = min(max(abs(lead), 0.2), 1.0)
    return detectable_difference(num_questions, discordance=discordance, alpha=alpha) < 1


def race_questions(effect: float, sd: float, *, num_questions: int, alpha: float = 0.05) -> int | None:
    """The first of twenty looks at which a race over so many questions sees the effect with an even chance."""
    ends = tuple(sorted({math.ceil(num_questions * look / _LOOKS) for look in range(1, _LOOKS + 1)}))
    levels = nominal_levels(ends, FIRST_SHARE * alpha / 2)
    reached = (end for end, level in zip(ends, levels, strict=True) if effect * math.sqrt(end) >= sd * upper_z(level))
    return next(reached, None)
