"""How the questions of a run are spent on its arms: every arm all of them, or as many as a race needs.

asked = Spending(asker, console, first_token_probes=3).ask_all(arms, questions)
asked = Spending(asker, console, first_token_probes=3).race(arms, plan, policy, score)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from arbiter.asking import Asker
from arbiter.console import Console, Step
from eval.answers import AnswerRecord, Asked
from eval.questions import Question
from eval.race import Look, RacePlan, run_race
from router.answering.arm import Arm
from router.deciding.arm_table import make_table
from router.deciding.policy import Policy
from router.deciding.race import Drop
from router.deciding.recommend import look
from router.deciding.scorecard import Scorecard
from storage.errors import ArbiterError


@dataclass(frozen=True, slots=True)
class Spending:
    """Asks through one asker and shows how many answers are there."""

    asker: Asker
    console: Console
    first_token_probes: int
    """So many answers an arm are streamed first for the time to their first token."""

    def ask_all(self, arms: list[Arm], questions: tuple[Question, ...]) -> Asked:
        """Every arm's answer to every question; the engine starts for the first one that is not known."""
        num_answers = len(arms) * len(questions)
        if self.asker.knows(arms, questions):
            self.console.say(f"all {num_answers} answers are known: nothing to generate")
            return Asked(questions, tuple(self.asker.ask(arms, questions)), self._first_tokens(arms, questions))
        self.asker.start()
        first_tokens_ms = self._first_tokens(arms, questions)
        with self.console.step(f"asking {len(arms)} arms {len(questions)} questions") as step:
            records = self.asker.ask(arms, questions, _Counter(step, num_answers))
        return Asked(questions, tuple(records), first_tokens_ms)

    def race(self, arms: list[Arm], plan: RacePlan, policy: Policy, score: Callable[[Asked], Scorecard]) -> Asked:
        """The answers of a race; `score` gives what it decides by. Raises ArbiterError for a cost cap without costs."""
        if not self.asker.knows(arms, plan.batches[0]):
            self.asker.start()
        first_tokens_ms = self._first_tokens(arms, plan.batches[0])
        with self.console.step(f"racing {len(arms)} arms over {plan.num_questions} questions") as step:
            counted = _Counter(step, len(arms) * plan.num_questions)

            def ask(some: Sequence[Arm], questions: Sequence[Question]) -> list[AnswerRecord]:
                return self.asker.ask(some, questions, counted)

            def look_at(asked: Asked, active: Sequence[str]) -> Look:
                table = make_table(score(asked), policy)
                ruling, ranking = look(table, active, largest=plan.largest)
                costs = [(row.scores.num_asked, row.costs.per_1k) for row in table.rows]
                if plan.settings.max_cost is not None and any(num and cost is None for num, cost in costs):
                    raise ArbiterError("race.max_cost needs every cost; set the prices of what is not measured to 0")
                return Look(ruling, ranking, sum(num * (cost or 0.0) / 1000 for num, cost in costs))

            def tell(num_spent: int, _active: Sequence[str], drops: Sequence[Drop]) -> None:
                for drop in drops:
                    self.console.say(f"  after {num_spent} questions {drop.arm} is out: {drop.beaten_by} is better")

            raced = run_race(arms, plan, ask, look_at, on_look=tell)
        assert raced.race is not None
        self.console.say(f"  {raced.race.summary}")
        return replace(raced, first_tokens_ms=first_tokens_ms)

    def _first_tokens(self, arms: list[Arm], questions: Sequence[Question]) -> dict[tuple[str, str], float]:
        return self.asker.time_first_tokens(arms, questions[: self.first_token_probes])


class _Counter:
    """Shows how many answers are there."""

    def __init__(self, step: Step, total: int) -> None:
        self._step, self._total, self._done = step, total, 0

    def __call__(self, record: AnswerRecord, _was_cached: bool) -> None:
        self._done += 1
        self._step.update(self._done, self._total, record.arm)
