import pytest
from fakes.priced import RAG, TUNED, make_card, make_scores

from router.deciding.arm_table import make_table
from router.deciding.costs.winning_map import VOLUMES, winning_map
from router.deciding.policy import Policy, Prices, Traffic
from router.deciding.preference import make_preference

CARD = make_card(make_scores(RAG, [1.0], prompt=500), make_scores(TUNED, [1.0], prompt=100))
# A question saves 0.004, a training costs 4.
PRICES = Prices(prompt=10.0, generated=0.0, training_hour=4.0)


def test_the_border_lies_where_training_is_earned_back() -> None:
    policy = Policy(prices=PRICES, traffic=Traffic(questions=1000, months=10, churn=0.0, retrain_at=0.5))
    found = winning_map(make_preference(make_table(CARD, policy)).choose, policy)
    # Without churn: 4 over ten months of 0.004 a question, so from 100 a month, the map's edge, on.
    assert set(found.winners[0][1:]) == {"tuned"}
    # All documents change each month: two trainings a month, (4 + 10 * 8) / (10 * 0.004) = 2,100.
    border = found.winners[-1].index("tuned")
    assert found.volumes[border - 1] < 2100 <= found.volumes[border]
    assert set(found.winners[-1][:border]) == {"rag"}
    assert (found.volume, found.churn, found.winner) == (1000, 0.0, "tuned")
    assert found.shares == {
        name: pytest.approx(sum(row.count(name) for row in found.winners) / (81 * 41)) for name in ("tuned", "rag")
    }


@pytest.mark.parametrize(("questions", "ends"), [(5, (5, 1e7)), (1000, VOLUMES), (1e8, (1e2, 1e8))])
def test_the_map_reaches_the_policys_own_traffic(questions: float, ends: tuple[float, float]) -> None:
    policy = Policy(traffic=Traffic(questions=questions))
    found = winning_map(lambda _: "rag", policy)
    assert (found.volumes[0], found.volumes[-1]) == pytest.approx(ends)
    assert (found.churns[0], found.churns[-1]) == (0.0, 1.0)
    assert found.shares == {"rag": 1.0}


def test_where_no_arm_keeps_the_limits_there_is_none() -> None:
    found = winning_map(lambda policy: None if policy.traffic.churn > 0.5 else "rag", Policy())
    assert found.winners[-1][0] is None
    assert found.shares == {"rag": pytest.approx(21 / 41)}
