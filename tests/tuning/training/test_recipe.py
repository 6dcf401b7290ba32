import math
from typing import Any

import pytest

from tuning.errors import TuningError
from tuning.training.recipe import LoraRecipe


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"rank": 0}, "rank 0 must be"),
        ({"alpha": 0}, "alpha 0 must be"),
        ({"dropout": 1.0}, "dropout 1.0 must be"),
        ({"learning_rate": 0.0}, "learning_rate 0.0 must be"),
        ({"learning_rate": math.nan}, "learning_rate nan must be"),
        ({"epochs": 0}, "epochs 0 must be"),
        ({"epochs": math.inf}, "epochs inf must be"),
        ({"batch_size": 0}, "batch_size 0 must be"),
        ({"max_length": 7}, "max_length 7 must be"),
        ({"warmup_fraction": 1.0}, "warmup_fraction 1.0 must be"),
        ({"seed": -1}, "seed -1 must be"),
        ({"target_modules": ()}, r"target_modules \(\) must be"),
        ({"target_modules": "all"}, "target_modules 'all' must be"),
        ({"target_modules": ("q_proj", "lm_head")}, "without lm_head and embed_tokens"),
    ],
)
def test_a_value_out_of_range_is_refused(values: dict[str, Any], fault: str) -> None:
    with pytest.raises(TuningError, match=fault):
        LoraRecipe(**values)


def test_all_faults_of_a_recipe_come_at_once() -> None:
    with pytest.raises(TuningError, match=r"rank 0 must.*; epochs -1 must.*; batch_size 0 must"):
        LoraRecipe(rank=0, epochs=-1, batch_size=0)


def test_the_extremes_of_the_ranges_are_allowed() -> None:
    LoraRecipe(rank=1, alpha=1, dropout=0.0, learning_rate=1, epochs=0.01, batch_size=1, warmup_fraction=0)
    LoraRecipe(target_modules=("q_proj",))
