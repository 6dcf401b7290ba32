"""Settings within an arm, tried on development questions: each trial asks in batches, and hopeless ones end early.

plan = SweepPlan(space, defaults, clusters, trials=20)
report = run_trials(plan, objective, path=home / "sweep" / "3f9c.db")
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.errors import EvalError
from eval.sweep.report import Stop, SweepReport, TrialResult, compare
from eval.sweep.space import Settings, Space, Value, num_combinations, same
from router.deciding.scorecard import Score
from storage.locks import hold_lock

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

# Question numbers to their scores, in the order asked.
Ask = Callable[[Sequence[int]], Sequence[Score]]
# Settings to what asks with them; entering may index and train, leaving frees what only this trial needed.
Objective = Callable[[Settings], AbstractContextManager[Ask]]

# Optuna's default. Simulated with 60 right-or-wrong questions in batches of 10, two settings apart on 20% of them: a
# setting as good as the best was ended early in 8% of 1,500 trials, one 10 points worse in 54%, one 15 worse in 80%.
_PRUNE_BELOW_P = 0.1
# So few questions end no trial.
_FEWEST_TO_PRUNE = 8
# Drawn at random before the sampler looks at what was found; optuna's 10 is half of a small budget.
_RANDOM_TRIALS = 6
# More questions than the defaults may a trial leave unscored: what only answers the easy ones must not look good.
_MORE_UNSCORED = 0.1
# A full disk or a broken installation fails every trial; they must not all be used up on it.
_FAILED_IN_A_ROW = 5


class TrialFailed(EvalError):
    """These settings cannot be measured, as when a training diverges; the sweep goes on with others."""


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """What is tried: the space, the user's own settings (in the space), the questions' clusters, and the budget.

    No trial starts after `trials` trials or `max_minutes` of work; what earlier starts of the sweep took counts. The
    margin is that of the final comparison.
    """

    space: Space
    defaults: Settings
    clusters: tuple[str, ...]
    trials: int = 20
    max_minutes: float | None = None
    batch: int = 10
    seed: int = 0
    margin: float = 0.05


def run_trials(
    plan: SweepPlan,
    objective: Objective,
    *,
    path: Path,
    on_trial: Callable[[TrialResult], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> SweepReport:
    """Measure the defaults, then what a TPE sampler proposes (Bergstra et al. 2011), until the budget is used up.

    Each trial is asked the questions in an order of its own; after each batch a Wilcoxon signed-rank test against the
    best trial ends it when it is probably worse. Everything is kept in `path`: the same call after a kill measures the
    unfinished trial again and goes on as if nothing had happened. `on_trial` is told of every trial that ends here.

    Raises EvalError when no trial could be finished, when five in a row fail, when the file is not a sweep's, or when
    another process works on it. What `objective` raises besides TrialFailed ends the sweep.
    """
    busy = EvalError("this sweep is run by another process; wait for it, or stop it and run this again")
    with hold_lock(path.with_suffix(".lock"), busy=busy), _opened(path) as study:
        _recover(study, plan)
        trials, failed = _results(study), 0
        stop = _stop(plan, trials)
        while stop is None:
            trial, settings = _next(study, plan, trials)
            result = _measure(plan, objective, trial, settings, trials, clock)
            _tell(study, trial, result)
            trials.append(result)
            if on_trial is not None:
                on_trial(result)
            failed = failed + 1 if result.outcome == "failed" else 0
            if failed == _FAILED_IN_A_ROW:
                raise EvalError(
                    f"{failed} trials in a row failed, the last because {result.reason}; mend that, or narrow the space"
                )
            stop = _stop(plan, trials)
    return _report(plan, trials, stop)


def _stop(plan: SweepPlan, trials: Sequence[TrialResult]) -> Stop | None:
    if len(trials) == num_combinations(plan.space):
        return "space"
    if len(trials) >= plan.trials:
        return "trials"
    if trials and plan.max_minutes is not None and sum(trial.seconds for trial in trials) >= 60 * plan.max_minutes:
        return "minutes"
    return None


def _next(study: Study, plan: SweepPlan, trials: Sequence[TrialResult]) -> tuple[Trial, Settings]:
    """A trial with settings that were not measured yet: one that waits, else one that the sampler draws."""
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    while True:
        # A seed of its own for every trial: a sweep that goes on draws what it would have drawn without the stop.
        rng = random.Random(f"{plan.seed}:{len(trials)}")
        study.sampler = TPESampler(seed=rng.randrange(2**32), n_startup_trials=_RANDOM_TRIALS)
        trial = study.ask()
        drawn = {name: part.draw(trial, name) for name, part in plan.space.items()}
        settings: dict[str, Value] = trial.user_attrs.get("settings", drawn)
        known = any(same(settings, result.settings) for result in trials)
        if not known or num_combinations(plan.space) is None:
            trial.set_user_attr("settings", settings)
            return trial, settings
        study.tell(trial, state=TrialState.FAIL)
        study.enqueue_trial(_unmeasured(plan.space, trials, rng))


def _unmeasured(space: Space, trials: Sequence[TrialResult], rng: random.Random) -> dict[str, Value]:
    """Any other point of a grid that has one left."""
    while True:
        point = {name: part.at(rng.randrange(part.num_values() or 1)) for name, part in space.items()}
        if not any(same(point, trial.settings) for trial in trials):
            return point


def _measure(
    plan: SweepPlan,
    objective: Objective,
    trial: Trial,
    settings: Settings,
    trials: Sequence[TrialResult],
    clock: Callable[[], float],
) -> TrialResult:
    """Ask until the questions or the trial's prospects are used up."""
    started, total = clock(), len(plan.clusters)
    order = list(range(total))
    random.Random(f"{plan.seed}:{len(trials)}").shuffle(order)
    scores: dict[int, float] = {}
    asked, is_hopeless, reason = 0, False, None
    try:
        with objective(settings) as ask:
            while asked < total and not is_hopeless:
                batch = order[asked : asked + plan.batch]
                for number, score in zip(batch, ask(batch), strict=True):
                    if score is not None:
                        scores[number] = score
                        trial.report(score, number)
                asked += len(batch)
                is_hopeless = asked < total and trial.should_prune()
        reason = _unscored_reason(asked, len(scores), trials)
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


def _unscored_reason(asked: int, scored: int, trials: Sequence[TrialResult]) -> str | None:
    """Why a trial with so many unscored questions does not count; None when it does."""
    lost = asked - scored
    usual = trials[0].num_unscored / trials[0].num_asked if trials and trials[0].num_asked else 0.0
    if not scored or lost / asked > usual + _MORE_UNSCORED:
        return f"{lost} of {asked} answers could not be scored"
    return None


def _tell(study: Study, trial: Trial, result: TrialResult) -> None:
    """Keep a trial's end; of a pruned one the sampler learns the mean so far."""
    from optuna.trial import TrialState

    for name, value in (("num_asked", result.num_asked), ("seconds", result.seconds), ("outcome", result.outcome)):
        trial.set_user_attr(name, value)
    if result.outcome == "failed":
        trial.set_user_attr("reason", result.reason)
        study.tell(trial, state=TrialState.FAIL)
    else:
        study.tell(trial, result.mean)


def _recover(study: Study, plan: SweepPlan) -> None:
    """Queue what a killed process was at, or the defaults at the very start."""
    from optuna.trial import TrialState

    for cut_off in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(cut_off.number, state=TrialState.FAIL)
        settings = cut_off.user_attrs.get("settings")
        if settings is not None and "reason" not in cut_off.user_attrs:
            study.enqueue_trial({**settings, **cut_off.params}, user_attrs={"settings": settings})
    is_waiting = bool(study.get_trials(states=(TrialState.WAITING,)))
    if not is_waiting and not _results(study):
        study.enqueue_trial(dict(plan.defaults), user_attrs={"settings": dict(plan.defaults)})


def _results(study: Study) -> list[TrialResult]:
    """The trials that came to an end, in their order: not those that were cut off or would have been repeats."""
    from optuna.trial import TrialState

    ended = [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state == TrialState.COMPLETE or (trial.state == TrialState.FAIL and "reason" in trial.user_attrs)
    ]
    return [_result(number, trial) for number, trial in enumerate(ended)]


def _result(number: int, trial: FrozenTrial) -> TrialResult:
    kept: dict[str, Any] = trial.user_attrs
    return TrialResult(
        number=number,
        settings=kept["settings"],
        outcome=kept["outcome"],
        scores=dict(trial.intermediate_values),
        num_asked=kept["num_asked"],
        seconds=kept["seconds"],
        reason=kept.get("reason"),
    )


def _report(plan: SweepPlan, trials: Sequence[TrialResult], stop: Stop) -> SweepReport:
    finished = [trial for trial in trials if trial.outcome == "finished"]
    if not finished:
        raise EvalError(
            f"none of {len(trials)} trials could be measured; the first failed because {trials[0].reason}; "
            "mend that, or sweep another space"
        )
    # The earliest of equals: nothing is to be changed for nothing.
    best = max(finished, key=lambda trial: (trial.mean or 0.0, -trial.number))
    return SweepReport(
        trials=tuple(trials),
        best=best,
        defaults=trials[0],
        difference=compare(best, trials[0], plan.clusters, margin=plan.margin),
        num_questions=len(plan.clusters),
        num_combinations=num_combinations(plan.space),
        stopped=stop,
    )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Study]:
    """The study in the file, new or existing. A transaction a step: a kill at any time leaves it whole."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    def connect() -> sqlite3.Connection:
        # Every score is a commit; waiting for the disk each time would take longer than the answers.
        db = sqlite3.connect(path, timeout=30, check_same_thread=False)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        return db

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        # The pruner is marked experimental; it also warns of questions that the best trial has no score for.
        warnings.filterwarnings("ignore", module=r"optuna|eval\.sweep")
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{path}", engine_kwargs={"creator": connect})
            try:
                yield optuna.create_study(
                    study_name="sweep",
                    storage=storage,
                    load_if_exists=True,
                    direction="maximize",
                    pruner=optuna.pruners.WilcoxonPruner(p_threshold=_PRUNE_BELOW_P, n_startup_steps=_FEWEST_TO_PRUNE),
                )
            finally:
                storage.engine.dispose()
        except (SQLAlchemyError, sqlite3.Error, optuna.exceptions.StorageInternalError) as error:
            raise EvalError(
                f"cannot keep the sweep in {str(path)!r}: {str(error).splitlines()[0]}; free some space, or move the "
                "file away to sweep anew"
            ) from error
