"""What a sweep finds on surfaces whose best settings are known: a Gaussian process, Parzen estimators, and chance.

    python benchmarks/sweeps.py [--sweeps 200] [--trials 20] [--only tuned] [--jsonl sweeps.jsonl]

Each sweep is `run_trials` itself with the settings that ship (6 random trials, trials that are ended early) on 60
right-or-wrong dev questions, of which settings change the share that is right; its seed draws the place of the best
settings, the questions and the trials, alike for every sampler. Regret is the best share that the surface has minus the
share of the settings that the sweep calls the best, in points of 100, with its standard error; "near" is how often it
is at most 2 points. Answers are what the trials asked. Printed as a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import optuna

from eval.sweep.space import Choices, Range, Settings, Space, SweepSettings
from eval.sweep.study import Ask, SweepPlan, make_sampler, run_trials

# Surface, trials, sampler, seed; regret, answers, seconds of the processor.
Key = tuple[str, int, str, int]
Found = tuple[float, int, float]

NUM_QUESTIONS = 60
AGREEMENT = 0.6  # the share of questions whose difficulty all settings share
NEAR = 0.02
SAMPLERS = ("random", "tpe", "gp")


@dataclass(frozen=True)
class Surface:
    """The share of right answers as a smooth hill over a space; `height(settings, top)` is 0 to 1, and `top` says where
    a sweep's hill lies: two numbers from 0 to 1.
    """

    name: str
    space: Space
    defaults: Settings
    height: Callable[[Settings, np.ndarray], float]
    trials: int | None = None
    low: float = 0.35
    high: float = 0.75

    def share(self, settings: Settings, top: np.ndarray) -> float:
        """Of right answers."""
        return self.low + (self.high - self.low) * self.height(settings, top)

    def best(self, top: np.ndarray) -> float:
        """The largest share, on a fine grid."""
        grids = [part.grid() or fine(part) for part in self.space.values()]
        return max(self.share(dict(zip(self.space, values, strict=True)), top) for values in product(*grids))


def fine(part: Choices | Range) -> Sequence[float]:
    """A continuous range in 60 steps."""
    assert isinstance(part, Range)
    scale = np.geomspace if part.log else np.linspace
    return [float(value) for value in scale(part.low, part.high, 61)]


def hill(*distances: float) -> float:
    """1 in the middle, falling as a Gaussian."""
    return math.exp(-sum(distance**2 for distance in distances) / 2)


def number(settings: Settings, key: str) -> float:
    """A setting as a number."""
    return float(str(settings[key]))


def two_ranges(settings: Settings, top: np.ndarray) -> float:
    """A hill a fifth of one range and 0.3 of the other wide."""
    rate = (math.log10(number(settings, "rate")) + 4) / 2
    return hill((rate - 0.1 - 0.8 * top[0]) / 0.2, (number(settings, "share") - 0.1 - 0.8 * top[1]) / 0.3)


def tuned(settings: Settings, top: np.ndarray) -> float:
    """The way that is learned (rate x epochs over the root of the batch) counts most, epochs and rank less."""
    rate, epochs, batch, rank = (number(settings, key) for key in ("rate", "epochs", "batch", "rank"))
    way = math.log10(rate) + math.log10(epochs / 2) - 0.5 * math.log10(batch / 4)
    return hill(
        (way - (-3.7 + 1.4 * top[0])) / 0.35,
        (math.log2(epochs) - 0.3 - 1.5 * top[1]) / 1.2,
        (math.log2(rank) - 4) / 3,
    )


def passages(settings: Settings, top: np.ndarray) -> float:
    """Passages of some number and length; long ones need fewer."""
    top_k, tokens = math.log2(number(settings, "top_k")), math.log2(number(settings, "tokens") / 60)
    return hill((top_k - 2 * top[0]) / 1.2, (tokens - 2 * top[1]) / 0.9)


SURFACES = (
    Surface(
        "two ranges",
        {"rate": Range(1e-4, 1e-2, log=True), "share": Range(0.0, 1.0)},
        {"rate": 1e-3, "share": 0.5},
        two_ranges,
    ),
    Surface(
        "tuned",
        {
            "rank": Choices((8, 16, 32)),
            "rate": Range(1e-4, 1e-2, log=True),
            "epochs": Choices((1.0, 2.0, 3.0, 5.0)),
            "batch": Choices((4, 8, 16)),
        },
        {"rank": 16, "rate": 1e-3, "epochs": 2.0, "batch": 4},
        tuned,
    ),
    Surface(
        "rag, a grid of 15",
        {"top_k": Choices((1, 2, 4)), "tokens": Choices((60, 90, 120, 180, 240))},
        {"top_k": 4, "tokens": 120},
        passages,
        trials=8,
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=200)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--only", default="", help="surfaces whose name begins so")
    parser.add_argument("--samplers", default=",".join(SAMPLERS))
    parser.add_argument("--jsonl", type=Path, help="keep every sweep here, and go on from those that are there")
    given = parser.parse_args()
    surfaces = [surface for surface in SURFACES if surface.name.startswith(given.only)]
    names = given.samplers.split(",")
    found: dict[Key, Found] = read(given.jsonl)
    # A sweep of each first, so that whatever was done when it is stopped compares equals.
    for seed, surface, name in product(range(given.sweeps), surfaces, names):
        key = (surface.name, surface.trials or given.trials, name, seed)
        if key not in found:
            found[key] = sweep(surface, name, key[1], seed)
            if given.jsonl is not None:
                with given.jsonl.open("a") as file:
                    file.write(json.dumps([*key, *found[key]]) + "\n")
    print("| surface | trials | sampler | sweeps | regret | near | answers | processor s |")
    print("|---|---|---|---|---|---|---|---|")
    for surface, name in product(surfaces, names):
        trials = surface.trials or given.trials
        rows = np.array([found[surface.name, trials, name, seed] for seed in range(given.sweeps)])
        regret, error = 100 * rows[:, 0].mean(), 100 * rows[:, 0].std() / math.sqrt(len(rows))
        near, answers, seconds = (rows[:, 0] <= NEAR).mean(), rows[:, 1].mean(), rows[:, 2].mean()
        shown = (str(len(rows)), f"{regret:.1f} ± {error:.1f}", f"{near:.0%}", f"{answers:.0f}", f"{seconds:.1f}")
        print(f"| {surface.name} | {trials} | {name} | {' | '.join(shown)} |")


def read(path: Path | None) -> dict[Key, Found]:
    """The sweeps that a file holds."""
    lines = path.read_text().splitlines() if path is not None and path.exists() else []
    return {tuple(row[:4]): tuple(row[4:]) for row in map(json.loads, lines)}


def sweep(surface: Surface, sampler: str, trials: int, seed: int) -> Found:
    """One sweep; of one seed all samplers see the same hill and the same questions."""
    started = time.process_time()
    rng = np.random.default_rng(seed)
    top, common = rng.random(2), rng.random(NUM_QUESTIONS)
    is_common = rng.random(NUM_QUESTIONS) < AGREEMENT

    @contextmanager
    def objective(settings: Settings) -> Iterator[Ask]:
        # Of the same settings the same answers, whichever sampler asks.
        own = np.random.default_rng([seed, *map(ord, repr(sorted(settings.items())))]).random(NUM_QUESTIONS)
        right = np.where(is_common, common, own) < surface.share(settings, top)
        yield lambda numbers: [float(right[place]) for place in numbers]

    plan = SweepPlan(
        surface.space, surface.defaults, tuple(map(str, range(NUM_QUESTIONS))), SweepSettings(trials=trials), seed=seed
    )
    chance = (lambda drawn: optuna.samplers.RandomSampler(seed=drawn)) if sampler == "random" else None
    with tempfile.TemporaryDirectory() as folder:
        report = run_trials(
            plan,
            objective,
            path=Path(folder) / "sweep.db",
            sampler=chance or partial(make_sampler, sampler),  # type: ignore[arg-type]  # no "random" in that branch
        )
    regret = surface.best(top) - surface.share(report.best.settings, top)
    return regret, report.num_asked, time.process_time() - started


if __name__ == "__main__":
    main()
