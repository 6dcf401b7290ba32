"""Settings within an arm, tried on development questions: each trial asks in batches, and hopeless ones end early.

plan = SweepPlan(space, defaults, clusters, SweepSettings(trials=20))
report = run_trials(plan, objective, path=home / "sweep" / "3f9c.db")
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from eval.errors import EvalError
from eval.sweep.report import Stop, SweepReport, TrialResult, compare
from eval.sweep.space import SamplerName, Settings, Space, SweepSettings, Value, num_combinations, same
from router.deciding.scorecard import Score
from storage.files import hold_lock
from storage.records import from_json
from storage.row_cache import RowCache

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

# Question numbers to their scores, in the order asked.
Ask = Callable[[Sequence[int]], Sequence[Score]]
# Settings to what asks with them; entering may index and train, leaving frees what only this trial needed.
Objective = Callable[[Settings], AbstractContextManager[Ask]]

# That of optuna's WilcoxonPruner. Simulated with 60 right-or-wrong questions in batches of 10, two settings apart on
# 20% of them: a setting as good as the best was ended early in 8% of 1,500 trials, one 10 points worse in 54%, one 15
# worse in 80%.
_PRUNE_BELOW_P = 0.1
# Fewer questions end no trial.
_FEWEST_TO_PRUNE = 8
# Of so many differences all signs are counted, as scipy does.
_EXACT = 13
# Drawn at random before the sampler looks at what was found; optuna's 10 is half of a small budget.
_RANDOM_TRIALS = 6
# Of settings that were tried already, others are drawn by chance; a range may hold few numbers of three digits.
_MOST_DRAWS = 50
# More questions than the defaults may a trial leave unscored: what only answers the easy ones must not look good.
_MORE_UNSCORED = 0.1
# A full disk or a broken installation fails every trial; they must not all be used up on it.
_FAILED_IN_A_ROW = 5

_TABLE = "CREATE TABLE IF NOT EXISTS results (number INTEGER PRIMARY KEY, result TEXT NOT NULL)"
_FIND = "SELECT result FROM results WHERE number = ?"
_KEEP = "INSERT OR REPLACE INTO results VALUES (?, ?)"


class TrialFailed(EvalError):
    """These settings cannot be measured, as when a training diverges; the sweep goes on with others."""


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """What is tried: the space, the user's own settings (in the space), the questions' clusters, and the budget.

    What earlier starts of the sweep took counts. The margin is that of the final comparison.
    """

    space: Space
    defaults: Settings
    clusters: tuple[str, ...]
    budget: SweepSettings
    seed: int = 0
    margin: float = 0.05


def run_trials(
    plan: SweepPlan,
    objective: Objective,
    *,
    path: Path,
    on_trial: Callable[[TrialResult], object] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    sampler: Callable[[int], BaseSampler] | None = None,
) -> SweepReport:
    """Measure the defaults, then what the budget's sampler proposes, until the budget is used up. `sampler(seed)` is
    one of optuna's in its place.

    Each trial is asked the questions in an order of its own; after each batch a Wilcoxon signed-rank test against the
    best trial ends it when it is probably worse. Every trial is kept in `path`: the same call after a kill measures the
    unfinished trial again and goes on as if nothing had happened. `on_trial` is told of every trial that ends here.

    Raises EvalError when no trial could be finished, when five in a row fail, and when another process works on the
    sweep. What `objective` raises besides TrialFailed ends it.
    """
    busy = EvalError("this sweep is run by another process; wait for it, or stop it and run this again")
    lock = hold_lock(path.with_suffix(".lock"), busy=busy)
    with lock, RowCache(path, (_TABLE,), called="sweep", row="a trial") as kept:
        trials: list[TrialResult] = []
        while (known := kept.find(_FIND, str(len(trials)), partial(from_json, TrialResult))) is not None:
            trials.append(known)
        failed = 0
        while (stop := _stop(plan, trials)) is None:
            settings = _next(plan, trials, sampler or partial(make_sampler, plan.budget.sampler))
            result = _measure(plan, objective, settings, trials, clock)
            kept.write(_KEEP, (result.number, json.dumps(asdict(result))))
            trials.append(result)
            on_trial(result)
            failed = failed + 1 if result.outcome == "failed" else 0
            if failed == _FAILED_IN_A_ROW:
                raise EvalError(
                    f"{failed} trials in a row failed, the last because {result.reason}; mend that, or narrow the space"
                )
    best = _best(trials)
    if best is None:
        raise EvalError(
            f"none of {len(trials)} trials could be measured; the first failed because {trials[0].reason}; "
            "mend that, or sweep another space"
        )
    return SweepReport(
        trials=tuple(trials),
        best=best,
        defaults=trials[0],
        difference=compare(best, trials[0], plan.clusters, margin=plan.margin),
        num_questions=len(plan.clusters),
        num_combinations=num_combinations(plan.space),
        stopped=stop,
    )


def make_sampler(name: SamplerName, seed: int) -> BaseSampler:
    """The sampler of this name; it draws the same of the same trials and seed."""
    import optuna

    if name == "tpe":
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=_RANDOM_TRIALS)
    return optuna.samplers.GPSampler(seed=seed, n_startup_trials=_RANDOM_TRIALS, warn_independent_sampling=False)


def _stop(plan: SweepPlan, trials: Sequence[TrialResult]) -> Stop | None:
    minutes = plan.budget.max_minutes
    if len(trials) == num_combinations(plan.space):
        return "space"
    if len(trials) >= plan.budget.trials:
        return "trials"
    if trials and minutes is not None and sum(trial.seconds for trial in trials) >= 60 * minutes:
        return "minutes"
    return None


def _next(plan: SweepPlan, trials: Sequence[TrialResult], sampler: Callable[[int], BaseSampler]) -> Settings:
    """The user's own settings, then what a sampler draws from what was found; of a grid only what was not measured.

    Only the trials so far decide: a sweep that goes on draws what it would have drawn without the stop.
    """
    if not trials:
        return plan.defaults
    import optuna

    # Its warnings are of packages that would make it faster.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rng = random.Random(f"{plan.seed}:{len(trials)}")
    study = optuna.create_study(sampler=sampler(rng.randrange(2**32)), direction="maximize")
    drawn_from = {name: part.distribution() for name, part in plan.space.items()}
    for trial in trials:
        # Of one that was ended early the sampler learns the mean so far.
        if trial.outcome != "failed":
            params = {name: part.place(trial.settings[name]) for name, part in plan.space.items()}
            study.add_trial(optuna.create_trial(params=params, distributions=drawn_from, value=trial.mean))

    def rounded(drawn: Mapping[str, Any]) -> dict[str, Value]:
        return {name: part.rounded(drawn[name]) for name, part in plan.space.items()}

    # A Gaussian process that is sure of its best settings proposes them again: that would teach nothing.
    settings = rounded(study.ask(drawn_from).params)
    is_grid = num_combinations(plan.space) is not None
    chance = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=rng.randrange(2**32)))
    for _ in range(_MOST_DRAWS):
        if not any(same(settings, trial.settings) for trial in trials):
            break
        settings = rounded(chance.ask(drawn_from).params)
    while is_grid and any(same(settings, trial.settings) for trial in trials):
        settings = {name: rng.choice(part.grid() or ()) for name, part in plan.space.items()}
    return settings


def _measure(
    plan: SweepPlan,
    objective: Objective,
    settings: Settings,
    trials: Sequence[TrialResult],
    clock: Callable[[], float],
) -> TrialResult:
    """Ask until the questions or the trial's prospects are used up."""
    started, total, best = clock(), len(plan.clusters), _best(trials)
    order = list(range(total))
    random.Random(f"{plan.seed}:{len(trials)}").shuffle(order)
    scores: dict[int, float] = {}
    asked, is_hopeless, reason = 0, False, None
    try:
        with objective(settings) as ask:
            while asked < total and not is_hopeless:
                batch = order[asked : asked + plan.budget.batch]
                given = zip(batch, ask(batch), strict=True)
                scores |= {number: score for number, score in given if score is not None}
                asked += len(batch)
                is_hopeless = asked < total and best is not None and _is_worse(scores, best.scores)
        lost, defaults = asked - len(scores), trials[0] if trials else None
        usual = defaults.num_unscored / defaults.num_asked if defaults is not None and defaults.num_asked else 0.0
        if not scores or lost / asked > usual + _MORE_UNSCORED:
            reason = f"{lost} of {asked} answers could not be scored"
    except TrialFailed as failure:
        reason = str(failure)
    return TrialResult(
        number=len(trials),
        settings=settings,
        outcome="failed" if reason is not None else "pruned" if is_hopeless else "finished",
        scores=scores,
        num_asked=asked,
        seconds=clock() - started,
        reason=reason,
    )


def _best(trials: Sequence[TrialResult]) -> TrialResult | None:
    """The earliest of equals: nothing is to be changed for nothing."""
    finished = [trial for trial in trials if trial.outcome == "finished"]
    return max(finished, key=lambda trial: (trial.mean or 0.0, -trial.number), default=None)


def _is_worse(scores: Mapping[int, float], best: Mapping[int, float]) -> bool:
    """Whether the best trial is probably better, on the questions that both were scored on.

    One whose mean so far is not below the best trial's goes on: its questions may be the harder ones.
    """
    differences = [score - best[number] for number, score in scores.items() if number in best]
    if len(differences) < _FEWEST_TO_PRUNE or fmean(scores.values()) >= fmean(best.values()):
        return False
    return signed_rank_p(differences) < _PRUNE_BELOW_P


def signed_rank_p(differences: Sequence[float]) -> float:
    """The one-sided p-value of Wilcoxon's signed-rank test that the differences lie below 0; zeros are split, there may
    be nothing else.

    The p-value of `scipy.stats.wilcoxon`, which takes a second for each of few differences with ties.
    """
    import numpy as np
    from scipy.stats import rankdata, wilcoxon

    found = np.asarray(differences, dtype=np.float64)
    if len(found) > _EXACT:
        return float(wilcoxon(found, alternative="less", zero_method="zsplit").pvalue)
    ranks = np.where(found == 0, 0.0, rankdata(np.abs(found)))
    signs = (np.arange(2 ** len(found))[:, None] >> np.arange(len(found))) & 1
    return float((signs @ ranks <= ranks[found > 0].sum() + 1e-9).mean())
