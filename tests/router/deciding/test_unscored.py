from fakes.decided import make_raced
from fakes.priced import BASE, RAG, TUNED, make_card, make_scores

from router.deciding.arm_table import make_table
from router.deciding.decision import Comparison
from router.deciding.policy import Policy
from router.deciding.unscored import at_worst, num_unscored, stand_at_worst

TABLE = make_table(
    make_card(make_scores(BASE, [0.0, None]), make_scores(RAG, [None, 1.0]), make_scores(TUNED, [1.0, 0.0])), Policy()
)


def test_unscored_answers_go_against_one_arm_and_for_all_others() -> None:
    worst = at_worst(TABLE, "rag")
    assert [row.column for row in worst.rows] == [(0.0, 1.0), (0.0, 1.0), (1.0, 0.0)]
    assert worst.decided.pairs(worst.row("rag").decided, worst.row("base").decided).a.tolist() == [0.0, 1.0]
    best = at_worst(TABLE, "rag", own=1.0, others=0.0)
    assert [row.column for row in best.rows] == [(0.0, 0.0), (1.0, 1.0), (1.0, 0.0)]
    assert (num_unscored(TABLE, "base", "rag"), num_unscored(TABLE, "tuned")) == (2, 0)


def test_what_a_race_did_not_ask_is_not_unscored() -> None:
    table = make_raced().table
    assert num_unscored(table, *(row.name for row in table.rows)) == 0


def test_only_what_stands_at_worst_stands() -> None:
    made = [Comparison("base", None, 0.01, "beaten"), Comparison("tuned", None, 0.5, "equivalent")]
    found = stand_at_worst(
        TABLE, made, leader="rag", compare=lambda worst: [*made[:1], Comparison("tuned", None, 1, "open")]
    )
    assert found[0] is made[0]
    assert (found[1].standing, found[1].unscored) == ("open", 1)
    whole = make_table(make_card(make_scores(BASE, [0.0, 1.0]), make_scores(RAG, [1.0, 1.0])), Policy())
    assert stand_at_worst(whole, made[:1], leader="rag", compare=lambda worst: []) == made[:1]
