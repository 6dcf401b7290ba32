"""The YAML sections of what decides and how questions are spent: prices, traffic, limits, values, demands, the race.

PolicyConfig(metric={"default": "token_f1", "label": "label_accuracy"}, margin=0.03)
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """Unknown keys are refused everywhere: a misspelt setting must not be a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class PricesConfig(Section):
    """Prices per million tokens and per hour of machine time; see router/deciding/policy.py."""

    prompt: NotNegative = 0.10
    generated: NotNegative = 0.40
    engine_hour: NotNegative = 0.0
    training_hour: NotNegative = 0.0
    indexing_hour: NotNegative = 0.0


class TrafficConfig(Section):
    """Expected questions a month, for how many months, and how fast the documents change.

    See router/deciding/policy.py.
    """

    questions: Annotated[float, Field(gt=0)] = 10_000.0
    months: Annotated[float, Field(gt=0)] = 12.0
    churn: Share = 0.0
    retrain_at: Annotated[float, Field(gt=0, le=1)] = 0.1
    prefix_hits: Share = 0.0


class PolicyLimitsConfig(Section):
    """Hard limits: an arm that breaks one cannot be served."""

    latency_ms: Annotated[float, Field(gt=0)] | None = None
    p95_ms: Annotated[float, Field(gt=0)] | None = None
    ttft_ms: Annotated[float, Field(gt=0)] | None = None
    cost_per_1k: Annotated[float, Field(gt=0)] | None = None
    score: Share | None = None


class UtilityConfig(Section):
    """What an answer is worth, in the currency of the prices; with this section expected utility decides."""

    right: float = 1.0
    wrong: float = -1.0
    abstain: float = 0.0

    @model_validator(mode="after")
    def _right_is_best(self) -> UtilityConfig:
        if self.right <= self.wrong:
            raise ValueError(f"right ({self.right:g}) must be worth more than wrong ({self.wrong:g})")
        return self


class RequireConfig(Section):
    """What `arbiter decide --check` demands of a decision; None demands nothing."""

    arm: str | None = None
    verdicts: tuple[Literal["winner", "tie", "undecided"], ...] | None = None
    score: Share | None = None
    confidence: Share | None = None
    lead: Annotated[float, Field(ge=-1, le=1)] | None = None
    cost_per_1k: NotNegative | None = None
    unscored: Share | None = None


class PolicyConfig(Section):
    """What decides: the primary metric, or one for each kind of question with a `default`; the smallest difference that
    matters; prices, traffic, limits and values.
    """

    metric: str | dict[str, str] = "token_f1"
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.05
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    prices: PricesConfig = PricesConfig()
    traffic: TrafficConfig = TrafficConfig()
    limits: PolicyLimitsConfig = PolicyLimitsConfig()
    utility: UtilityConfig | None = None
    require: RequireConfig = RequireConfig()

    @model_validator(mode="after")
    def _has_default_metric(self) -> PolicyConfig:
        if isinstance(self.metric, dict) and "default" not in self.metric:
            raise ValueError("metric: a metric for each kind of question needs one under `default`, too")
        return self


class RaceConfig(Section):
    """Spend questions in batches and drop arms that are shown to be worse; caps are None for none.

    `held_out` is the share of questions that only the finalists are asked, after the race.
    """

    batch: Positive = 20
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.25
    max_questions: Positive | None = None
    max_tokens: Positive | None = None
    max_minutes: Annotated[float, Field(gt=0)] | None = None
    max_cost: Annotated[float, Field(gt=0)] | None = None
