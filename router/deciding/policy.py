"""What the user wants of a decision: the margin that matters, the error rate, prices, traffic, limits and values.

Policy(margin=0.05, limits=Limits(latency_ms=800), prices=Prices(engine_hour=1.2)).margin

The bounds are checked where a policy is read; what is computed with one may leave them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from storage.settings import NUMBER, Above0, Share, settings

# Bounds that nobody reaches, so that no sum or quotient of these overflows.
Price = Annotated[float, Field(ge=0, le=1e9), NUMBER]
Worth = Annotated[float, Field(ge=-1e9, le=1e9), NUMBER]
Volume = Annotated[float, Field(ge=1e-3, le=1e12), NUMBER]


@settings()
class Prices:
    """What things cost, in the user's currency. An endpoint that is rented by the hour has token prices of 0 and an
    engine price.
    """

    prompt: Price = 0.10
    """A million prompt tokens; the defaults only say that a generated token costs about four of them."""
    generated: Price = 0.40
    """A million generated tokens."""
    cached: Price = 0.0
    """A million prompt tokens that the engine's prefix cache answered for."""
    engine_hour: Price = 0.0
    """An hour of the engine, as measured."""
    retrieval_hour: Price = 0.0
    """An hour of search and reranking, as measured."""
    training_hour: Price = 0.0
    """An hour of training, as measured."""
    indexing_hour: Price = 0.0
    """An hour of indexing, as measured."""
    engine_month: Price = 0.0
    """Hosting the engine for a month, however little it is asked."""
    adapter_month: Price = 0.0
    """Hosting an arm's adapter for a month."""
    index_month: Price = 0.0
    """Hosting an arm's index for a month."""


@settings()
class Traffic:
    """What is expected of production."""

    questions: Volume = 10_000.0
    """Questions a month."""
    months: Volume = 12.0
    """How long the costs of training and indexing are spread over."""
    churn: Share = 0.0
    """The share of the documents that changes in a month."""
    retrain_at: Annotated[float, Field(ge=1e-6, le=1), NUMBER] = 0.1
    """The share of changed documents at which an arm that answers from its weights alone must be trained again."""
    prefix_hits: Share | None = None
    """The share of every arm's prompt tokens that the engine's prefix cache answers for; null is each arm's own, as
    the engine reported it in the evaluation, and none where it does not say."""


@settings()
class Limits:
    """Hard limits: an arm that breaks one cannot be served; null is no limit."""

    latency_ms: Above0 | None = None
    """Of the median latency in the evaluation."""
    p95_ms: Above0 | None = None
    """Of its 95th percentile."""
    ttft_ms: Above0 | None = None
    """Of the median time to the first token."""
    cost_per_1k: Above0 | None = None
    """Of the price of 1,000 questions."""
    score: Share | None = None
    """The lowest mean of the primary metric that may be served."""


@settings()
class Utility:
    """What one answer is worth, in the currency of the prices. With this section expected utility decides; without it
    the primary metric decides, and of arms within the margin a cheaper one is served.
    """

    right: Worth = 1.0
    """A right answer; more than a wrong one."""
    wrong: Worth = -1.0
    """A wrong answer."""
    abstain: Worth = 0.0
    """An answer that says it does not know."""


@settings()
class Policy:
    """What decides: the smallest difference that matters, the error rate, prices, traffic, limits and values."""

    margin: Annotated[float, Field(gt=0, lt=1), NUMBER] = 0.05
    """The smallest difference in the primary metric that matters."""
    alpha: Annotated[float, Field(gt=0, lt=0.5), NUMBER] = 0.05
    """The error rate: how often a decision may name a winner where there is none."""
    cost_tolerance: Share = 0.05
    """The share of an arm's cost below which a saving counts as none: of arms that cost the same the best is served."""
    prices: Prices = Prices()
    traffic: Traffic = Traffic()
    limits: Limits = Limits()
    utility: Utility | None = None
