from collections import Counter
from collections.abc import Sequence

import pytest

from tuning.data.examples import Question
from tuning.data.formats.given import Message
from tuning.data.rows import TrainingRow, closed_book_rows, raft_rows


def render(messages: Sequence[Message], passages: Sequence[str]) -> list[Message]:
    *before, asked = messages
    return [*before, {"role": "user", "content": " ".join([*passages, str(asked["content"])])}]


def is_golden(example: Question, passage: str) -> bool:
    return passage.startswith("gold")


def examples(count: int) -> list[Question]:
    return [Question(f"e{i}", f"q{i}", (f"a{i}",)) for i in range(count)]


def shown(row: TrainingRow) -> list[str]:
    return str(row.prompt[0]["content"]).split()[:-1]


def test_closed_book_rows_hold_question_and_answer_alone() -> None:
    assert closed_book_rows(examples(2), render) == [
        TrainingRow(({"role": "user", "content": "q0"},), "a0"),
        TrainingRow(({"role": "user", "content": "q1"},), "a1"),
    ]


def test_what_was_said_before_a_question_stands_before_it() -> None:
    history: tuple[Message, ...] = (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "When?"},
        {"role": "assistant", "content": "At nine."},
    )
    example = Question("e", "And on Sundays?", ("ten",), history=history)
    asked = {"role": "user", "content": "And on Sundays?"}
    assert closed_book_rows([example], render) == [TrainingRow((*history, asked), "ten")]
    (row,) = raft_rows([example], [["gold"]], is_golden, render, num_passages=1, seed=0)
    assert row.prompt == (*history, {"role": "user", "content": "gold And on Sundays?"})


def test_four_rows_of_five_show_the_golden_passage_at_every_position() -> None:
    contexts = [["d1", "gold", "d2", "gold-too", "d3"]] * 2000
    rows = raft_rows(examples(2000), contexts, is_golden, render, num_passages=3, seed=0)
    golden = [shown(row) for row in rows if "gold" in shown(row)]
    others = [shown(row) for row in rows if "gold" not in shown(row)]
    # 1600 expected, standard deviation sqrt(2000 x 0.8 x 0.2) = 18; a third of them 533 each, 19.
    assert abs(len(golden) - 1600) < 60
    positions = Counter(passages.index("gold") for passages in golden)
    assert all(abs(positions[i] - len(golden) / 3) < 65 for i in range(3))
    # The best golden passage among the best distractors, or distractors alone: never the second golden one.
    assert {tuple(sorted(passages)) for passages in golden} == {("d1", "d2", "gold")}
    assert {tuple(passages) for passages in others} == {("d1", "d2", "d3")}


@pytest.mark.parametrize(("fraction", "has_golden"), [(1.0, True), (0.0, False)])
def test_the_extreme_fractions_are_exact(fraction: float, has_golden: bool) -> None:
    contexts = [["gold", "d1", "d2"]] * 50
    rows = raft_rows(examples(50), contexts, is_golden, render, num_passages=2, golden_fraction=fraction, seed=0)
    assert all(("gold" in shown(row)) is has_golden for row in rows)


def test_a_context_without_a_golden_passage_stays_as_retrieved() -> None:
    (row,) = raft_rows(examples(1), [["d3", "d1", "d2"]], is_golden, render, num_passages=2, seed=0)
    assert shown(row) == ["d3", "d1"]


def test_a_context_without_a_distractor_keeps_its_golden_passage() -> None:
    (row,) = raft_rows(examples(1), [["gold"]], is_golden, render, num_passages=2, golden_fraction=0.0, seed=0)
    assert shown(row) == ["gold"]


def test_an_empty_context_gives_a_closed_book_row() -> None:
    assert raft_rows(examples(1), [[]], is_golden, render, num_passages=2, seed=0) == closed_book_rows(
        examples(1), render
    )


def test_rows_follow_the_seed_and_do_not_depend_on_their_neighbours() -> None:
    contexts = [["d1", "gold", "d2", "d3"]] * 40
    rows = raft_rows(examples(40), contexts, is_golden, render, num_passages=3, seed=3)
    assert rows == raft_rows(examples(40), contexts, is_golden, render, num_passages=3, seed=3)
    assert rows != raft_rows(examples(40), contexts, is_golden, render, num_passages=3, seed=4)
    tail = raft_rows(examples(40)[20:], contexts[20:], is_golden, render, num_passages=3, seed=3)
    assert rows[20:] == tail
