from dataclasses import replace
from typing import Any

from tuning.base import ResolvedModel
from tuning.data.rows import TrainingRow
from tuning.methods.lora import LoraRecipe
from tuning.training.run import recipe_hash, rows_hash

BASE = ResolvedModel("org/base", "r1", "models/base")
ROWS = [
    TrainingRow(({"role": "user", "content": "q1"},), "a1"),
    TrainingRow(({"role": "user", "content": "q2"},), "a2"),
]


def test_the_recipe_hash_follows_everything_that_decides_the_weights() -> None:
    base: dict[str, Any] = {
        "base": BASE,
        "chat_template": "t1",
        "rows": ROWS,
        "recipe": LoraRecipe(),
    }
    changes: list[dict[str, Any]] = [
        {},
        {"base": replace(BASE, name="org/other")},
        {"base": replace(BASE, revision="r2")},
        {"chat_template": "t2"},
        {"rows": ROWS[::-1]},
        {"rows": ROWS[:1]},
        {"recipe": LoraRecipe(seed=1)},
        {"recipe": LoraRecipe(epochs=1)},
    ]
    hashes = [recipe_hash(**{**base, **change}) for change in changes]
    assert len(set(hashes)) == len(changes)
    assert hashes[0] == recipe_hash(**{**base, "base": replace(BASE, path="models/elsewhere")})
    assert hashes[0] == recipe_hash(**{**base, "rows": tuple(ROWS)})


def test_the_rows_hash_ignores_how_a_message_is_held() -> None:
    reordered = [TrainingRow(({"content": "q1", "role": "user"},), "a1")]
    assert rows_hash(reordered) == rows_hash(ROWS[:1])
