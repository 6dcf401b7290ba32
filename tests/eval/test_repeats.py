from __future__ import annotations

import pytest

from eval.questions import Question
from eval.repeats import Repeat, find_exact_repeats, find_near_repeats, find_repeats

LONG = "How long does a transfer to another country take when it is sent on a Friday"


def test_the_similarity_is_that_of_single_insertions_and_deletions() -> None:
    # "abcdefghi" of 9 letters against "abcdefghij" of 10: one insertion among 19, 100 * (1 - 1/19)
    near = find_near_repeats([Question("t", "abcdefghi", ("x",))], [Question("q", "Abcdefghij?", ("X",))])
    assert near == {"t": ("q", pytest.approx(100 * 18 / 19))}


def test_the_same_words_are_an_exact_repeat_whatever_the_answer() -> None:
    rows = [Question("t1", "WHEN", ("x",)), Question("t2", "Who?", ("x",))]
    assert find_exact_repeats(rows, [Question("q", "When?", ("y",))]) == {"t1": "q"}


def test_a_row_repeats_an_earlier_one_with_an_answer_in_common() -> None:
    rows = [
        Question("a", "When?", ("nine",)),
        Question("b", "WHEN!", ("Nine.", "9")),
        Question("c", "When?", ("ten",)),  # the same with another answer contradicts, and repeats nothing
        Question("d", "when", ("ten",)),
    ]
    assert find_repeats(rows) == [Repeat(1, 0, 100.0), Repeat(3, 2, 100.0)]
    assert all(repeat.is_exact for repeat in find_repeats(rows))


def test_near_repeats_are_found_among_rows_and_can_be_left() -> None:
    rows = [
        Question("a", f"{LONG}?", ("two days",)),
        Question("b", f"{LONG}s?", ("two days",)),
        Question("c", f"{LONG}s?", ("three days",)),
        Question("d", f"So {LONG}s?", ("two days",)),
    ]
    near = find_repeats(rows)
    assert [(repeat.place, repeat.of, repeat.is_exact) for repeat in near] == [(1, 0, False), (3, 0, False)]
    assert 90 <= near[0].percent < 100
    assert find_repeats(rows, nearly=False) == []


def test_texts_of_a_label_that_differ_in_a_number_do_not_repeat() -> None:
    rows = [Question(f"{i}", f"I sent {i}0 euros and they never came", (f"lost {i % 2}",)) for i in range(1, 9)]
    assert find_repeats(rows) == []
    free = [Question(f"{i}", f"How old was she in game {i}0 of the last season", ("26",)) for i in range(1, 3)]
    assert len(find_repeats(free)) == 1


def test_one_question_after_two_conversations_is_two() -> None:
    def after(said: str) -> Question:
        history = ({"role": "user", "content": said}, {"role": "assistant", "content": "Yes."})
        return Question(said, LONG, ("ten",), history=history)

    assert find_repeats([after("When does the desk open?"), after("Is there a kitchen here tonight?")]) == []


def test_what_stands_beside_must_be_the_same_too() -> None:
    rows = [Question(f"{i}", LONG, ("ten",)) for i in range(3)]
    assert [repeat.place for repeat in find_repeats(rows, beside=["a", "b", "A!"])] == [2]


def test_progress_ends_with_all_rows() -> None:
    seen: list[tuple[int, int]] = []
    find_repeats([Question("a", "When?", ("x",))] * 2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 2), (1, 2), (2, 2)]
