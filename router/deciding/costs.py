"""What an arm costs: measured tokens, seconds and times on one side, the policy's prices and traffic on the other; and
from how many questions on one arm is cheaper than another.

costs = price(measure(scorecard, scores), policy)
costs.per_1k, costs.monthly(10_000), costs.amortised_per_1k(10_000, months=12)
break_even(costs, others, policy).text  # "from 120,000 questions (10,000 a month)"

Every amount is in the currency of the prices, and None ("unknown") where it needs a number that was not measured at a
price that is not 0. The model, over a horizon of `months` with `questions` a month each:

    total    = fixed + months * (upkeep + questions * question)
    question = (prompt - cached) tokens * price + cached tokens * their price + generated tokens * price
               + engine seconds * price + seconds of search and reranking * price
    fixed    = training + indexing
    upkeep   = hosting of engine, adapter and index, churn * indexing, and (churn / retrain_at) * training for an arm
               without an index of documents

What it assumes:

- An arm's share of cached tokens is as the engine reported it in the evaluation: what its own questions have in common,
  which is less of a prompt with passages. It holds for every prompt token of the arm. An engine that reports nothing,
  or `traffic.prefix_hits`, gives all arms one share.
- An index of documents is brought up to date in proportion to what changed. An adapter beside it learns to read and is
  not trained again. An adapter without it holds the documents in its weights, and goes stale with them.
- A mixture of agents needs what its proposers need, each adapter and index once, and keeps up with the documents as
  they do.
- Examples that are shown as turns are no documents: they teach form, and do not age with the documents.
- The evaluation is paid once for all arms and already spent, so it is shown (`evaluation_cost`) and added to none.

For a trained arm against one that reads documents the break-even is the rule of thumb

    questions = (training + evaluation) / (uncached context tokens * price + retrieval - adapter overhead)

with the evaluation in it or not, and with the upkeep of both arms under churn.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from router.answering.arm import Arm
from router.deciding.policy import Policy
from router.deciding.scorecard import ArmScores, Scorecard
from router.deciding.statistics import Floats, mean_known

_TOKENS = 1e6  # token prices are per million
_HOUR_S = 3600.0

Outcome = Literal["at once", "from", "until", "never", "equal", "unknown"]
_PLAIN = {"equal": "never: both cost the same", "unknown": "unknown: a cost was not measured"}


class Usage(NamedTuple):
    """What one question takes: tokens, and its shares of the seconds of a busy engine and a busy search; None where it
    was not measured. `cached_tokens` are among the prompt's, and none where nobody says.
    """

    prompt_tokens: float | None
    generated_tokens: float | None
    engine_s: float | None
    retrieval_s: float | None = 0.0
    cached_tokens: float | None = None


@dataclass(frozen=True, slots=True)
class Measures:
    """All that prices apply to: an arm's mean usage, and the seconds that its training and indexing took.

    The times are 0 where there is nothing to train or to index. `retrained` is the share of the training seconds that
    went into adapters which hold documents in their weights, `reindexed` that of the indexing seconds of documents.
    `prefill_s` is the scorecard's.
    """

    arm: Arm
    usage: Usage
    training_s: float | None
    indexing_s: float | None
    prefill_s: float | None = None
    retrained: float = 0.0
    reindexed: float = 0.0


@dataclass(frozen=True, slots=True)
class ArmCosts:
    """One arm under one policy. `training` and `indexing` are paid once; `retrainings` counts those of a month,
    `reindexed` is the share of the index that is built again in a month, and `hosting` is paid by the month. `missing`
    names what was not measured.
    """

    arm: str
    question: float | None
    training: float | None
    indexing: float | None
    retrainings: float
    reindexed: float
    hosting: float = 0.0
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
        """What a month costs without a single question: hosting, and keeping up with documents that change."""
        again = _times(self.retrainings, self.training), _times(self.reindexed, self.indexing)
        return _sum(self.hosting, *again)

    def monthly(self, questions: float) -> float | None:
        """A month with so many questions, without what is paid once."""
        return _sum(self.upkeep, _times(questions, self.question))

    def total(self, questions: float, *, months: float) -> float | None:
        """A horizon of `months` with `questions` in each, everything included."""
        return _sum(self.fixed, _times(months, self.monthly(questions)))

    def fixed_part(self, questions: float, *, months: float) -> float | None:
        """One question's part of what is paid once or by the month, at so many questions a month; both > 0."""
        return _times(1 / (questions * months), self.total(0, months=months))

    def amortised_per_1k(self, questions: float, *, months: float) -> float | None:
        """`total` spread over its questions, for 1,000 of them; `questions` and `months` > 0."""
        return _times(1000 / (questions * months), self.total(questions, months=months))


def mean_usage(scores: ArmScores) -> Usage:
    """Means over the questions for which each number is known."""
    means = [mean_known(column) for column in usage_rows(scores).T]
    if np.isnan(scores.measured("cached_tokens")).all():
        means[-1] = None
    return Usage(*means)


def measure(scorecard: Scorecard, scores: ArmScores) -> Measures:
    """One arm's measured numbers, ready to be priced under any policy."""
    arm = scores.arm
    members = arm.members
    from_weights = {one.adapter for one in members if not one.reads_documents}
    documents = {one.index for one in members if one.reads_documents}
    training_s = {name: scorecard.training_s.get(name) for name in arm.adapters}
    indexing_s = {name: scorecard.indexing_s.get(name) for name in arm.indexes}
    return Measures(
        arm,
        mean_usage(scores),
        training_s=_sum(0.0, *training_s.values()),
        indexing_s=_sum(0.0, *indexing_s.values()),
        prefill_s=scorecard.prefill_s,
        retrained=_share(training_s, from_weights),
        reindexed=_share(indexing_s, documents),
    )


def price(measures: Measures, policy: Policy) -> ArmCosts:
    """One arm's costs under a policy."""
    prices, traffic, usage = policy.prices, policy.traffic, measures.usage
    needed = {
        "prompt tokens": (usage.prompt_tokens, prices.prompt),
        "generated tokens": (usage.generated_tokens, prices.generated),
        "engine seconds": (usage.engine_s, prices.engine_hour),
        "retrieval seconds": (usage.retrieval_s, prices.retrieval_hour),
        f"training time of {', '.join(measures.arm.adapters)}": (measures.training_s, prices.training_hour),
        f"indexing time of {', '.join(measures.arm.indexes)}": (measures.indexing_s, prices.indexing_hour),
    }
    return ArmCosts(
        arm=measures.arm.name,
        question=usage_cost(usage, policy, measures.prefill_s),
        training=_times(prices.training_hour / _HOUR_S, measures.training_s),
        indexing=_times(prices.indexing_hour / _HOUR_S, measures.indexing_s),
        retrainings=measures.retrained * traffic.churn / traffic.retrain_at,
        reindexed=measures.reindexed * traffic.churn,
        hosting=prices.engine_month
        + prices.adapter_month * len(measures.arm.adapters)
        + prices.index_month * len(measures.arm.indexes),
        missing=tuple(name for name, (measured, paid) in needed.items() if measured is None and paid),
    )


def unit_prices(policy: Policy, prefill_s: float | None) -> tuple[float, ...]:
    """What one of each part of a `Usage` costs, in its order."""
    prices, hits = policy.prices, policy.traffic.prefix_hits
    engine_s, retrieval_s = prices.engine_hour / _HOUR_S, prices.retrieval_hour / _HOUR_S
    off = (prices.cached - prices.prompt) / _TOKENS
    if hits is None:
        prompt, cached = prices.prompt / _TOKENS, off
    else:
        # The engine was as busy as it was with the hits that it had: those are given back, and these taken off.
        cached = engine_s * (prefill_s or 0.0)
        prompt = prices.prompt / _TOKENS + hits * (off - cached)
    return prompt, prices.generated / _TOKENS, engine_s, retrieval_s, cached


def usage_cost(usage: Usage, policy: Policy, prefill_s: float | None = None) -> float | None:
    """What one question of this usage costs, without what is paid once or by the month."""
    known = usage._replace(cached_tokens=usage.cached_tokens or 0.0)
    return _sum(*map(_times, unit_prices(policy, prefill_s), known))


def question_costs(scores: ArmScores, policy: Policy, prefill_s: float | None = None) -> Floats:
    """The cost of each question >= 0, aligned with the scorecard's `question_ids`; NaN where it is unknown."""
    weights = np.array(unit_prices(policy, prefill_s))
    is_paid = weights != 0
    return np.asarray(np.maximum(usage_rows(scores)[:, is_paid] @ weights[is_paid], 0.0))


def prefill_seconds(arms: Sequence[ArmScores]) -> float | None:
    """Engine seconds of a prompt token that is not cached: least squares over the mean answers of three arms or more,
    on uncached prompt tokens and generated ones. Never more than an arm's engine seconds have room for; None where the
    arms do not tell.
    """
    usages = [usage for usage in map(mean_usage, arms) if None not in usage[:3]]
    tokens = np.array([[(u.prompt_tokens or 0) - (u.cached_tokens or 0), u.generated_tokens] for u in usages])
    engine_s = np.array([usage.engine_s for usage in usages])
    if len(usages) < 3 or np.linalg.matrix_rank(tokens) < 2:
        return None
    prompt_s = float(np.linalg.lstsq(tokens, engine_s, rcond=None)[0][0])
    room_s: list[float] = (engine_s / np.maximum(tokens[:, 0], 1.0)).tolist()
    return max(0.0, min(prompt_s, *room_s))


def usage_rows(scores: ArmScores) -> Floats:
    """(questions, parts of a `Usage`), NaN where a number is not known.

    An arm's share of cached tokens is taken over the answers that tell, and holds for all; without any it is 0.
    """

    def rows() -> Floats:
        columns = np.array([scores.measured(name) for name in Usage._fields])
        if not scores.arm.indexes:
            columns[3] = 0.0
        prompts, cached = columns[0], columns[-1]
        known = ~np.isnan(prompts + cached)
        columns[-1] = prompts * (cached[known].sum() / max(prompts[known].sum(), 1.0))
        return columns.T

    return scores.once("usage", rows)


def evaluation_cost(scorecard: Scorecard, policy: Policy) -> float | None:
    """What asking all arms has cost: a mean answer of each arm times its answered questions, at the prefix cache's hits
    in the evaluation.

    Answers that failed have no measured usage and are left out.
    """
    measured = replace(policy, traffic=replace(policy.traffic, prefix_hits=None))
    answered = [(scores.num_asked - len(scores.errors), mean_usage(scores)) for scores in scorecard.arms]
    return _sum(*(_times(num, usage_cost(usage, measured)) for num, usage in answered))


@dataclass(frozen=True, slots=True)
class BreakEven:
    """`arm` is cheaper than `other` between `starts` and `ends` questions in total, over a horizon of `months`.

    `starts` is 0 for "at once", `ends` None for "from there on". Both are None where `arm` is never cheaper; `outcome`
    says why. `after_evaluation` is `starts` for somebody who would have served `other` without measuring: `arm` has to
    earn back the evaluation, too.
    """

    arm: str
    other: str
    outcome: Outcome
    starts: float | None
    ends: float | None
    after_evaluation: float | None
    months: float

    @property
    def questions(self) -> float | None:
        """Questions in total at which the two cost the same; 0 for "at once", None where there is no such number."""
        return self.ends if self.outcome == "until" else self.starts

    @property
    def a_month(self) -> float | None:
        """`questions` spread over the horizon."""
        return None if self.questions is None else self.questions / self.months

    @property
    def text(self) -> str:
        """For a table's cell."""
        if self.questions is None or self.outcome == "at once":
            return _PLAIN.get(self.outcome, self.outcome)
        return f"{self.outcome} {max(self.questions, 1):,.0f} questions ({max(self.a_month or 0, 1):,.0f} a month)"


def break_even(a: ArmCosts, b: ArmCosts, policy: Policy, *, evaluation: float | None = 0.0) -> BreakEven:
    """Where `a` is cheaper than `b` over the policy's horizon, at its prices and churn."""
    months = policy.traffic.months
    own, others = (arm.total(0, months=months) for arm in (a, b))
    if own is None or others is None or a.question is None or b.question is None:
        return BreakEven(a.arm, b.arm, "unknown", None, None, None, months)
    ahead, saving = own - others, b.question - a.question
    outcome, starts, ends = _cheaper(ahead, saving)
    paid = None if evaluation is None else _cheaper(ahead + evaluation, saving)[1]
    return BreakEven(a.arm, b.arm, outcome, starts, ends, paid, months)


def break_even_table(scorecard: Scorecard, policy: Policy, chosen: str) -> tuple[BreakEven, ...]:
    """The chosen arm against each other one, in the order of the scorecard.

    Each pair is measured on the questions that both answered: an answer that is missing on one side must not look like
    a saving. Raises RouterError for an unknown arm.
    """
    spent = evaluation_cost(scorecard, policy)
    found = []
    for scores in scorecard.arms:
        if scores.arm.name != chosen:
            pair = _shared(scorecard, chosen, scores.arm.name)
            own, other = (price(measure(pair, pair.by_name(name)), policy) for name in (chosen, scores.arm.name))
            found.append(break_even(own, other, policy, evaluation=spent))
    return tuple(found)


def _shared(scorecard: Scorecard, *names: str) -> Scorecard:
    latencies = zip(*(scorecard.by_name(name).latency_ms for name in names), strict=True)
    return scorecard.part([row for row, both in enumerate(latencies) if None not in both])


def _cheaper(ahead: float, saving: float) -> tuple[Outcome, float | None, float | None]:
    """Where ahead - questions * saving < 0: `ahead` is what has to be earned back, `saving` what a question earns."""
    if saving > 0:
        return ("from", ahead / saving, None) if ahead > 0 else ("at once", 0.0, None)
    if ahead < 0:
        return ("until", 0.0, ahead / saving) if saving < 0 else ("at once", 0.0, None)
    return ("equal" if ahead == saving == 0 else "never"), None, None


def _share(seconds: Mapping[str, float | None], names: Collection[str | None]) -> float:
    """What share of the seconds these names took; each counts as much where the seconds are not known."""
    known = {name: value for name, value in seconds.items() if value}
    counted = known if len(known) == len(seconds) else dict.fromkeys(seconds, 1.0)
    return sum(value for name, value in counted.items() if name in names) / (sum(counted.values()) or 1.0)


def _times(factor: float, amount: float | None) -> float | None:
    """Nothing of an unknown amount is nothing; anything else of it is unknown."""
    if factor == 0:
        return 0.0
    return None if amount is None else factor * amount


def _sum(*amounts: float | None) -> float | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None
