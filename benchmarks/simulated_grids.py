"""Arms with known accuracies, and what a race, peeking, a fixed sample and argmax say of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm

from eval.answers import AnswerRecord, Asked
from eval.questions import Question
from eval.race import Look, plan_race, run_race
from eval.settings import RaceSettings
from router.answering.arm import Arm
from router.deciding.evidence import rule
from router.deciding.statistics import holm

ALPHA = 0.05
MARGIN = 0.05
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Arms with known accuracies. `agreement` is the share of questions whose difficulty all arms share, which sets how
    often two arms of equal accuracy disagree.
    """

    name: str
    accuracies: tuple[float, ...]
    num_questions: int
    agreement: float = 0.6

    def draw(self, rng: np.random.Generator) -> Scores:
        """(arms, questions) of 0 and 1."""
        common = rng.random(self.num_questions)
        own = rng.random((len(self.accuracies), self.num_questions))
        latent = np.where(rng.random(self.num_questions) < self.agreement, common, own)
        return (latent < np.array(self.accuracies)[:, None]).astype(np.float64)

    @property
    def best(self) -> set[int]:
        """The arms of the highest accuracy."""
        return {i for i, p in enumerate(self.accuracies) if p == max(self.accuracies)}


GRIDS = (
    Grid("clear", (0.10, 0.20, 0.30, 0.35, 0.45, 0.75), 400),
    Grid("close", (0.30, 0.40, 0.45, 0.50, 0.52, 0.60), 400),
    Grid("two tied on top", (0.10, 0.20, 0.30, 0.40, 0.60, 0.60), 2000),
    Grid("all tied", (0.50,) * 6, 2000),
)


@dataclass(frozen=True)
class Claim:
    """What a method said: the arm it would serve, its verdict, and the share of the full grid that it spent."""

    arm: int
    verdict: str
    spent: float


class Race:
    """`eval.race.run_race` over known scores: what `arbiter run --race` does, with costs that rise with the arm's
    number.
    """

    def __init__(self, num_questions: int, batch: int) -> None:
        questions = [Question(str(i), "", ("",)) for i in range(num_questions)]
        self._plan = plan_race(questions, RaceSettings(batch=batch, held_out=0.0))
        self._order = [int(q.id) for batch in self._plan.batches for q in batch]
        self._answer = AnswerRecord("", "", "")

    def __call__(self, scores: Scores) -> Claim:
        num_arms = len(scores)
        names = [str(i) for i in range(num_arms)]
        asked = dict.fromkeys(names, 0)
        columns = {name: scores[int(name), self._order].tolist() for name in names}

        def ask(arms: Sequence[Arm], questions: Sequence[Question]) -> list[AnswerRecord]:
            for arm in arms:
                asked[arm.name] += len(questions)
            return [self._answer] * (len(arms) * len(questions))

        def look(seen: Asked, active: Sequence[str]) -> Look:
            spent = len(seen.questions)
            ruling = rule(
                {name: [*columns[name][: asked[name]], *[None] * (spent - asked[name])] for name in names},
                [q.cluster for q in seen.questions],
                active=active,
                costs={name: float(name) for name in names},
                margin=MARGIN,
                alpha=ALPHA,
                largest=1,
            )
            means = {name: float(np.mean(columns[name][:spent])) for name in active}
            return Look(ruling, tuple(sorted(active, key=lambda name: -means[name])), 0.0)

        record = run_race([Arm(name) for name in names], self._plan, ask, look).race
        assert record is not None
        left = [name for name in names if name not in {drop.arm for drop in record.drops}]
        verdicts = {"one arm left": "winner", "within the margin": "tie", "questions spent": "undecided"}
        means = {name: float(np.mean(columns[name][: record.num_raced])) for name in left}
        # What router/deciding/recommend.py serves: the cheapest arm within the margin of the leader.
        near = [name for name in left if means[name] >= max(means.values()) - MARGIN]
        return Claim(int(min(near, key=float)), verdicts[record.stopped], record.num_answers / scores.size)


def _p(a: Scores, b: Scores) -> float:
    wins, losses = int((a > b).sum()), int((a < b).sum())
    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def peeking(scores: Scores, every: int = 25) -> Claim:
    """McNemar of the leader against the second after every batch, stopping at the first p below 0.05."""
    total = scores.shape[1]
    for end in [*range(every, total, every), total]:
        seen = scores[:, :end]
        second, first = np.argsort(seen.mean(axis=1), kind="stable")[-2:]
        if _p(seen[first], seen[second]) < ALPHA:
            return Claim(int(first), "winner", end / total)
    return Claim(int(first), "undecided", 1.0)


def fixed_n(scores: Scores) -> Claim:
    """All questions, then exact McNemar of the leader against every other arm with Holm's correction, and TOST."""
    order = np.argsort(scores.mean(axis=1), kind="stable")[::-1]
    leader, others = scores[order[0]], [scores[other] for other in order[1:]]
    beaten = [p < ALPHA for p in holm([_p(leader, other) for other in others])]
    equivalent = [_is_equivalent(leader - other) for other in others]
    if all(beaten):
        return Claim(int(order[0]), "winner", 1.0)
    near = [
        int(order[0]),
        *(
            int(i)
            for i, b, o in zip(order[1:], beaten, others, strict=True)
            if not b and leader.mean() - o.mean() <= MARGIN
        ),
    ]
    settled = all(b or e for b, e in zip(beaten, equivalent, strict=True))
    return Claim(min(near), "tie" if settled else "undecided", 1.0)


def _is_equivalent(differences: Scores) -> bool:
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    return bool(abs(differences.mean()) + norm.ppf(1 - ALPHA) * error < MARGIN)


def argmax(scores: Scores) -> Claim:
    """All questions, then the highest mean wins."""
    return Claim(int(scores.mean(axis=1).argmax()), "winner", 1.0)


def simulate(trials: int, seed: int) -> None:
    print(f"{trials} trials a grid, six arms, error rate {ALPHA}, margin {MARGIN}, batches of 20 (50 from 1,000 on)\n")
    print("| grid | questions | method | false winners | winner | tie | undecided | regret | answers used |")
    print("|---|---|---|---|---|---|---|---|---|")
    for grid in GRIDS:
        methods: dict[str, Callable[[Scores], Claim]] = {
            "race": Race(grid.num_questions, batch=20 if grid.num_questions < 1000 else 50),
            "peeking every 25": peeking,
            "fixed n, Holm": fixed_n,
            "argmax": argmax,
        }
        with ProcessPoolExecutor(2) as pool:
            parts = [pool.submit(_trials, grid, methods, trials // 2, seed + part) for part in range(2)]
            claims = {name: [c for part in parts for c in part.result()[name]] for name in methods}
        for name, made in claims.items():
            unique = len(grid.best) == 1
            false = [c for c in made if c.verdict == "winner" and not (unique and c.arm in grid.best)]
            shares = [sum(c.verdict == verdict for c in made) / len(made) for verdict in ("winner", "tie", "undecided")]
            regret = np.mean([max(grid.accuracies) - grid.accuracies[c.arm] for c in made])
            print(
                f"| {grid.name} | {grid.num_questions:,} | {name} | {len(false) / len(made):.1%} | "
                + " | ".join(f"{share:.0%}" for share in shares)
                + f" | {regret:.4f} | {np.mean([c.spent for c in made]):.0%} |",
                flush=True,
            )


def _trials(
    grid: Grid, methods: dict[str, Callable[[Scores], Claim]], trials: int, seed: int
) -> dict[str, list[Claim]]:
    rng = np.random.default_rng(seed)
    claims: dict[str, list[Claim]] = {name: [] for name in methods}
    for _ in range(trials):
        scores = grid.draw(rng)
        for name, method in methods.items():
            claims[name].append(method(scores))
    return claims
