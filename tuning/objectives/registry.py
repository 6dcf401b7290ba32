"""The objectives by name, and `AnyObjective`, what a recipe holds of one: its name, or its numbers under it.

OBJECTIVES[recipe.objective.name].loss(model, part, whole, recipe.objective)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from storage.choices import choice_of
from tuning.objectives.distilled import DISTILL, GKD
from tuning.objectives.drawn import GRPO, PPO, RLOO
from tuning.objectives.kto import KTO
from tuning.objectives.objective import Objective, ObjectiveSettings
from tuning.objectives.preference import DPO, ORPO, SIMPO
from tuning.objectives.pretraining import PRETRAINING
from tuning.objectives.reward import REWARD
from tuning.objectives.supervised import SUPERVISED

_ALL = (SUPERVISED, DPO, ORPO, SIMPO, KTO, REWARD, RLOO, GRPO, PPO, DISTILL, GKD, PRETRAINING)
OBJECTIVES: Mapping[str, Objective] = {objective.name: objective for objective in _ALL}

if TYPE_CHECKING:
    AnyObjective = ObjectiveSettings
else:
    AnyObjective = choice_of("name", {name: one.settings for name, one in OBJECTIVES.items()}, by_name=True)
