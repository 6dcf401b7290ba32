"""Which arm is served where costs and scores both differ: what the choice loses in score, and what it costs.

    python benchmarks/cost_rank.py [--trials 300] [--seed 0]

Arms with known accuracies and costs are decided by `recommend` itself at its default policy. Served are, of the arms
that it finds within the margin of the leader: the cheapest, by however little ("cheapest"); what the decision serves
("shipped"); the leader ("leader"); and what it serves where a right answer has a value ("by values"): as much as 40
questions of the cheapest arm. Regret is the best accuracy minus the served arm's; the cost is a multiple of the
cheapest arm's; rank 1 is the cheapest of all arms; the loss is the best net value of an answer minus the served arm's,
in questions of the cheapest arm. Printed as a Markdown table.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from router.answering.arm import Arm
from router.deciding.arm_table import ArmTable, make_table
from router.deciding.decision import Decision
from router.deciding.policy import Policy, Utility
from router.deciding.recommend import recommend
from router.deciding.scorecard import ArmScores, Scorecard

VALUE = 40.0  # of a right answer, in questions of the cheapest arm
AGREEMENT = 0.6  # the share of questions whose difficulty all arms share


@dataclass(frozen=True)
class Field:
    """Arms by accuracy and mean prompt tokens; `spread` is the log-sd of the tokens that an answer generates, 100 on
    average.
    """

    name: str
    accuracies: tuple[float, ...]
    tokens: tuple[int, ...]
    spread: float = 0.3

    @property
    def costs(self) -> tuple[float, ...]:
        """The true cost of a question, in prompt tokens' prices."""
        return tuple(tokens + 400.0 for tokens in self.tokens)

    def draw(self, num_questions: int, rng: np.random.Generator) -> Scorecard:
        """One evaluation of all arms."""
        shape = (len(self.accuracies), num_questions)
        common, own = rng.random(num_questions), rng.random(shape)
        latent = np.where(rng.random(num_questions) < AGREEMENT, common, own)
        right = (latent < np.array(self.accuracies)[:, None]).astype(float)
        prompts = np.rint(np.array(self.tokens)[:, None] * np.exp(rng.normal(-0.02, 0.2, num_questions))).astype(int)
        lengths = rng.normal(-(self.spread**2) / 2, self.spread, shape)
        generated = np.rint(100 * np.exp(lengths)).astype(int)
        names = tuple(map(str, range(num_questions)))
        arms = tuple(
            ArmScores(Arm(f"arm{i}"), {"f1": tuple(row)}, (1.0,) * num_questions, tuple(prompt), tuple(answer))
            for i, (row, prompt, answer) in enumerate(
                zip(right.tolist(), prompts.tolist(), generated.tolist(), strict=True)
            )
        )
        return Scorecard(names, names, "f1", arms)


FIELDS = (
    Field("alike in cost (1%)", (0.28, 0.30, 0.31, 0.325), (2001, 2004, 2010, 2020)),
    Field("equal in cost, long answers vary", (0.28, 0.30, 0.31, 0.325), (400, 400, 400, 400), spread=1.0),
    Field("passages or none", (0.55, 0.58, 0.60, 0.59), (200, 2000, 2020, 2050)),
    Field("dearer is better", (0.50, 0.52, 0.54, 0.56, 0.58, 0.60), (200, 400, 800, 1200, 1600, 2400)),
    Field("all equally good", (0.50,) * 6, (200, 400, 800, 1200, 1600, 2400)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    cost_rank(given.trials, given.seed)


def cost_rank(trials: int, seed: int) -> None:
    """Print the table."""
    print(f"{trials} trials a row\n")
    print("| arms | questions | served | regret | cost | cost rank | loss |")
    print("|---|---|---|---|---|---|---|")
    for field in FIELDS:
        for num_questions in (80, 400):
            rng = np.random.default_rng(seed)
            served: dict[str, list[int]] = {}
            for _ in range(trials):
                card = field.draw(num_questions, rng)
                table = make_table(card, Policy())
                right = VALUE * min(field.costs) * Policy().prices.prompt / 1e6
                valued = recommend(make_table(card, Policy(utility=Utility(right=right, wrong=0.0))))
                for rule, arm in (*_served(table, recommend(table)), ("by values", valued.arm)):
                    served.setdefault(rule, []).append(int(arm.removeprefix("arm")))
            accuracies, costs = np.array(field.accuracies), np.array(field.costs)
            ranks = costs.argsort(kind="stable").argsort() + 1
            for rule, arms in served.items():
                regret = accuracies.max() - accuracies[arms].mean()
                cost, rank = costs[arms].mean() / costs.min(), ranks[arms].mean()
                net = VALUE * accuracies - costs / costs.min()
                numbers = (f"{regret:.4f}", f"{cost:.2f}", f"{rank:.1f}", f"{net.max() - net[arms].mean():.2f}")
                print(f"| {' | '.join((field.name, str(num_questions), rule, *numbers))} |", flush=True)


def _served(table: ArmTable, decision: Decision) -> Iterator[tuple[str, str]]:
    compared = {c.other for c in decision.comparisons}
    leader = next(row for row in table.rows if row.name not in compared)
    near = [
        table.row(c.other)
        for c in decision.comparisons
        if c.standing != "beaten" and c.difference is not None and c.difference.mean <= table.margin
    ]
    yield "cheapest", min([leader, *near], key=lambda row: row.price).name
    yield "shipped", decision.arm
    yield "leader", leader.name


if __name__ == "__main__":
    main()
