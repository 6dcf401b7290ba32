"""Arms with known means, and what a race and a fixed grid say of them: `recommend` itself, under the settings that
ship.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import binom
from simulated_runs import Sample, race
from simulated_scores import Kind, Population, Scores
from trials import Case, Found, Tallies, run_cases

from eval.settings import RaceSettings
from router.deciding.decision import Comparison, Decision
from router.deciding.policy import Limits, Policy
from router.errors import RouterError

METHODS = ("race", "grid")
ERRORS = ("false winner", "false tie", "false claim")
ALLOWED = 0.05


@dataclass(frozen=True)
class Grid:
    """Arms with known means that are asked so many questions.

    `extra` adds what must not disturb the decision: "limits", a limit on the 95th percentile of latency 15% above that
    of every arm; "costs", prices that differ by less than they vary; "unscored", a tenth of the scores lost.
    """

    name: str
    means: tuple[float, ...]
    num_questions: int
    kind: Kind = "binary"
    agreement: float = 0.6
    extra: str = ""

    def draw(self, rng: np.random.Generator) -> Sample:
        """One sample."""
        scores, clusters = Population(self.means, self.kind, self.agreement).draw(rng, self.num_questions)
        sample = Sample(scores, clusters)
        if self.extra == "limits":
            return replace(sample, latency_ms=noisy(rng, scores, 1000.0))
        if self.extra == "costs":
            rising = 1 + 0.001 * np.arange(len(scores))[:, None]
            return replace(sample, prompt_tokens=(rising * noisy(rng, scores, 20_000.0, 0.2)).astype(int))
        if self.extra == "unscored":
            lost = rng.random(scores.shape) < 0.1
            return replace(sample, scores=np.where(lost, math.nan, scores))
        return sample

    @property
    def policy(self) -> Policy:
        """The default one, with the limit where there is one."""
        return Policy(limits=Limits(p95_ms=1.15 * p95(1000.0))) if self.extra == "limits" else Policy()

    def judge(self, decision: Decision) -> dict[str, float]:
        """What a decision is worth, given the truth."""
        best, served = max(self.means), self.means[int(decision.arm)]
        regret = best - served
        is_true_winner = regret == 0 and self.means.count(best) == 1
        return {
            "decided": decision.verdict != "undecided",
            "undecided": decision.verdict == "undecided",
            "false winner": decision.verdict == "winner" and not is_true_winner,
            "false tie": decision.verdict != "undecided" and regret >= self.policy.margin - 1e-9,
            "false claim": any(self._is_false(decision, comparison) for comparison in decision.comparisons),
            "regret": regret,
        }

    def _is_false(self, decision: Decision, comparison: Comparison) -> bool:
        """Whether the leader is said to be significantly better than an arm that is as good in truth."""
        leader = decision.trade.leader if decision.trade else decision.arm
        better, worse = (self.means[int(arm)] for arm in (leader, comparison.other))
        return comparison.standing == "beaten" and comparison.is_significant and better <= worse

    def trial(self, rng: np.random.Generator) -> Found:
        """One sample, raced and as a whole."""
        sample, found = self.draw(rng), dict[str, float | None]()
        for method in METHODS:
            try:
                if method == "race":
                    raced = race(sample, self.policy, RaceSettings())
                    decision, share = raced.decision, raced.share
                else:
                    decision, share = sample.decide(self.policy), 1.0
            except RouterError:
                found |= {f"{method}: raised": 1.0}
                continue
            values = {**self.judge(decision), "answers": share, "raised": 0.0}
            found |= {f"{method}: {key}": float(value) for key, value in values.items()}
        return found


def noisy(rng: np.random.Generator, like: Scores, median: float, sigma: float = 0.5) -> Scores:
    """Positive numbers with a long tail."""
    return median * np.exp(sigma * rng.standard_normal(like.shape))


def p95(median: float, sigma: float = 0.5) -> float:
    """The 95th percentile of `noisy`."""
    return median * math.exp(1.6449 * sigma)


CLEAR = (0.10, 0.20, 0.30, 0.35, 0.45, 0.75)
NAMED = (
    Grid("clear", CLEAR, 400),
    Grid("clear, 100", CLEAR, 100),
    Grid("close", (0.30, 0.40, 0.45, 0.50, 0.52, 0.60), 400),
    Grid("two tied on top", (0.10, 0.20, 0.30, 0.40, 0.60, 0.60), 2000),
    Grid("all tied", (0.50,) * 6, 2000),
)
# What the named grids must reach with the answers of a race: decided at least, answers at most.
BARS = {"clear": (0.0, 0.15), "clear, 100": (0.0, 0.30), "close": (0.80, 0.50)}


def _stressed() -> tuple[Grid, ...]:
    """Two truths for every number of arms and kind of score: two best arms of one mean, in which no winner is true, and
    one dear best arm with all others cheaper and exactly the margin below, in which no tie is.
    """
    grids = []
    for num_arms in (2, 3, 6, 10):
        rest = num_arms - 2
        for kind in ("binary", "graded", "clustered", "skewed"):
            top, low, agreement = (0.05, 0.02, 0.6) if kind == "skewed" else (0.6, 0.45, 0.6)
            agreement = 0.3 if kind == "clustered" else agreement
            tied = (low,) * rest + (top, top)
            apart = (top,) * (num_arms - 1) + (top + 0.05,)
            extras = ("", "limits", "costs", "unscored") if kind == "binary" else ("",)
            for extra in extras:
                label = f"{num_arms} arms, {kind}{extra and f', {extra}'}"
                grids.append(Grid(f"{label}: two tied", tied, 400, kind, agreement, extra))
                grids.append(Grid(f"{label}: margin apart", apart, 400, kind, agreement, extra))
    return tuple(grids)


GRIDS = (*NAMED, *_stressed())


def simulate(trials: int, seed: int, *, only: str = "", path: Path | None = None, processes: int = 2) -> None:
    """Print a line a grid and method, then what is above its bar, then the worst."""
    grids = [grid for grid in GRIDS if only in grid.name]
    # Samples of 2,000 questions take a dozen times as long.
    cases = [Case(grid.name, partial(_trial, grid)) for grid in grids]
    found = run_cases(cases, trials=trials, seed=seed, path=path, processes=processes)
    print(f"{trials:,} trials a grid, default policy and race settings; false: at most {ALLOWED:.0%}\n")
    head = ("grid", "questions", "method", "decided", *ERRORS, "undecided", "regret", "answers")
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for grid in grids:
        for method in METHODS:
            print(_line(grid, method, found[grid.name]), flush=True)
    over = [said for grid in grids for said in _over(grid, found[grid.name])]
    print("\nAbove a bar: " + ("none" if not over else "") + "".join(f"\n- {said}" for said in over))
    worst = max(
        (found[grid.name][f"{method}: {error}"].mean, grid.name, method, error)
        for grid in grids
        for method in METHODS
        for error in ERRORS
        if f"{method}: {error}" in found[grid.name]
    )
    print(f"\nWorst: {worst[0]:.1%} {worst[3]} of the {worst[2]} in {worst[1]!r}")


def _trial(grid: Grid, rng: np.random.Generator) -> Found:
    return grid.trial(rng)


def _line(grid: Grid, method: str, found: Tallies) -> str:
    def mean(key: str, form: str) -> str:
        tally = found.get(f"{method}: {key}")
        return format(tally.mean, form) if tally else "-"

    cells = [grid.name, f"{grid.num_questions:,}", method, mean("decided", ".0%"), mean("false winner", ".1%")]
    cells += [mean("false tie", ".1%"), mean("false claim", ".1%"), mean("undecided", ".0%")]
    cells += [mean("regret", ".4f"), mean("answers", ".0%")]
    raised = found[f"{method}: raised"].mean
    return "| " + " | ".join(cells) + " |" + (f" raised: {raised:.1%}" if raised else "")


def _over(grid: Grid, found: Tallies) -> list[str]:
    said = []
    for method in METHODS:
        for error in ERRORS:
            tally = found.get(f"{method}: {error}")
            if tally and tally.mean > ALLOWED:
                chance = float(binom.sf(tally.total - 1, tally.count, ALLOWED))
                said.append(
                    f"{grid.name}, {method}: {tally.mean:.1%} {error} of {tally.count:,} (as many or more by chance at "
                    f"{ALLOWED:.0%}: {chance:.2g})"
                )
        if found[f"{method}: raised"].mean > 0:
            said.append(f"{grid.name}, {method}: {found[f'{method}: raised'].mean:.1%} raised an error")
    if grid.name in BARS:
        decided, answers = BARS[grid.name]
        if found["race: decided"].mean < decided:
            said.append(f"{grid.name}, race: {found['race: decided'].mean:.0%} decided, not {decided:.0%}")
        if found["race: answers"].mean > answers:
            said.append(f"{grid.name}, race: {found['race: answers'].mean:.1%} of the answers, not {answers:.0%}")
    return said
