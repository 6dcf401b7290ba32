from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from eval.errors import EvalError
from eval.question_sets import QuestionFiles, divide, leave_out_leaks, make_sets
from eval.questions import Question
from eval.repeats import NEAR_PERCENT, find_near_repeats

QUESTIONS = (Question("q1", "When?", ("nine", "9")), Question("q2", "Where is it?", ("here",)))


def test_training_rows_that_repeat_a_question_are_listed() -> None:
    rows = [Question("t1", "WHEN", ("x",)), Question("t2", "Who?", ("x",)), Question("t3", "where  is it", ("x",))]
    with pytest.raises(EvalError) as caught:
        leave_out_leaks(rows, QUESTIONS, called="training")
    assert "2 training rows repeat an evaluation question: 't1' repeats 'q1', 't3' repeats 'q2'" in str(caught.value)
    assert leave_out_leaks(rows[1:2], QUESTIONS, called="training") == ((rows[1],), ())


def test_rows_of_another_part_are_called_by_its_name() -> None:
    with pytest.raises(EvalError, match="1 dev rows repeat an evaluation question: 'd1' repeats 'q1'"):
        leave_out_leaks([Question("d1", "When", ("ten",))], QUESTIONS, called="dev")


def test_the_refusal_names_the_way_out_and_rows_can_be_left_out() -> None:
    rows = [Question("t1", "WHEN", ("x",)), Question("t2", "Who?", ("x",))]
    with pytest.raises(EvalError, match=r"leave them out of the training rows with limits\.repeats=drop"):
        leave_out_leaks(rows, QUESTIONS, called="training")
    kept, (note,) = leave_out_leaks(rows, QUESTIONS, called="training", repeats="drop")
    assert kept == (rows[1],)
    assert note.endswith("that repeat an evaluation question are left out (limits.repeats=drop): 't1' repeats 'q1'")


def test_a_training_row_that_repeats_a_dev_question_is_told_so(tmp_path: Path) -> None:
    def written(name: str, *questions: str) -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps({"question": q, "answers": ["x"]}) + "\n" for q in questions))
        return path

    files = QuestionFiles(tmp_path, test=written("test.jsonl", "When?"), dev=written("dev.jsonl", "Where is it?"))
    rows = [Question("t1", "where is IT", ("x",)), Question("t2", "Who?", ("x",))]
    with pytest.raises(EvalError, match="1 training rows repeat a dev question: 't1' repeats"):
        divide(files, rows, needs_dev=True)
    sets = divide(files, rows, needs_dev=True, repeats="drop")
    assert sets.examples == (rows[1],)
    assert any("1 training rows that repeat a dev question are left out" in note for note in sets.notes)
    # What is not asked as a dev question is trained on.
    assert divide(files, rows).examples == tuple(rows)


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
    row = Question("t", question, (answer,))
    questions = [Question("other", "Who sang?", ("Ada",)), ASKED]
    near = find_near_repeats([row], questions)
    assert leave_out_leaks([row], questions, called="training")[0] == (() if is_left_out else (row,))
    assert {row: question for row, (question, _) in near.items()} == ({"t": "q"} if is_left_out else {})
    assert all(NEAR_PERCENT <= percent <= 100 for _, percent in near.values())


def test_the_order_stays_and_no_questions_leave_all_rows() -> None:
    rows = [Question(f"t{i}", f"Question number {i} of the list?", ("x",)) for i in range(3)]
    asked = [Question("q", "Question number 1 of the lists?", ("x",))]
    # one digit in thirty letters does not tell questions with one answer apart
    assert list(find_near_repeats(rows, asked)) == ["t0", "t1", "t2"]
    assert leave_out_leaks(rows, asked, called="training")[0] == ()
    assert leave_out_leaks(rows, [], called="training") == (tuple(rows), ())
    assert leave_out_leaks([], asked, called="training") == ((), ())


def test_two_rows_of_questions_are_compared_by_all_their_golds() -> None:
    row = Question("d", "How old was Newton in Super Bowl 50?", ("unknown", "twenty six"))
    assert leave_out_leaks([row], [ASKED], called="dev")[0] == ()


def test_a_note_counts_and_names_them() -> None:
    rows = [Question(f"t{i}", f"How old was Newton in Super Bowl 5{i}?", ("26",)) for i in range(12)]
    _, (note,) = leave_out_leaks(rows, [ASKED], called="training")
    assert note.startswith("12 training rows are left out, at least 90% the same as an evaluation question")
    assert note.endswith(" and 10 more")
    assert "'t0' ('q', " in note
    assert leave_out_leaks(rows[:1], [ASKED], called="dev")[1][0].startswith("1 dev row is left out")


def test_texts_of_a_label_that_differ_in_a_number_give_nothing_away() -> None:
    asked = [Question(f"q{i}", f"I sent {i}0 euros and they never came", (f"lost {i % 2}",)) for i in range(4)]
    rows = [
        Question("other", "I sent 70 euros and they never came", ("lost 0",)),
        Question("near", "I sent 20 euros, but they never came", ("lost 0",)),
        Question("near too", "I sent 30 euros but they never came", ("lost 1",)),
        Question("also near", "And I sent 30 euros and they never came", ("lost 1",)),
    ]
    kept, (note,) = leave_out_leaks(rows, asked, called="training")
    assert kept == (rows[0],)
    assert "(limits.near_repeats=drop; of each label: lost 1 2, lost 0 1): 'near' ('q2', " in note


def test_near_repeats_can_be_kept_and_are_counted() -> None:
    rows = [Question("t", "How old was Newton in Super Bowl 50?", ("26",))]
    kept, (note,) = leave_out_leaks(rows, [ASKED], called="training", near="keep")
    assert kept == tuple(rows)
    assert note.startswith("1 training row is kept, at least 90% the same as an evaluation question")
    assert "(limits.near_repeats=keep): 't' ('q'" in note


def said(*texts: str) -> tuple[dict[str, object], ...]:
    return tuple({"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts))


def test_one_question_in_two_conversations_is_two() -> None:
    asked = Question("q", "And on Sundays?", ("ten",), history=said("When does the desk open?", "At nine."))
    other = Question("t", "And on Sundays?", ("ten",), history=said("When does the kitchen close tonight?", "At six."))
    same = Question("s", "and on sundays", ("ten",), history=said("When does the desk open", "At nine."))
    assert leave_out_leaks([other], [asked], called="training") == ((other,), ())
    assert find_near_repeats([other], [asked]) == {}
    with pytest.raises(EvalError, match="1 training rows repeat an evaluation question: 's' repeats 'q'"):
        leave_out_leaks([other, same], [asked], called="training")
    near = Question("n", "And on a Sunday?", ("ten",), history=said("When does a desk open?", "At nine."))
    assert find_near_repeats([near], [replace(asked, text="And on a Sundays?")]) == {
        "n": ("q", pytest.approx(96.6, abs=1))
    }


def test_what_a_conversation_teaches_on_its_way_gives_a_question_away_too() -> None:
    asked = Question("q", "When does the desk open?", ("nine",))
    talk = Question("t", "And on Sundays?", ("ten",), history=said("when does the desk open", "At nine."), learned=(1,))
    with pytest.raises(EvalError, match="1 training rows repeat an evaluation question: 't' repeats 'q'"):
        leave_out_leaks([talk], [asked], called="training")
    assert leave_out_leaks([replace(talk, learned=())], [asked], called="training")[0] != ()
    near = replace(talk, history=said("When does a desk open?", "Nine"))
    assert list(find_near_repeats([near], [asked])) == ["t"]
    assert find_near_repeats([replace(near, learned=())], [asked]) == {}
    assert make_sets((asked,), (talk,), ())[0].examples == ()


def test_of_a_conversation_that_is_asked_nothing_is_learned(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text(json.dumps({"question": "When does the desk open?", "answer": "nine"}))
    turns = ["When does the desk open?", "At nine.", "And on Sundays?", "At ten."]
    messages = list(said(*turns))
    (tmp_path / "dev.jsonl").write_text(json.dumps({"messages": messages}))
    files = QuestionFiles(tmp_path, test=tmp_path / "test.jsonl", dev=tmp_path / "dev.jsonl")
    (dev,) = divide(files, (), needs_dev=True).dev
    assert (dev.text, dev.learned, len(dev.history)) == ("And on Sundays?", (), 2)


def test_sets_of_a_data_set_are_made_such_that_dividing_them_changes_nothing() -> None:
    asked = tuple(Question(f"q{i}", f"What is {WORDS[i]}?", (WORDS[i],)) for i in range(6))
    train = (asked[0], Question("t", "Who?", ("Ada",)), Question("u", "What is ivory", ("x",)))
    dev = (asked[1], Question("d", "what is ivory?", ("x",)))
    disputed = Question("again", "What is amber?", ("resin",))
    sets, notes = make_sets((*asked, disputed), train, dev)
    assert [q.id for q in sets.questions] == ["q1", "q2", "q3", "q4", "q5"]
    assert [q.id for q in sets.dev] == ["d"]
    assert [q.id for q in sets.examples] == ["q0", "t", "test-q0", "again"]
    assert notes == (
        "2 questions that contradict another one are training rows: 'q0', 'again'",
        "dev rows that repeat an evaluation question, left out: 1",
        "training rows that repeat a dev question, left out: 1",
    )


WORDS = ("amber", "birch", "copper", "dusk", "ember", "frost")


@pytest.mark.parametrize(("share", "num_train"), [(None, 4), (0.5, 3), (0.0, 0)])
def test_rows_for_training_are_split_off_where_none_came(share: float | None, num_train: int) -> None:
    asked = tuple(Question(f"q{i}", f"What is {WORDS[i]}?", (WORDS[i],)) for i in range(6))
    sets, _ = make_sets(asked, (), (), train_share=share)
    assert (len(sets.examples), len(sets.questions)) == (num_train, 6 - num_train)
    with pytest.raises(EvalError, match="cannot be split"):
        make_sets(asked[:1], (), (), train_share=0.5)
