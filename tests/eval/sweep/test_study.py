import contextlib
import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eval.errors import EvalError
from eval.sweep.report import SweepReport, TrialResult
from eval.sweep.space import Choices, Range, Settings, SweepSettings
from eval.sweep.study import Ask, SweepPlan, TrialFailed, _is_worse, run_trials, signed_rank_p

REPOSITORY = Path(__file__).parents[3]
TOTAL = 25
SPACE = {"k": Choices((1, 2, 4)), "tokens": Choices((60, 120, 180))}
DEFAULTS = {"k": 2, "tokens": 120}
PLAN = SweepPlan(SPACE, DEFAULTS, tuple(f"d{i}" for i in range(TOTAL)), SweepSettings(trials=9, batch=15))
SMALL = replace(PLAN, space={"k": SPACE["k"]}, defaults={"k": 2})


def limited(plan: SweepPlan, **budget: Any) -> SweepPlan:
    return replace(plan, budget=replace(plan.budget, **budget))


class Library:
    """Answers so many of the 25 questions right: 4 x 180 is best with 22, the others lie far below.

    `fails_at` are settings that cannot be measured; `unscored` questions are never scored.
    """

    def __init__(self, *, fails_at: Sequence[Settings] = (), unscored: Sequence[int] = ()) -> None:
        self.fails_at = list(fails_at)
        self.unscored = set(unscored)
        self.opened: list[Settings] = []
        self.closed = 0
        self.num_asked = 0

    def num_right(self, settings: Settings) -> int:
        bonus = {"k": {1: 0, 2: 2, 4: 10}, "tokens": {60: 0, 120: 2, 180: 12}}
        return sum(bonus[key][int(str(value))] for key, value in settings.items())

    @contextmanager
    def __call__(self, settings: Settings) -> Iterator[Ask]:
        self.opened.append(settings)
        if settings in self.fails_at:
            raise TrialFailed("the loss became nan")
        right = self.num_right(settings)

        def ask(numbers: Sequence[int]) -> list[float | None]:
            self.num_asked += len(numbers)
            # 7 and 25 share no factor, so the right ones are spread over all questions.
            return [None if i in self.unscored else float(7 * i % TOTAL < right) for i in numbers]

        try:
            yield ask
        finally:
            self.closed += 1


def described(report: SweepReport) -> list[tuple[Settings, str, float | None]]:
    return [(trial.settings, trial.outcome, trial.mean) for trial in report.trials]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepReport, Library]:
    library = Library()
    return run_trials(PLAN, library, path=tmp_path_factory.mktemp("sweep") / "s.db"), library


def test_the_known_optimum_is_found_and_compared_with_the_defaults(whole: tuple[SweepReport, Library]) -> None:
    report, _ = whole
    assert report.best.settings == {"k": 4, "tokens": 180}
    assert report.best.mean == 22 / TOTAL
    assert report.difference is not None
    assert report.difference.mean == pytest.approx((22 - 4) / TOTAL)
    assert report.difference.p_value < 0.001


def test_the_defaults_come_first_and_are_asked_everything(whole: tuple[SweepReport, Library]) -> None:
    report, _ = whole
    assert report.defaults.settings == DEFAULTS
    assert (report.defaults.number, report.defaults.outcome, report.defaults.num_asked) == (0, "finished", TOTAL)
    assert report.defaults.mean == 4 / TOTAL


def test_a_grid_is_tried_without_repeats_until_nothing_is_left(whole: tuple[SweepReport, Library]) -> None:
    report, library = whole
    assert report.stopped == "space"
    assert len({tuple(s.items()) for s in library.opened}) == len(library.opened) == len(report.trials) == 9
    assert library.closed == 9


def test_hopeless_trials_end_early_and_are_counted(whole: tuple[SweepReport, Library]) -> None:
    report, library = whole
    pruned = [trial for trial in report.trials if trial.outcome == "pruned"]
    assert pruned
    assert report.count("pruned") == len(pruned)
    assert all(trial.num_asked == len(trial.scores) == 15 for trial in pruned)
    # 0 to 4 right after the optimum with 22 was seen: none of those is asked to the end.
    seen = report.trials[report.best.number + 1 :]
    assert all(trial.outcome == "pruned" for trial in seen if library.num_right(trial.settings) <= 4)
    assert report.num_asked == library.num_asked == TOTAL * 9 - 10 * len(pruned)


def test_a_finished_search_asks_nothing_and_a_larger_budget_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    first = run_trials(limited(PLAN, trials=2), Library(), path=path)
    assert (first.stopped, len(first.trials)) == ("trials", 2)
    silent = Library()
    again = run_trials(limited(PLAN, trials=2), silent, path=path)
    assert (silent.opened, described(again)) == ([], described(first))
    more = Library()
    longer = run_trials(limited(PLAN, trials=3), more, path=path)
    assert len(more.opened) == 1
    assert described(longer)[:2] == described(first)


def test_a_stopped_search_ends_as_an_undisturbed_one(tmp_path: Path, whole: tuple[SweepReport, Library]) -> None:
    class Interrupted(Library):
        @contextmanager
        def __call__(self, settings: Settings) -> Iterator[Ask]:
            with super().__call__(settings) as ask:

                def breaks(numbers: Sequence[int]) -> Sequence[float | None]:
                    if len(self.opened) == 3:
                        raise KeyboardInterrupt
                    return ask(numbers)

                yield breaks

    stopped = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        run_trials(PLAN, stopped, path=tmp_path / "s.db")
    resumed = Library()
    report = run_trials(PLAN, resumed, path=tmp_path / "s.db")
    assert resumed.opened[0] == stopped.opened[2]
    assert len(resumed.opened) == 9 - 2
    assert described(report) == described(whole[0])


KILLED = """
import os, signal, sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any
sys.path[:0] = {paths!r}
from test_study import PLAN, TOTAL, Library
from eval.sweep.study import run_trials

class Dying(Library):
    @contextmanager
    def __call__(self, settings):
        with super().__call__(settings) as ask:
            def dies(numbers):
                if self.num_asked == TOTAL + 15:
                    os.kill(os.getpid(), signal.SIGKILL)
                return ask(numbers)

            yield dies

run_trials(PLAN, Dying(), path=Path({path!r}))
"""


@pytest.mark.slow
def test_a_killed_search_asks_its_unfinished_trial_again(tmp_path: Path, whole: tuple[SweepReport, Library]) -> None:
    path = tmp_path / "s.db"
    code = KILLED.format(paths=[str(REPOSITORY), str(Path(__file__).parent)], path=str(path))
    killed = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=dict(os.environ), check=False)
    assert killed.returncode == -signal.SIGKILL
    resumed = Library()
    report = run_trials(limited(PLAN, trials=4), resumed, path=path)
    assert len(resumed.opened) == 4 - 1
    assert described(report) == described(whole[0])[:4]


def test_no_trial_starts_after_the_minutes_are_used_up(tmp_path: Path) -> None:
    now = iter(range(0, 10_000, 45))
    plan = limited(PLAN, max_minutes=1.0)
    report = run_trials(plan, Library(), path=tmp_path / "s.db", clock=lambda: float(next(now)))
    assert (report.stopped, len(report.trials)) == ("minutes", 2)  # 45 s each
    assert len(run_trials(plan, Library(), path=tmp_path / "s.db").trials) == 2


def test_one_trial_measures_the_defaults_alone(tmp_path: Path) -> None:
    report = run_trials(limited(PLAN, trials=1), Library(), path=tmp_path / "s.db")
    assert (len(report.trials), report.best, report.difference) == (1, report.defaults, None)


def test_a_trial_that_fails_is_kept_with_its_reason_and_the_others_go_on(tmp_path: Path) -> None:
    told: list[TrialResult] = []
    report = run_trials(SMALL, Library(fails_at=[{"k": 2}]), path=tmp_path / "s.db", on_trial=told.append)
    assert (report.count("failed"), report.defaults.reason) == (1, "the loss became nan")
    assert report.best.settings == {"k": 4}
    assert report.difference is None
    assert [trial.number for trial in told] == [0, 1, 2]
    again = Library()
    assert described(run_trials(SMALL, again, path=tmp_path / "s.db")) == described(report)
    assert again.opened == []


def test_a_search_in_which_nothing_can_be_measured_is_an_error(tmp_path: Path) -> None:
    everything = Library(fails_at=[{"k": k, "tokens": t} for k in (1, 2, 4) for t in (60, 120, 180)])
    with pytest.raises(EvalError, match=r"none of 2 trials could be measured; the first failed because the loss"):
        run_trials(limited(PLAN, trials=2), everything, path=tmp_path / "s.db")
    with pytest.raises(EvalError, match=r"5 trials in a row failed, the last because the loss became nan"):
        run_trials(limited(PLAN, trials=8), everything, path=tmp_path / "s.db")
    assert len(everything.opened) == 2 + 5


def test_another_error_ends_the_search_at_once(tmp_path: Path) -> None:
    @contextmanager
    def engine_gone(settings: Settings) -> Iterator[Ask]:
        raise RuntimeError("the engine is gone")
        yield

    with pytest.raises(RuntimeError, match="the engine is gone"):
        run_trials(PLAN, engine_gone, path=tmp_path / "s.db")
    resumed = Library()
    run_trials(limited(PLAN, trials=1), resumed, path=tmp_path / "s.db")
    assert resumed.opened == [DEFAULTS]


def test_unscored_questions_are_left_out_and_counted(tmp_path: Path) -> None:
    report = run_trials(limited(PLAN, trials=1), Library(unscored=[0, 1]), path=tmp_path / "s.db")
    assert (report.best.num_asked, report.best.num_unscored, len(report.best.scores)) == (TOTAL, 2, TOTAL - 2)


def test_settings_that_lose_many_more_answers_than_the_defaults_fail(tmp_path: Path) -> None:
    class Forgetful(Library):
        @contextmanager
        def __call__(self, settings: Settings) -> Iterator[Ask]:
            self.unscored = set(range(10)) if settings["k"] == 4 else set()
            with super().__call__(settings) as ask:
                yield ask

    report = run_trials(SMALL, Forgetful(), path=tmp_path / "s.db")
    lost = [trial for trial in report.trials if trial.settings["k"] == 4]
    assert {trial.outcome for trial in lost} == {"failed"}
    assert "answers could not be scored" in str(lost[0].reason)
    assert report.best.settings["k"] != 4


class Peaked(Library):
    """Best at a rate of 0.7."""

    def num_right(self, settings: Settings) -> int:
        return round(22 * (1 - abs(float(str(settings["rate"])) - 0.7)))


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_continuous_range_is_searched_around_the_users_exact_value(sampler: str, tmp_path: Path) -> None:
    plan = limited(PLAN, trials=8, sampler=sampler)
    plan = replace(plan, space={"rate": Range(0.0, 1.0)}, defaults={"rate": 0.123456})
    report = run_trials(plan, Peaked(), path=tmp_path / "s.db")
    assert report.num_combinations is None
    assert report.defaults.settings == {"rate": 0.123456}
    assert abs(float(str(report.best.settings["rate"])) - 0.7) < 0.25


MIXED = replace(
    limited(PLAN, trials=9, batch=25),
    space={"rate": Range(1e-4, 1.0, log=True), "k": Choices((1, 2, 4)), "prompt": Choices(("a", "b"))},
    defaults={"rate": 0.01, "k": 2, "prompt": "a"},
)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_sweep_that_goes_on_draws_what_it_would_have_drawn_whatever_samples(sampler: str, tmp_path: Path) -> None:
    plan = limited(MIXED, sampler=sampler)
    whole = run_trials(plan, Peaked(), path=tmp_path / "whole.db")
    run_trials(limited(plan, trials=7), Peaked(), path=tmp_path / "stopped.db")
    resumed = run_trials(plan, Peaked(), path=tmp_path / "stopped.db")
    assert described(resumed) == described(whole)
    assert len({tuple(trial.settings.items()) for trial in whole.trials}) == 9
    others = run_trials(replace(plan, seed=1), Peaked(), path=tmp_path / "other.db")
    assert described(others) != described(whole)


@pytest.mark.slow
def test_a_sweep_goes_on_with_another_sampler(tmp_path: Path) -> None:
    first = run_trials(limited(MIXED, trials=7, sampler="tpe"), Peaked(), path=tmp_path / "s.db")
    library = Peaked()
    more = run_trials(limited(MIXED, trials=8, sampler="gp"), library, path=tmp_path / "s.db")
    assert described(more)[:7] == described(first)
    assert len(library.opened) == 1


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_nothing_is_said_while_a_sampler_draws(
    sampler: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    run_trials(limited(MIXED, sampler=sampler), Peaked(), path=tmp_path / "s.db")
    assert capfd.readouterr() == ("", "")
    assert not [warning for warning in recwarn if "optuna" in str(warning.filename)]


def test_the_test_that_ends_trials_early_is_scipys() -> None:
    from scipy.stats import wilcoxon

    draw = random.Random(0)
    for num in (8, 9, 10, 14, 30):
        for differences in (
            [draw.choice((-1.0, 0.0, 1.0)) for _ in range(num)],
            [round(draw.gauss(0, 1), 1) for _ in range(num)],
            [draw.gauss(0, 1) for _ in range(num)],
            [0.0] * (num - 1) + [-1.0],
        ):
            few = [*differences[:6], *([0.0] * (num > 10))]  # what scipy counts out quickly
            for given in (few, differences) if num > 13 else (few,):
                expected = wilcoxon(given, alternative="less", zero_method="zsplit").pvalue
                assert signed_rank_p(given) == pytest.approx(expected)


def test_two_processes_are_not_let_at_one_search(tmp_path: Path) -> None:
    path = tmp_path / "s.db"

    @contextmanager
    def starts_another(settings: Settings) -> Iterator[Ask]:
        run_trials(PLAN, Library(), path=path)
        yield list

    with pytest.raises(EvalError, match="this sweep is run by another process"):
        run_trials(PLAN, starts_another, path=path)


def test_a_damaged_file_is_set_aside_and_the_search_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_text("not a database, but long enough to be taken for one" * 20)
    library = Library()
    run_trials(limited(PLAN, trials=1), library, path=tmp_path / "s.db")
    assert library.opened == [DEFAULTS]
    assert (tmp_path / "s.db.damaged").is_file()


def test_a_trial_that_cannot_be_read_is_measured_again_and_nothing_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    first = run_trials(limited(PLAN, trials=4), Library(), path=path)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE results SET result = 'x' WHERE number = 2")
    for num_measured in (2, 0):
        library = Library()
        assert described(run_trials(limited(PLAN, trials=4), library, path=path)) == described(first)
        assert len(library.opened) == num_measured
    assert not (tmp_path / "s.db.damaged").exists()


def test_a_trial_whose_mean_is_not_below_the_best_ones_goes_on() -> None:
    best = {number: float(number < 40) for number in range(60)}
    of_easy_questions = {number: float(number >= 4) for number in range(20)}
    assert not _is_worse(of_easy_questions, best)
    assert _is_worse({**of_easy_questions, **dict.fromkeys(range(10), 0.0)}, best)


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
@pytest.mark.slow
def test_a_range_that_rises_to_its_end_is_not_tried_there_again_and_again(sampler: Any, tmp_path: Path) -> None:
    @contextmanager
    def rising(settings: Settings) -> Iterator[Ask]:
        right = TOTAL * (3 + math.log10(float(str(settings["rate"])))) / 3
        yield lambda numbers: [float(number < right) for number in numbers]

    space = {"rate": Range(0.001, 1.0, log=True)}
    budget = SweepSettings(trials=16, batch=25, sampler=sampler)
    report = run_trials(
        replace(PLAN, space=space, defaults={"rate": 0.01}, budget=budget), rising, path=tmp_path / "s.db"
    )
    assert len({trial.settings["rate"] for trial in report.trials}) == 16
