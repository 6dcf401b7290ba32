from dataclasses import replace

import pytest
from fakes.comparison import make_comparison

from arbiter.config.sections import RequireConfig
from router.deciding.statistics import Interval
from storage.errors import ArbiterError


def missed(stale_reason: str | None = None, **demands: object) -> list[str]:
    comparison = make_comparison()
    require = RequireConfig(**demands)
    return require.missed_by(comparison.decision, comparison.table, stale_reason=stale_reason)


def test_a_check_that_demands_nothing_is_refused() -> None:
    with pytest.raises(ArbiterError, match=r"policy\.require demands nothing, so --check cannot fail; set for example"):
        missed()


def test_a_decision_that_meets_every_demand_misses_nothing() -> None:
    # hybrid wins; 1 of its 20 answers failed.
    demands = {"arm": "hybrid", "verdicts": ("winner", "undecided"), "confidence": 0.5, "score": 0.5, "lead": 0.1}
    assert missed(**demands, cost_per_1k=1.0, unscored=0.05) == []


@pytest.mark.parametrize(
    ("demand", "line"),
    [
        ({"arm": "rag"}, "arm is 'hybrid', not 'rag'"),
        ({"verdicts": ("tie",)}, "not 'tie'"),
        ({"confidence": 1.0}, "confidence is"),
        ({"score": 0.99}, "mean token_f1 is"),
        ({"lead": 0.9}, "lead is"),
        ({"cost_per_1k": 0.001}, "cost of 1,000 questions is"),
        ({"unscored": 0.04}, "5.0% of the answers failed or are unscored, above 4.0%"),
    ],
)
def test_every_demand_can_be_missed_and_says_by_what(demand: dict[str, object], line: str) -> None:
    found = missed(**demand)
    assert len(found) == 1
    assert line in found[0]


def test_a_decision_about_changed_data_is_missed_whatever_it_says() -> None:
    assert missed("the data has changed", arm="hybrid") == ["the data has changed"]


def test_held_out_questions_speak_for_a_raced_arm() -> None:
    comparison = make_comparison()
    decision = replace(comparison.decision, held_out=Interval(0.3, 0.2, 0.4), held_out_lead=Interval(0.02, -0.1, 0.14))
    require = RequireConfig(score=0.5, lead=0.05)
    found = require.missed_by(decision, comparison.table, stale_reason=None)
    assert found == ["mean token_f1 is 0.300, below 0.5", "lead is 0.020, below 0.05"]


def test_an_unknown_cost_is_no_low_cost() -> None:
    comparison = make_comparison()
    decision = replace(comparison.decision, cost_per_1k={"hybrid": None})
    found = RequireConfig(cost_per_1k=9.0).missed_by(decision, comparison.table, stale_reason=None)
    assert found == ["cost of 1,000 questions is unknown, above 9"]
