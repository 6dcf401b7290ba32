"""The section of what decides, and of what `arbiter decide --check` demands.

PolicyConfig(metric={"default": "token_f1", "label": "label_accuracy"}, margin=0.03)
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from router.deciding.policy import Policy
from storage.errors import ArbiterError
from storage.settings import NUMBER, NotNegative, Share, settings


@settings(ArbiterError)
class RequireConfig:
    """What `arbiter decide --check` demands of a decision; null demands nothing."""

    arm: str | None = None
    """The arm that is chosen."""
    verdicts: tuple[Literal["winner", "tie", "undecided"], ...] | None = None
    """The verdicts that are good enough."""
    score: Share | None = None
    """The least mean of the primary metric."""
    confidence: Share | None = None
    """The least confidence."""
    lead: Annotated[float, Field(ge=-1, le=1), NUMBER] | None = None
    """The least lead over the runner-up."""
    cost_per_1k: NotNegative | None = None
    """The most that 1,000 questions may cost."""
    unscored: Share | None = None
    """The largest share of unscored answers."""


@settings(ArbiterError)
class PolicyConfig(Policy):
    """What decides. It can be changed without asking again, the metric aside."""

    metric: str | dict[str, str] = "token_f1"
    """The primary metric, or one for each kind of question with a `default`."""
    require: RequireConfig = RequireConfig()

    def __post_init__(self) -> None:
        if isinstance(self.metric, dict) and "default" not in self.metric:
            raise ValueError("metric must name one under `default`, too, where it names one for each kind of question")
        if self.utility is not None and self.utility.right <= self.utility.wrong:
            right, wrong = self.utility.right, self.utility.wrong
            raise ValueError(f"utility.right ({right:g}) must be worth more than utility.wrong ({wrong:g})")
