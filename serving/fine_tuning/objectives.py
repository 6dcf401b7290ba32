"""What a job can learn, by the `type` of its `method`. `OBJECTIVES["supervised"]`

A further one is its objective here, its hyperparameters in request.py, and its rows in checking.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from tuning.objectives.supervised import SUPERVISED
from tuning.recipe import Objective

OBJECTIVES: Mapping[str, Objective] = {"supervised": SUPERVISED}
