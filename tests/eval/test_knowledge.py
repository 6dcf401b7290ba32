"""What a model knows before it is trained."""

from __future__ import annotations

import pytest

from eval.knowledge import Degree, Knowledge, degree_of, forecast


@pytest.mark.parametrize(
    ("greedy", "sampled", "degree"),
    [
        ([True, True], [False, False], "known"),
        ([True, False], [False], "maybe"),
        ([False, False], [False, True], "weakly"),
        ([False, False], [False, False], "unknown"),
    ],
)
def test_the_degrees_are_those_of_the_paper(greedy: list[bool], sampled: list[bool], degree: Degree) -> None:
    assert degree_of(greedy=greedy, sampled=sampled) == degree


def knowledge_of(known: int, weakly: int, unknown: int, *, are_labels: bool = False) -> Knowledge:
    degrees: list[Degree] = [*["known"] * known, *["weakly"] * weakly, *["unknown"] * unknown]  # type: ignore[list-item]
    return Knowledge({f"q{i}": degree for i, degree in enumerate(degrees)}, are_labels)


def test_a_share_has_wilsons_interval() -> None:
    share = knowledge_of(3, 1, 6).share("unknown")
    assert (share.mean, share.low, share.high) == pytest.approx((0.6, 0.313, 0.832), abs=1e-3)
    assert knowledge_of(3, 1, 6).count("known", "weakly") == 4


@pytest.mark.parametrize(
    ("knowledge", "words"),
    [
        (knowledge_of(2, 0, 18), "the model does not know 90% of the answers: such rows are learned last and by heart"),
        (knowledge_of(18, 0, 2), "the model can give 90% of the answers already: a training brings them out"),
        (knowledge_of(5, 0, 5), "of the answers 50% can be given already and 50% are not known: too near each other"),
        (knowledge_of(1, 0, 3), "of the answers 25% can be given already and 75% are not known: too near each other"),
        (knowledge_of(0, 0, 20, are_labels=True), "most answers are labels"),
    ],
)
def test_a_forecast_is_made_where_the_interval_allows_one(knowledge: Knowledge, words: str) -> None:
    assert forecast(knowledge).startswith(words)
