"""What the user wants of a decision: the margin that matters, the error rate, prices, traffic, limits and values.

Policy(margin=0.05, limits=Limits(latency_ms=800), prices=Prices(engine_hour=1.2)).margin
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Prices:
    """What things cost, in the user's currency; all >= 0.

    `prompt` and `generated` are per million tokens; the defaults only say that a generated token costs about four
    prompt tokens. `engine_hour`, `training_hour` and `indexing_hour` price measured machine time: an endpoint that is
    rented by the hour has token prices of 0 and an engine price.
    """

    prompt: float = 0.10
    generated: float = 0.40
    engine_hour: float = 0.0
    training_hour: float = 0.0
    indexing_hour: float = 0.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is expected of production: `questions` a month, over `months`; both > 0.

    `churn` is the share of the documents that change in a month, in [0, 1]; `retrain_at` the share of changed documents
    at which an arm that answers from its weights alone must be trained again, in (0, 1]. `prefix_hits` is the share of
    prompt tokens that the engine's prefix cache answers for, in [0, 1].
    """

    questions: float = 10_000.0
    months: float = 12.0
    churn: float = 0.0
    retrain_at: float = 0.1
    prefix_hits: float = 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Hard limits that an arm must keep to be eligible; None is no limit.

    `latency_ms` bounds the median and `p95_ms` the 95th percentile of the latency measured in the evaluation, `ttft_ms`
    the median time to the first token, `cost_per_1k` the price of 1,000 questions; `score` is the lowest mean of the
    primary metric that may be served.
    """

    latency_ms: float | None = None
    p95_ms: float | None = None
    ttft_ms: float | None = None
    cost_per_1k: float | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Utility:
    """What one answer is worth, in the same currency as the prices: right, wrong, and abstaining."""

    right: float = 1.0
    wrong: float = -1.0
    abstain: float = 0.0


@dataclass(frozen=True, slots=True)
class Policy:
    """`margin` is the smallest difference in the primary metric that matters, in (0, 1); `alpha` the error rate.

    Without a `utility` the primary metric decides and costs settle ties; with one, expected utility decides.
    """

    margin: float = 0.05
    alpha: float = 0.05
    prices: Prices = field(default_factory=Prices)
    traffic: Traffic = field(default_factory=Traffic)
    limits: Limits = field(default_factory=Limits)
    utility: Utility | None = None
