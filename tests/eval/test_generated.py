from __future__ import annotations

from eval.generated import GENERATED, Generated, count_generated, generated_doubts, generated_warnings
from eval.questions import Question


def question(name: str, **told: object) -> Question:
    return Question(name, f"Who is {name}?", ("x",), (), {GENERATED: told} if told else {})


def test_questions_of_people_are_no_warning() -> None:
    assert list(generated_warnings([question("a")])) == []
    assert list(generated_doubts([question("a")])) == []


def test_generated_questions_are_counted_and_those_that_nobody_has_looked_at() -> None:
    rows = [
        question("a"),
        question("b", reviewed="2026-01-01T00:00:00+00:00"),
        question("c", reviewed=None),
        question("d", reviewed=False),
    ]
    assert count_generated(rows) == Generated(num=3, num_unreviewed=2, num_all=4)
    assert list(generated_warnings(rows)) == [
        "3 of the 4 questions were written by a model from the documents; 2 of them were not reviewed by anybody "
        "(arbiter data review)."
    ]
    assert list(generated_warnings(rows[:2])) == [
        "1 of the 2 questions was written by a model from the documents; all of them were reviewed."
    ]
    (doubt,) = generated_doubts(rows)
    assert doubt.startswith("If people ask otherwise than the model that wrote 3 of the 4 questions")
