"""What an arm costs: measured tokens, seconds and times on one side, the policy's prices and traffic on the other.

costs = price(measure(scorecard, scores), policy)
costs.per_1k, costs.monthly(10_000), costs.amortised_per_1k(10_000, months=12)

Every amount is in the currency of the prices, and None ("unknown") where it needs a number that was not measured at a
price that is not 0. The model, over a horizon of `months` with `questions` a month each:

    total    = fixed + months * (upkeep + questions * question)
    question = prompt tokens * price * (1 - prefix hits) + generated tokens * price + engine seconds * engine price
    fixed    = training + indexing
    upkeep   = churn * indexing, and (churn / retrain_at) * training for an arm without an index of documents

What it assumes:

- The prefix cache's hit share is taken off every prompt token, so that a passage costs tokens * price * (1 - hits).
- An index of documents is brought up to date in proportion to what changed. An adapter beside it learns to read and is
  not trained again. An adapter without it holds the documents in its weights, and goes stale with them.
- Examples that are shown as turns are no documents: they teach form, and do not age with the documents.
- The evaluation is paid once for all arms and already spent, so it is shown (`evaluation_cost`) and added to none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from router.answering.arm import Arm
from router.deciding.policy import Policy
from router.deciding.scorecard import ArmScores, Scorecard
from router.deciding.statistics import mean_known

_TOKENS = 1e6  # token prices are per million
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What one question takes: tokens, and its share of a busy engine's seconds; None where it was not measured."""

    prompt_tokens: float | None
    generated_tokens: float | None
    engine_s: float | None


@dataclass(frozen=True, slots=True)
class Measures:
    """All that prices apply to: an arm's mean usage, and the seconds that its training and indexing took.

    The times are 0 where there is nothing to train or to index.
    """

    arm: Arm
    usage: Usage
    training_s: float | None
    indexing_s: float | None


@dataclass(frozen=True, slots=True)
class ArmCosts:
    """One arm under one policy. `training` and `indexing` are paid once; `retrainings` counts those of a month, and
    `reindexed` is the share of the index that is built again in a month. `missing` names what was not measured.
    """

    arm: str
    question: float | None
    training: float | None
    indexing: float | None
    retrainings: float
    reindexed: float
    missing: tuple[str, ...] = ()

    @property
    def per_1k(self) -> float | None:
        """1,000 questions, without what is paid once or by the month."""
        return _times(1000, self.question)

    @property
    def fixed(self) -> float | None:
        """What is paid before the first question."""
        return _sum(self.training, self.indexing)

    @property
    def upkeep(self) -> float | None:
        """What a month costs without a single question: keeping up with documents that change."""
        return _sum(_times(self.retrainings, self.training), _times(self.reindexed, self.indexing))

    def monthly(self, questions: float) -> float | None:
        """A month with so many questions, without what is paid once."""
        return _sum(self.upkeep, _times(questions, self.question))

    def total(self, questions: float, *, months: float) -> float | None:
        """A horizon of `months` with `questions` in each, everything included."""
        return _sum(self.fixed, _times(months, self.monthly(questions)))

    def amortised_per_1k(self, questions: float, *, months: float) -> float | None:
        """`total` spread over its questions, for 1,000 of them; `questions` and `months` > 0."""
        return _times(1000 / (questions * months), self.total(questions, months=months))


def mean_usage(scores: ArmScores) -> Usage:
    """Means over the questions for which each number is known."""
    return Usage(*map(mean_known, (scores.prompt_tokens, scores.generated_tokens, scores.engine_s)))


def measure(scorecard: Scorecard, scores: ArmScores) -> Measures:
    """One arm's measured numbers, ready to be priced under any policy."""
    arm = scores.arm
    return Measures(
        arm,
        mean_usage(scores),
        training_s=scorecard.training_s.get(arm.adapter) if arm.adapter else 0.0,
        indexing_s=scorecard.indexing_s.get(arm.index) if arm.index else 0.0,
    )


def price(measures: Measures, policy: Policy) -> ArmCosts:
    """One arm's costs under a policy."""
    prices, traffic, usage = policy.prices, policy.traffic, measures.usage
    needed = {
        "prompt tokens": (usage.prompt_tokens, prices.prompt),
        "generated tokens": (usage.generated_tokens, prices.generated),
        "engine seconds": (usage.engine_s, prices.engine_hour),
        f"training time of {measures.arm.adapter}": (measures.training_s, prices.training_hour),
        f"indexing time of {measures.arm.index}": (measures.indexing_s, prices.indexing_hour),
    }
    reads_documents = measures.arm.reads_documents
    is_from_weights = measures.arm.adapter is not None and not reads_documents
    return ArmCosts(
        arm=measures.arm.name,
        question=usage_cost(usage, policy),
        training=_times(prices.training_hour / _HOUR_S, measures.training_s),
        indexing=_times(prices.indexing_hour / _HOUR_S, measures.indexing_s),
        retrainings=traffic.churn / traffic.retrain_at if is_from_weights else 0.0,
        reindexed=traffic.churn if reads_documents else 0.0,
        missing=tuple(name for name, (measured, paid) in needed.items() if measured is None and paid),
    )


def usage_cost(usage: Usage, policy: Policy) -> float | None:
    """What one question of this usage costs, without what is paid once or by the month."""
    prompt, generated, engine = unit_prices(policy)
    return _sum(
        _times(prompt, usage.prompt_tokens),
        _times(generated, usage.generated_tokens),
        _times(engine, usage.engine_s),
    )


def unit_prices(policy: Policy) -> tuple[float, float, float]:
    """What one prompt token, one generated token and one engine second cost, the prefix cache's share taken off."""
    prices = policy.prices
    prompt = prices.prompt * (1 - policy.traffic.prefix_hits)
    return prompt / _TOKENS, prices.generated / _TOKENS, prices.engine_hour / _HOUR_S


def question_costs(scores: ArmScores, policy: Policy) -> tuple[float | None, ...]:
    """The cost of each question, aligned with the scorecard's `question_ids`."""
    engine_s = scores.engine_s or (None,) * len(scores.prompt_tokens)
    rows = zip(scores.prompt_tokens, scores.generated_tokens, engine_s, strict=True)
    return tuple(usage_cost(Usage(*row), policy) for row in rows)


def cost_per_1k(scores: ArmScores, policy: Policy) -> float | None:
    """1,000 questions answered by this arm, without what is paid once or by the month."""
    return _times(1000, usage_cost(mean_usage(scores), policy))


def evaluation_cost(scorecard: Scorecard, policy: Policy) -> float | None:
    """What asking all arms has cost: a mean answer of each arm times its answered questions, without the prefix cache.

    Answers that failed have no measured usage and are left out.
    """
    uncached = replace(policy, traffic=replace(policy.traffic, prefix_hits=0.0))
    return _sum(
        *(
            _times(scores.num_asked - len(scores.errors), usage_cost(mean_usage(scores), uncached))
            for scores in scorecard.arms
        )
    )


def _times(factor: float, amount: float | None) -> float | None:
    """Nothing of an unknown amount is nothing; anything else of it is unknown."""
    if factor == 0:
        return 0.0
    return None if amount is None else factor * amount


def _sum(*amounts: float | None) -> float | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None
