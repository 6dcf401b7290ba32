"""How pairs that were not learned are ranked, in numbers worked by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from tuning.objectives.objective import IGNORED, EncodedRow
from tuning.objectives.preference import DPO, SIMPO, Dpo, Simpo
from tuning.training.preferences import HeldOut

# It computes with torch.
pytestmark = pytest.mark.slow


def pair(chosen: int, rejected: int) -> EncodedRow:
    """Answers of so many tokens."""
    one, other = (EncodedRow((1, *[2] * n), (IGNORED, *[2] * n)) for n in (chosen, rejected))
    return EncodedRow(one.input_ids, one.labels, others=(other,))


PAIRS = [pair(1, 2), pair(2, 2), pair(1, 1), pair(1, 1)]
# Chosen and rejected of each in turn. A token: -1 and -2, -3 and -1, -1 and -1, -2 and -1.
BEFORE = [-1.0, -4.0, -6.0, -2.0, -1.0, -1.0, -2.0, -1.0]
# -1 and -3, -1 and -1.5, -1 and -2, -2 and -1.
AFTER = [-1.0, -6.0, -2.0, -3.0, -1.0, -2.0, -2.0, -1.0]


def held_out(objective: Any = DPO, numbers: Any = Dpo(beta=0.5), prompts: str = "abcd") -> HeldOut:
    return HeldOut(PAIRS, prompts, objective, numbers, 0)


def test_what_changed_is_told_by_the_token_and_by_the_reward() -> None:
    found = held_out().change(BEFORE, AFTER)
    assert (found.num_pairs, found.num_prompts) == (4, 4)
    # Right, wrong, a tie, wrong; then right three times.
    assert (found.accuracy_before.mean, found.accuracy.mean) == (0.375, 0.75)
    assert (found.margin_before.mean, found.margin.mean) == pytest.approx(((1 - 2 + 0 - 1) / 4, (2 + 0.5 + 1 - 1) / 4))
    assert found.margin_change.mean == pytest.approx((1 + 2.5 + 1 + 0) / 4)
    # Gained: 2, 4 + 1, 1 and nothing.
    assert found.reward_accuracy is not None
    assert found.reward_accuracy.mean == 0.875
    # Student's with 3 degrees of freedom, and Wilson's, by their formulas.
    gained = [1, 2.5, 1, 0]
    spread = math.sqrt(sum((one - 1.125) ** 2 for one in gained) / 3) / 2
    assert found.margin_change.high - 1.125 == pytest.approx(3.182446 * spread)
    z = 1.959964
    middle = (0.75 + z * z / 8) / (1 + z * z / 4)
    reach = z / (1 + z * z / 4) * math.sqrt(0.75 * 0.25 / 4 + z * z / 64)
    assert (found.accuracy.low, found.accuracy.high) == pytest.approx((middle - reach, middle + reach))


def test_pairs_of_one_prompt_count_as_one() -> None:
    apart, together = (held_out(prompts=prompts).change(BEFORE, AFTER) for prompts in ("abcd", "aabb"))
    assert together.num_prompts == 2
    assert together.accuracy.mean == apart.accuracy.mean
    assert together.accuracy.high - together.accuracy.low > apart.accuracy.high - apart.accuracy.low
    assert together.margin.mean == pytest.approx((1.25 + 0) / 2)


def test_an_objective_without_a_reference_has_no_gain() -> None:
    assert held_out(SIMPO, Simpo()).change(BEFORE, AFTER).reward_accuracy is None


@pytest.mark.parametrize(
    ("objective", "numbers", "margins"),
    [
        (DPO, Dpo(beta=0.5), [1.0, 2.5, 0.5, 0.0]),
        (SIMPO, Simpo(beta=2.0, gamma=9.0), [4.0, 1.0, 2.0, -2.0]),
    ],
)
def test_a_look_is_by_what_the_objective_rewards(
    objective: Any, numbers: Any, margins: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuning.training.preferences.sums_of", lambda *_: AFTER)
    score, loss = held_out(objective, numbers).look(SimpleNamespace(), BEFORE)
    assert score == sum({True: 1.0, False: 0.0}[one > 0] if one else 0.5 for one in margins) / 4
    assert loss == pytest.approx(sum(math.log1p(math.exp(-one)) for one in margins) / 4)
