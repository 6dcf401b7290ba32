import math
from typing import Any

import pytest

from tuning.errors import TuningError
from tuning.methods.lora import LoraRecipe


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"rank": 0}, "rank must be a whole number of at least 1 or null, not 0"),
        ({"alpha": 0}, "alpha must be a whole number of at least 1, not 0"),
        ({"dropout": 1.0}, "dropout must be a number of at least 0 and below 1, not 1.0"),
        ({"learning_rate": 0.0}, "learning_rate must be a number above 0 and at most 1 or null, not 0.0"),
        ({"learning_rate": math.nan}, "learning_rate must be .* not nan"),
        ({"epochs": 0}, "epochs must be a number above 0 or null, not 0"),
        ({"epochs": math.inf}, "epochs must be .* not inf"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1 or null, not 0"),
        ({"max_length": 7}, "max_length must be a whole number of at least 8, not 7"),
        ({"warmup_fraction": 1.0}, "warmup_fraction must be .* below 1, not 1.0"),
        ({"seed": -1}, "seed must be a whole number of at least 0, not -1"),
        ({"target_modules": ()}, r"target_modules must be all-linear or a list of text, not \(\)"),
        ({"target_modules": "all"}, "target_modules must be .* not 'all'"),
        ({"target_modules": ("q_proj", "lm_head")}, "without lm_head and embed_tokens"),
        ({"target_modules": ("model.embed_tokens",)}, "without lm_head and embed_tokens"),
        ({"rank_pattern": {"(": 4}}, r"'\(' is no pattern of names"),
        ({"batch_size": 4, "accumulate": 3}, r"batch_size \(4\) must be a multiple of accumulate \(3\)"),
    ],
)
def test_a_value_out_of_range_is_refused(values: dict[str, Any], fault: str) -> None:
    with pytest.raises(TuningError, match=fault):
        LoraRecipe(**values)


def test_all_faults_of_a_recipe_come_at_once() -> None:
    with pytest.raises(TuningError, match=r"^epochs must.* -1; batch_size must.* 0; rank must.* 0$"):
        LoraRecipe(rank=0, epochs=-1, batch_size=0)


def test_the_extremes_of_the_ranges_are_allowed() -> None:
    LoraRecipe(rank=1, alpha=1, dropout=0.0, learning_rate=1, epochs=0.01, batch_size=1, warmup_fraction=0)
    LoraRecipe(target_modules=("q_proj",))
