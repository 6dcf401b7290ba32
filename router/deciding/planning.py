"""Before anything is asked: how many questions an effect takes, and what effect so many questions can show.

for row in plan_questions(num_arms=6, discordance=0.2):
    row.difference, row.two_arms, row.best_of_all, row.race
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from router.deciding.evidence import claim_level, log_mixture
from router.deciding.statistics import detectable_difference, questions_needed

EFFECTS = (0.02, 0.03, 0.05, 0.08, 0.10, 0.15, 0.20, 0.30)
_MOST = 10_000_000


@dataclass(frozen=True, slots=True)
class PlanRow:
    """How many questions show, with 80% power, that one arm is better by `difference`.

    `two_arms` is for two arms, `best_of_all` for the best arm against all others (Bonferroni's bound on
    Holm's). A race is decided after `race` questions if the answers come as expected: half of all races need fewer.
    None is more than ten million.
    """

    difference: float
    two_arms: int
    best_of_all: int
    race: int | None


def plan_questions(
    *, num_arms: int, discordance: float, alpha: float = 0.05, effects: Sequence[float] = EFFECTS
) -> list[PlanRow]:
    """A row per effect. No effect can be larger than `discordance`, the share of questions on which arms disagree."""
    rivals, sd = max(num_arms - 1, 1), math.sqrt(discordance)
    return [
        PlanRow(
            difference=effect,
            two_arms=questions_needed(effect, sd, alpha=alpha),
            best_of_all=questions_needed(effect, sd, alpha=alpha / rivals),
            race=race_questions(effect, discordance, num_arms=num_arms, alpha=alpha),
        )
        for effect in effects
        if effect <= discordance
    ]


def carries_flips(num_questions: int, *, lead: float, alpha: float = 0.05) -> bool:
    """Whether there are questions enough to say where a choice flips: with too few of them, noise puts the flip there.

    There are if they could show the lead between two arms that disagree on a fifth of the questions, or on as many as
    the lead needs: 37 questions for a lead of up to 0.2, fewer for a larger one.
    """
    discordance = min(max(abs(lead), 0.2), 1.0)
    return detectable_difference(num_questions, discordance=discordance, alpha=alpha) < 1


def race_questions(effect: float, discordance: float, *, num_arms: int, alpha: float = 0.05) -> int | None:
    """Where the capital of the race's e-process reaches its threshold when wins and losses come as expected.

    `effect` = wins - losses and `discordance` = wins + losses, both as shares of the questions, 0 < effect <=
    discordance.
    """
    if not 0 < effect <= discordance <= 1:
        raise ValueError(f"an effect of {effect!r} needs arms that disagree on at least as many questions as that")
    wanted = -math.log(claim_level(alpha, num_arms))
    shares = np.array([(discordance + effect) / 2, (discordance - effect) / 2])

    def is_enough(num_questions: int) -> bool:
        return log_mixture(np.array([1.0, -1.0]), num_questions * shares) >= wanted

    found = bisect_left(range(_MOST + 1), True, key=is_enough)
    return found if found <= _MOST else None
