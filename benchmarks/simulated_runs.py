"""Made-up answers as a scorecard, and what the project itself decides by it: a fixed grid, or a race as a run makes it.

sample = Sample(scores, clusters)
decision = sample.decide(Policy())                       # every arm is asked everything
raced = race(sample, Policy(), RaceSettings())           # raced.decision, raced.share
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simulated_scores import Scores

from eval.answers import AnswerRecord, Asked
from eval.questions import Question
from eval.race import Look, plan_race, run_race
from eval.settings import RaceSettings
from router.answering.arm import Arm
from router.deciding.arm_table import make_table
from router.deciding.decision import Decision
from router.deciding.policy import Policy
from router.deciding.racing import look
from router.deciding.recommend import recommend
from router.deciding.scorecard import ArmScores, RaceRecord, Scorecard

METRIC = "accuracy"
_PROMPT_TOKENS, _GENERATED_TOKENS, _LATENCY_MS = 200, 20, 100.0


@dataclass(frozen=True)
class Sample:
    """What every arm would answer to every question, (arms, questions) each; a NaN in `scores` is unscored.

    By default an arm takes more tokens and time the later it stands, so that the last is the dearest.
    """

    scores: Scores
    clusters: tuple[str, ...]
    prompt_tokens: NDArray[np.int64] | None = None
    latency_ms: Scores | None = None
    arms: tuple[Arm, ...] = ()
    rest: Mapping[str, object] = field(default_factory=dict)
    """Further fields of the scorecard."""

    def __post_init__(self) -> None:
        num_arms, num_questions = self.scores.shape
        rising = np.arange(1, num_arms + 1)[:, None] * np.ones(num_questions)
        if self.prompt_tokens is None:
            object.__setattr__(self, "prompt_tokens", (_PROMPT_TOKENS * rising).astype(int))
        if self.latency_ms is None:
            object.__setattr__(self, "latency_ms", _LATENCY_MS * rising)
        if not self.arms:
            object.__setattr__(self, "arms", tuple(Arm(str(i)) for i in range(num_arms)))

    @property
    def questions(self) -> tuple[Question, ...]:
        """The questions, by their places."""
        return tuple(Question(str(i), "", ("",), (name,)) for i, name in enumerate(self.clusters))

    def first(self, num_questions: int) -> Sample:
        """The first so many questions."""
        assert self.prompt_tokens is not None
        assert self.latency_ms is not None
        return Sample(
            self.scores[:, :num_questions],
            self.clusters[:num_questions],
            self.prompt_tokens[:, :num_questions],
            self.latency_ms[:, :num_questions],
            self.arms,
            self.rest,
        )

    def card(
        self,
        places: Sequence[int] | None = None,
        asked: NDArray[np.bool_] | None = None,
        race: RaceRecord | None = None,
    ) -> Scorecard:
        """The scorecard of the questions at `places`, of which each arm was asked those where its row of `asked` is
        true.
        """
        assert self.prompt_tokens is not None
        assert self.latency_ms is not None
        spent = np.arange(self.scores.shape[1]) if places is None else np.asarray(places, dtype=int)
        known = np.ones((len(self.arms), len(spent)), dtype=bool) if asked is None else asked[:, spent]
        ids = tuple(map(str, spent.tolist()))
        arms = []
        for row, arm in enumerate(self.arms):
            is_asked, scores = known[row], self.scores[row, spent]
            arms.append(
                ArmScores(
                    arm,
                    {METRIC: _where(is_asked & ~np.isnan(scores), scores)},
                    latency_ms=_where(is_asked, self.latency_ms[row, spent]),
                    prompt_tokens=_where(is_asked, self.prompt_tokens[row, spent]),
                    generated_tokens=_where(is_asked, np.full(len(spent), _GENERATED_TOKENS)),
                    not_asked=tuple(ids[i] for i in np.flatnonzero(~is_asked).tolist()),
                )
            )
        clusters = tuple(self.clusters[i] for i in spent.tolist())
        return Scorecard(ids, clusters, METRIC, tuple(arms), race=race, **self.rest)  # type: ignore[arg-type]  # what a Scorecard takes

    def decide(self, policy: Policy) -> Decision:
        """Every arm was asked everything."""
        return recommend(make_table(self.card(), policy))


@dataclass(frozen=True)
class Raced:
    """The scorecard that a race ended with, and the share of the full grid's answers that it took."""

    card: Scorecard
    policy: Policy
    share: float

    @property
    def decision(self) -> Decision:
        """Raises RouterError where no arm may be served."""
        return recommend(make_table(self.card, self.policy))


def race(sample: Sample, policy: Policy, settings: RaceSettings) -> Raced:
    """What a run with `race` in its config does, from the plan to the decision. Raises what a look raises."""
    clusters = {str(place): cluster for place, cluster in enumerate(sample.clusters)}
    plan = plan_race(sample.questions, settings, clusters)
    asked = np.zeros(sample.scores.shape, dtype=bool)
    row_of = {arm.name: row for row, arm in enumerate(sample.arms)}
    tokens = sample.prompt_tokens
    assert tokens is not None

    def ask(arms: Sequence[Arm], questions: Sequence[Question]) -> list[AnswerRecord]:
        places = [int(question.id) for question in questions]
        for arm in arms:
            asked[row_of[arm.name], places] = True
        return [
            AnswerRecord(arm.name, str(place), "", prompt_tokens=int(tokens[row_of[arm.name], place]))
            for arm in arms
            for place in places
        ]

    def look_at(spent: Asked, active: Sequence[str]) -> Look:
        table = make_table(sample.card([int(q.id) for q in spent.questions], asked, spent.race), policy)
        return Look(look(table, active, ends=plan.ends), 0.0)

    raced = run_race(sample.arms, plan, ask, look_at)
    card = sample.card([int(q.id) for q in raced.questions], asked, raced.race)
    return Raced(card, policy, float(asked.sum()) / asked.size)


def _where(is_known: NDArray[np.bool_], values: NDArray[Any]) -> tuple[Any, ...]:
    found = values.tolist()
    for place in np.flatnonzero(~is_known).tolist():
        found[place] = None
    return tuple(found)
