"""What the questions of a data folder can show, and the order in which a race spends them.

power(config, data)[0]          # "100 questions can show a difference of 0.13 between two arms (80% power, ...)"
race_plan(config, data)
"""

from __future__ import annotations

from arbiter.config.schema import Config
from arbiter.data import Data
from eval.race import RacePlan, plan_race
from router.deciding.sequential import FIRST_SHARE
from router.deciding.statistics import detectable_difference


def power(config: Config, data: Data, discordance: float = 0.2) -> tuple[str, dict[str, float | None]]:
    """The smallest difference between a config's arms that the questions can show with 80% power, None where there is
    none: in words, and between two arms and of the best of all. `discordance` is the share of questions on which two
    arms disagree.
    """
    num_questions, num_arms = len(data.questions), len(config.arms)
    alpha = FIRST_SHARE * config.policy.alpha
    levels = (alpha, alpha / max(num_arms - 1, 1))
    one, best = (detectable_difference(num_questions, discordance=discordance, alpha=level) for level in levels)
    shown = "are too few to show a difference"
    if one < 1:
        shown = f"can show a difference of {one:.2f} between two arms"
        shown += f", of {best:.2f} between the best and all others" if num_arms > 2 and best < 1 else ""
    said = f"{num_questions:,} questions {shown} (80% power, arms disagreeing on {discordance:.0%})"
    return said, {"two_arms": one if one < 1 else None, "best_of_all": best if best < 1 else None}


def race_plan(config: Config, data: Data) -> RacePlan | None:
    """The order in which a race spends the questions; None without a race. Raises ArbiterError for a budget below one
    batch.
    """
    if config.race is None:
        return None
    # Questions about one document stay together, unless each stands alone (`Scorecard.for_churn`).
    stands_alone = data.documents_given and config.policy.traffic.churn == 0
    clusters = {question.id: question.id for question in data.questions} if stands_alone else None
    return plan_race(data.questions, config.race, clusters)
