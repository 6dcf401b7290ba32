from dataclasses import replace

import pytest
from fakes.priced import BASE, RAG, TUNED, make_card, make_scores
from hypothesis import given, settings
from hypothesis import strategies as st

from router.deciding.costs.arm_costs import ArmCosts
from router.deciding.costs.break_even import break_even, break_even_table
from router.deciding.policy import Policy, Prices, Traffic
from router.errors import RouterError

YEAR = Policy(traffic=Traffic(questions=100, months=10))


def costs(name: str, *, fixed: float | None = 0.0, question: float | None = 0.0, retrainings: float = 0.0) -> ArmCosts:
    return ArmCosts(name, question, fixed, 0.0, retrainings, 0.0)


@pytest.mark.parametrize(
    ("a", "b", "outcome", "questions", "text"),
    [
        # 60 ahead, 0.02 saved a question.
        ((60.0, 0.01), (0.0, 0.03), "from", 3000.0, "from 3,000 questions (300 a month)"),
        ((0.0, 0.03), (60.0, 0.01), "until", 3000.0, "until 3,000 questions (300 a month)"),
        ((0.0, 0.01), (60.0, 0.03), "at once", 0.0, "at once"),
        ((0.0, 0.01), (60.0, 0.01), "at once", 0.0, "at once"),
        ((60.0, 0.03), (0.0, 0.01), "never", None, "never"),
        ((60.0, 0.01), (0.0, 0.01), "never", None, "never"),
        ((60.0, 0.01), (60.0, 0.01), "equal", None, "never: both cost the same"),
        ((None, 0.01), (60.0, 0.01), "unknown", None, "unknown: a cost was not measured"),
        ((0.0, 0.01), (60.0, None), "unknown", None, "unknown: a cost was not measured"),
    ],
)
def test_break_even_is_a_number_at_once_or_never(
    a: tuple[float | None, float | None],
    b: tuple[float | None, float | None],
    outcome: str,
    questions: float | None,
    text: str,
) -> None:
    found = break_even(costs("a", fixed=a[0], question=a[1]), costs("b", fixed=b[0], question=b[1]), YEAR)
    assert found.outcome == outcome
    assert found.questions == (None if questions is None else pytest.approx(questions))
    assert found.text == text


def test_under_churn_training_again_has_to_be_earned_back_too() -> None:
    # 60 once and half a training a month for ten months: 60 + 300 over 0.02.
    trained = costs("tuned", fixed=60.0, question=0.01, retrainings=0.5)
    found = break_even(trained, costs("rag", question=0.03), YEAR)
    assert found.questions == pytest.approx(18_000)
    assert found.a_month == pytest.approx(1_800)


def test_the_evaluation_can_be_counted_in() -> None:
    a, b = costs("a", fixed=60.0, question=0.01), costs("b", question=0.03)
    found = break_even(a, b, YEAR, evaluation=20.0)
    assert (found.questions, found.after_evaluation) == (pytest.approx(3000), pytest.approx(4000))
    assert break_even(a, b, YEAR, evaluation=None).after_evaluation is None


def test_the_rule_of_thumb_holds_for_training_against_reading() -> None:
    # Training 4; the passages are 400 tokens at 10 per million, half of them from the cache: 4 / 0.002.
    card = make_card(make_scores(RAG, [1.0], prompt=500), make_scores(TUNED, [1.0], prompt=100))
    policy = Policy(prices=Prices(prompt=10.0, generated=50.0, training_hour=4.0), traffic=Traffic(prefix_hits=0.5))
    (found,) = break_even_table(card, policy, "tuned")
    assert (found.arm, found.other, found.outcome) == ("tuned", "rag", "from")
    assert found.questions == pytest.approx(2000)
    # Two answers, of 500 + 10 and 100 + 10 tokens, uncached: 0.006 + 0.001.
    assert found.after_evaluation == pytest.approx(4.007 / 0.002)


def test_an_answer_missing_on_one_side_is_not_a_saving() -> None:
    whole = replace(make_scores(BASE, [1.0, 1.0]), prompt_tokens=(100, 900))
    failed = replace(make_scores(RAG, [1.0, None]), prompt_tokens=(100, None), latency_ms=(10.0, None))
    (found,) = break_even_table(make_card(whole, failed), Policy(), "rag")
    assert found.outcome == "equal"


def test_arms_that_share_no_answer_are_not_compared() -> None:
    first = replace(make_scores(BASE, [1.0, None]), latency_ms=(10.0, None))
    second = replace(make_scores(RAG, [None, 1.0]), latency_ms=(None, 10.0))
    (found,) = break_even_table(make_card(first, second), Policy(), "base")
    assert found.outcome == "unknown"


def test_an_unknown_arm_is_named() -> None:
    with pytest.raises(RouterError, match="no arm 'other'"):
        break_even_table(make_card(make_scores(BASE, [1.0])), Policy(), "other")


amounts = st.floats(0, 1e6).map(lambda x: round(x, 6))


@settings(max_examples=30, deadline=None)
@given(fixed=st.tuples(amounts, amounts), question=st.tuples(amounts, amounts), months=st.floats(0.5, 60))
def test_two_arms_break_even_at_the_same_place_seen_from_either_side(
    fixed: tuple[float, float], question: tuple[float, float], months: float
) -> None:
    policy = Policy(traffic=Traffic(months=months))
    a = costs("a", fixed=fixed[0], question=question[0])
    b = costs("b", fixed=fixed[1], question=question[1])
    here, there = break_even(a, b, policy), break_even(b, a, policy)
    mirror = {"from": "until", "until": "from", "never": "at once", "at once": "never", "equal": "equal"}
    assert there.outcome == mirror[here.outcome]
    if here.outcome in ("from", "until"):
        assert here.questions == pytest.approx(there.questions)
        assert here.a_month is not None
        first, second = (arm.total(here.a_month, months=months) for arm in (a, b))
        assert first == pytest.approx(second, rel=1e-6)
