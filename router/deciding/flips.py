"""How far each weight of a policy may move before another arm is chosen, and how firm the choice is when all move.

preference = make_preference(make_table(scorecard, policy))
for flip in find_flips(preference, policy):
    flip.weight, flip.at, flip.arm  # "utility.wrong", -3.2, "rag"
stability(preference.choose, policy)  # 0.93

Values away from a weight's own are tried until another arm is chosen, and then bisected. Under a utility the choice is
linear in most weights: an arm is chosen over one stretch of values, so that the place where it ends is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter

from router.deciding.policy import Policy, Prices, Traffic, Utility
from router.deciding.preference import Choice, Preference

# The weights by their paths in the policy.
_WITHOUT_UTILITY = ("margin", "cost_tolerance")
WEIGHTS = (
    *_WITHOUT_UTILITY,
    *(f"utility.{value.name}" for value in fields(Utility)),
    *(f"prices.{price.name}" for price in fields(Prices)),
    *(f"traffic.{number.name}" for number in fields(Traffic)),
)
# The bounds that a search tries; prices end at 0, and what is not here has no end in reach.
_BOUNDS = {
    "margin": (-math.inf, 1 - 1e-9),
    "cost_tolerance": (0.0, 1.0),
    "traffic.churn": (0.0, 1.0),
    "traffic.retrain_at": (-math.inf, 1.0),
    "traffic.prefix_hits": (0.0, 1.0),
}

# A search goes this far up and down, in this many steps of equal ratio. What may be 0 or change its sign is moved by
# steps that begin with this share of its size.
_FACTOR, _STEPS, _FIRST = 1000.0, 60, 1e-3
_BISECTIONS = 50
# What every weight is multiplied by at the most to see whether the choice stands.
_NEAR = 2.0


@dataclass(frozen=True, slots=True)
class Flip:
    """`at` is the nearest value of a weight at which `arm` is chosen instead of `served`, None where there is none.

    `weight` is the path of the number in the policy, `value` what it is now. Where no arm keeps the limits beyond `at`,
    `arm` is None.
    """

    weight: str
    value: float
    served: str | None
    at: float | None = None
    arm: str | None = None


def find_flips(preference: Preference, policy: Policy) -> tuple[Flip, ...]:
    """The flip of every weight that the policy has; margin and tolerance matter without a utility only.

    Left out are weights that need a number nobody measured: the engine's price, say, without engine seconds.
    """
    found = []
    for path in WEIGHTS:
        is_idle = path in _WITHOUT_UTILITY and policy.utility is not None
        if is_idle or not _has(policy, path):
            continue
        if preference.is_priced(_with(policy, path, _value(policy, path) or _FIRST)):
            found.append(search_flip(preference.choose, policy, path))
    return tuple(found)


def search_flip(choose: Choice, policy: Policy, path: str) -> Flip:
    """The nearest flip, whatever rule chooses: by ratio, or by distance where the weight is 0 or a value of answers.

    It is looked for up to a factor of 1,000 away; a region narrower than a step (12%) can be stepped over. Values
    of answers stay in their order: `right` above `wrong`, and abstaining at most as good as right.
    """
    value, served = _value(policy, path), choose(policy)
    ways = _ways(policy, path)
    same = [value, value]
    for step in range(max(map(len, ways))):
        for side, way in enumerate(ways):
            if step >= len(way):
                continue
            if choose(_with(policy, path, way[step])) == served:
                same[side] = way[step]
                continue
            inside, outside = same[side], way[step]
            for _ in range(_BISECTIONS):
                middle = (inside + outside) / 2
                is_same = choose(_with(policy, path, middle)) == served
                inside, outside = (middle, outside) if is_same else (inside, middle)
            return Flip(path, value, served, outside, choose(_with(policy, path, outside)))
    return Flip(path, value, served)


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
    for path, exponent in zip(WEIGHTS, exponents, strict=True):
        if _has(policy, path):
            moved = _with(moved, path, min(_value(policy, path) * _NEAR**exponent, _bounds(path)[1]))
    return moved


def _ways(policy: Policy, path: str) -> list[list[float]]:
    """Values above and below a weight's own, the nearest first, each ending at its bound if that is finite."""
    value, (low, high), utility = _value(policy, path), _bounds(path), policy.utility
    size = max(abs(value), 1.0)
    if utility is not None and path == "utility.right":
        low = max(utility.wrong, utility.abstain) + 1e-9 * size
    elif utility is not None and path.startswith("utility."):
        high = utility.right - (1e-9 * size if path == "utility.wrong" else 0.0)
    steps = [step / _STEPS for step in range(_STEPS + 1)]
    if value == 0 or path.startswith("utility."):
        away = [size * _FIRST * (_FACTOR / _FIRST) ** step for step in steps]
        up, down = [value + distance for distance in away], [value - distance for distance in away]
    else:
        up, down = ([value * ratio**step for step in steps[1:]] for ratio in (_FACTOR, 1 / _FACTOR))
    return [
        [*(at for at in up if at < high), *([high] if value < high < math.inf else [])],
        [*(at for at in down if at > low), *([low] if -math.inf < low < value else [])],
    ]


def _bounds(path: str) -> tuple[float, float]:
    return _BOUNDS.get(path, (0.0 if path.startswith("prices.") else -math.inf, math.inf))


def _has(policy: Policy, path: str) -> bool:
    """Whether the policy has this number: null is none."""
    section, _, name = path.rpartition(".")
    part = getattr(policy, section) if section else policy
    return part is not None and getattr(part, name) is not None


def _value(policy: Policy, path: str) -> float:
    return float(attrgetter(path)(policy))


def _with(policy: Policy, path: str, value: float) -> Policy:
    if path == "margin":
        return replace(policy, margin=value)
    if path == "cost_tolerance":
        return replace(policy, cost_tolerance=value)
    section, name = path.split(".")
    return replace(policy, **{section: replace(getattr(policy, section), **{name: value})})
