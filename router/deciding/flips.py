"""How far each weight of a policy may move before another arm is chosen, and how firm the choice is when all move.

preference = make_preference(make_table(scorecard, policy))
for flip in find_flips(preference, policy):
    flip.weight, flip.at, flip.arm  # "utility.wrong", -3.2, "rag"
stability(preference.choose, policy)  # 0.93

Under a utility the choice is linear in most weights, and its flips are exact; the others are bracketed on a grid and
bisected with whatever rule chooses (`search_flip`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from operator import attrgetter

from router.deciding.arm_table import ArmRow
from router.deciding.costs.winning_map import Choice
from router.deciding.policy import Policy
from router.deciding.preference import Preference


@dataclass(frozen=True, slots=True)
class Weight:
    """A number of the policy, by its path; it lies between `low` and `high`.

    `has_low` and `has_high` say whether it may be the bound itself, `is_linear` whether net utility is linear in it.
    """

    path: str
    low: float = 0.0
    high: float = math.inf
    has_low: bool = True
    has_high: bool = True
    is_linear: bool = True


WEIGHTS = (
    Weight("margin", high=1.0, has_low=False, has_high=False, is_linear=False),
    Weight("utility.right", low=-math.inf, has_low=False),
    Weight("utility.wrong", low=-math.inf, has_high=False),
    Weight("utility.abstain", low=-math.inf),
    Weight("prices.prompt"),
    Weight("prices.generated"),
    Weight("prices.engine_hour"),
    Weight("prices.training_hour"),
    Weight("prices.indexing_hour"),
    Weight("traffic.questions", has_low=False, is_linear=False),
    Weight("traffic.months", has_low=False, is_linear=False),
    Weight("traffic.churn", high=1.0),
    Weight("traffic.retrain_at", high=1.0, has_low=False, is_linear=False),
    Weight("traffic.prefix_hits", high=1.0),
)

# A search goes this far up and down, in this many steps of equal ratio; a weight of 0 is raised from the last number.
_FACTOR, _STEPS, _FIRST = 1000.0, 60, 1e-3
_BISECTIONS = 50
# What every weight is multiplied by at the most to see whether the choice stands.
_NEAR = 2.0


@dataclass(frozen=True, slots=True)
class Flip:
    """`at` is the nearest value of a weight at which `arm` is chosen instead of `served`, None where there is none.

    `weight` is the path of the number in the policy, `value` what it is now. Where no arm keeps the limits beyond `at`,
    `arm` is None. The search went from `low` to `high`; None is all the way.
    """

    weight: str
    value: float
    served: str | None
    at: float | None
    arm: str | None
    low: float | None
    high: float | None


def find_flips(preference: Preference, policy: Policy) -> tuple[Flip, ...]:
    """The flip of every weight that the policy has; margins matter without a utility only.

    Left out are weights that need a number nobody measured: the engine's price, say, without engine seconds.
    """
    found = []
    for weight in WEIGHTS:
        is_value, is_margin = weight.path.startswith("utility."), weight.path == "margin"
        if policy.utility is None if is_value else (is_margin and policy.utility is not None):
            continue
        if not preference.is_priced(_with(policy, weight.path, _value(policy, weight.path) or _FIRST)):
            continue
        is_limited = policy.limits.cost_per_1k is not None and not is_value
        is_exact = policy.utility is not None and weight.is_linear and not is_limited
        found.append(
            linear_flip(preference, policy, weight) if is_exact else search_flip(preference.choose, policy, weight)
        )
    return tuple(found)


def linear_flip(preference: Preference, policy: Policy, weight: Weight) -> Flip:
    """Where the chosen arm's net utility first meets another's, as the weight moves away from its value.

    Exact: two lines meet where their difference, known at two points, is 0. The policy must have a utility that says
    right is worth more than wrong, and values stay so: `right` above `wrong`, and abstaining at most as good as right.
    """
    value, served = _value(policy, weight.path), preference.choose(policy)
    low, high = _bounds(policy, weight)
    other_value = value + max(1.0, abs(value))
    moved = _with(policy, weight.path, other_value)
    meetings: list[tuple[float, float, str]] = []
    own = [candidate for candidate in preference.candidates if candidate.name == served]
    rivals = [candidate for candidate in preference.candidates if candidate.name != served]
    for mine, rival in product(own, rivals):
        now, then = _ahead(mine, rival, policy), _ahead(mine, rival, moved)
        if now is None or then is None or then == now:
            continue
        at = value - now * (other_value - value) / (then - now)
        if low < at < high or (at == low and weight.has_low) or (at == high and weight.has_high):
            meetings.append((abs(at - value), at, rival.name))
    _, nearest, arm = min(meetings) if meetings else (None, None, None)
    ends = (low if math.isfinite(low) else None, high if math.isfinite(high) else None)
    return Flip(weight.path, value, served, nearest, arm, *ends)


def search_flip(choose: Choice, policy: Policy, weight: Weight) -> Flip:
    """The nearest flip by ratio, up to a factor of 1,000 away, whatever rule chooses; a weight of 0 is raised only.

    A region narrower than one of the 60 steps (12 %) can be stepped over.
    """
    value, served = _value(policy, weight.path), choose(policy)

    def chosen_at(at: float) -> str | None:
        return choose(_with(policy, weight.path, at))

    ways = [list(_steps(value, weight, direction)) for direction in (1, -1)]
    reached = [value, *(at for way in ways for at in way)]
    ends = (min(reached), max(reached))
    same = [value, value]
    for step in range(max(len(way) for way in ways)):
        for side, way in enumerate(ways):
            if step >= len(way):
                continue
            if chosen_at(way[step]) != served:
                at = _bisect(choose, policy, weight.path, inside=same[side], outside=way[step])
                return Flip(weight.path, value, served, at, chosen_at(at), *ends)
            same[side] = way[step]
    return Flip(weight.path, value, served, None, None, *ends)


def stability(choose: Choice, policy: Policy, *, draws: int = 500) -> float:
    """The share of policies near this one under which the same arm is chosen, in [0, 1].

    Near means that every weight is multiplied by its own factor, log-uniform between 1/2 and 2, within its bounds, and
    drawn again where right is not worth more than wrong. A weight of 0 stays 0.
    """
    import numpy as np

    rng, served, num_same = np.random.default_rng(0), choose(policy), 0
    for _ in range(draws):
        moved = _jolt(policy, rng.uniform(-1, 1, len(WEIGHTS)).tolist())
        while moved.utility is not None and moved.utility.right <= moved.utility.wrong:
            moved = _jolt(policy, rng.uniform(-1, 1, len(WEIGHTS)).tolist())
        num_same += choose(moved) == served
    return num_same / draws


def _jolt(policy: Policy, exponents: Sequence[float]) -> Policy:
    moved = policy
    for weight, exponent in zip(WEIGHTS, exponents, strict=True):
        if policy.utility is None and weight.path.startswith("utility."):
            continue
        value = _value(policy, weight.path) * _NEAR**exponent
        most = weight.high if weight.has_high else weight.high * (1 - 1e-9)
        moved = _with(moved, weight.path, min(value, most))
    return moved


def _ahead(own: ArmRow, rival: ArmRow, policy: Policy) -> float | None:
    first, second = own.net_utility(policy), rival.net_utility(policy)
    return None if first is None or second is None else first - second


def _bounds(policy: Policy, weight: Weight) -> tuple[float, float]:
    assert policy.utility is not None
    low, high = weight.low, weight.high
    if weight.path == "utility.right":
        low = max(policy.utility.wrong, policy.utility.abstain)
    elif weight.path in ("utility.wrong", "utility.abstain"):
        high = policy.utility.right
    return low, high


def _steps(value: float, weight: Weight, direction: int) -> Iterator[float]:
    """Values away from `value`, the nearest first, ending at a bound that may be reached."""
    if value == 0:
        start, ratio, num = _FIRST, (_FACTOR / _FIRST) ** (1 / _STEPS), _STEPS + 1
        points = [start * ratio**step for step in range(num)] if direction > 0 else []
    else:
        points = [value * _FACTOR ** (direction * step / _STEPS) for step in range(1, _STEPS + 1)]
    bound = weight.high if direction > 0 else weight.low
    yield from (point for point in points if (point < bound if direction > 0 else point > bound))
    may_be = weight.has_high if direction > 0 else weight.has_low
    if may_be and math.isfinite(bound) and value != bound:
        yield bound


def _bisect(choose: Choice, policy: Policy, path: str, *, inside: float, outside: float) -> float:
    served = choose(policy)
    for _ in range(_BISECTIONS):
        middle = (inside + outside) / 2
        if choose(_with(policy, path, middle)) == served:
            inside = middle
        else:
            outside = middle
    return outside


def _value(policy: Policy, path: str) -> float:
    return float(attrgetter(path)(policy))


def _with(policy: Policy, path: str, value: float) -> Policy:
    if path == "margin":
        return replace(policy, margin=value)
    section, name = path.split(".")
    return replace(policy, **{section: replace(getattr(policy, section), **{name: value})})
