from __future__ import annotations

import pytest

from eval.errors import EvalError
from eval.leaks import NEAR_PERCENT, describe, leave_out_near_repeats, leave_out_repeats, refuse_leaks
from eval.questions import Question
from tuning.data.examples import Example

QUESTIONS = (Question("q1", "When?", ("nine", "9")), Question("q2", "Where is it?", ("here",)))


def test_training_rows_that_repeat_a_question_are_listed() -> None:
    rows = [Example("t1", "WHEN", "x"), Example("t2", "Who?", "x"), Example("t3", "where  is it", "x")]
    with pytest.raises(EvalError) as caught:
        refuse_leaks(rows, QUESTIONS)
    assert "2 training rows repeat an evaluation question: 't1' repeats 'q1', 't3' repeats 'q2'" in str(caught.value)
    refuse_leaks([Example("t2", "Who?", "x")], QUESTIONS)


def test_rows_of_another_part_are_called_by_its_name() -> None:
    with pytest.raises(EvalError, match="1 dev rows repeat an evaluation question: 'd1' repeats 'q1'"):
        refuse_leaks([Question("d1", "When", ("ten",))], QUESTIONS, called="dev")


def test_the_refusal_names_the_way_out_and_rows_can_be_left_out() -> None:
    rows = [Example("t1", "WHEN", "x"), Example("t2", "Who?", "x")]
    with pytest.raises(EvalError, match=r"leave them out of the training rows with limits\.repeats=drop"):
        refuse_leaks(rows, QUESTIONS)
    assert leave_out_repeats(rows, QUESTIONS) == ((rows[1],), (("t1", "q1"),))


ASKED = Question("q", "How old was Newton during Super Bowl 50?", ("26", "twenty-six"))


@pytest.mark.parametrize(
    ("question", "answer", "is_left_out"),
    [
        ("How old was Newton in Super Bowl 50?", "26", True),
        ("HOW OLD was Newton, in Super Bowl 50", "Twenty-six.", True),
        ("How old was Newton in Super Bowl 50?", "27", False),  # the same frame, another answer
        ("How old was Carolina's Newton when he played in the Super Bowl?", "26", False),  # a paraphrase
    ],
)
def test_a_near_repeat_is_nearly_the_same_text_with_a_common_answer(
    question: str, answer: str, is_left_out: bool
) -> None:
    row = Example("t", question, answer)
    kept, near = leave_out_near_repeats([row], [Question("other", "Who sang?", ("Ada",)), ASKED])
    assert kept == (() if is_left_out else (row,))
    assert [(pair.row_id, pair.question_id) for pair in near] == ([("t", "q")] if is_left_out else [])
    assert all(NEAR_PERCENT <= pair.percent <= 100 for pair in near)


def test_the_similarity_is_that_of_single_insertions_and_deletions() -> None:
    # "abcdefghi" of 9 letters against "abcdefghij" of 10: one insertion among 19, 100 * (1 - 1/19)
    kept, (pair,) = leave_out_near_repeats([Example("t", "abcdefghi", "x")], [Question("q", "Abcdefghij?", ("X",))])
    assert kept == ()
    assert pair.percent == pytest.approx(100 * 18 / 19)


def test_the_order_stays_and_no_questions_leave_all_rows() -> None:
    rows = [Example(f"t{i}", f"Question number {i} of the list?", "x") for i in range(3)]
    asked = [Question("q", "Question number 1 of the lists?", ("x",))]
    kept, near = leave_out_near_repeats(rows, asked)
    assert not kept  # one digit in thirty letters does not tell questions with one answer apart
    assert [pair.row_id for pair in near] == ["t0", "t1", "t2"]
    assert leave_out_near_repeats(rows, []) == (tuple(rows), ())
    assert leave_out_near_repeats([], asked) == ((), ())


def test_two_rows_of_questions_are_compared_by_all_their_golds() -> None:
    row = Question("d", "How old was Newton in Super Bowl 50?", ("unknown", "twenty six"))
    assert leave_out_near_repeats([row], [ASKED])[0] == ()


def test_a_note_counts_and_names_them() -> None:
    rows = [Example(f"t{i}", f"How old was Newton in Super Bowl 5{i}?", "26") for i in range(12)]
    _, near = leave_out_near_repeats(rows, [ASKED])
    assert describe(near).startswith("12 training rows are left out, at least 90% the same as an evaluation question")
    assert describe(near).endswith(" and 10 more")
    assert "'t0' ('q', " in describe(near)
    assert describe(near[:1], called="dev").startswith("1 dev row is left out")
