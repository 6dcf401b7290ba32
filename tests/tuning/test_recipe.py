import math
from typing import Any

import pytest

from tuning.errors import TuningError
from tuning.recipe import LoraRecipe, recipe_hash, rows_hash
from tuning.rows import TrainingRow

ROWS = [
    TrainingRow(({"role": "user", "content": "q1"},), "a1"),
    TrainingRow(({"role": "user", "content": "q2"},), "a2"),
]


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


def test_the_recipe_hash_follows_everything_that_decides_the_weights() -> None:
    base: dict[str, Any] = {
        "base_name": "org/base",
        "base_revision": "r1",
        "chat_template": "t1",
        "rows": ROWS,
        "recipe": LoraRecipe(),
    }
    changes: list[dict[str, Any]] = [
        {},
        {"base_name": "org/other"},
        {"base_revision": "r2"},
        {"chat_template": "t2"},
        {"rows": ROWS[::-1]},
        {"rows": ROWS[:1]},
        {"recipe": LoraRecipe(seed=1)},
        {"recipe": LoraRecipe(epochs=2)},
    ]
    hashes = [recipe_hash(**{**base, **change}) for change in changes]
    assert len(set(hashes)) == len(changes)
    assert hashes[0] == recipe_hash(**{**base, "rows": tuple(ROWS)})


def test_the_rows_hash_ignores_how_a_message_is_held() -> None:
    reordered = [TrainingRow(({"content": "q1", "role": "user"},), "a1")]
    assert rows_hash(reordered) == rows_hash(ROWS[:1])
