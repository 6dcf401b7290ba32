from __future__ import annotations

import pytest

from eval.questions import Question
from eval.report.cuts import collection_of, cut_questions


def asked(*values: object, key: str = "kind", text: str = "one two three") -> list[Question]:
    """A question per value, all of one length, with `key` in its metadata unless the value is None."""
    return [
        Question(f"q{i}", text, ("x",), metadata={} if value is None else {key: value})
        for i, value in enumerate(values)
    ]


def found(questions: list[Question], **options: int) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(cut.name, cut.value, cut.members) for cut in cut_questions(questions, **options)]


def test_kinds_are_cut_with_the_most_frequent_first() -> None:
    assert found(asked("note", "fact", "fact", None)) == [("kind", "fact", (1, 2)), ("kind", "note", (0,))]


def test_cuts_that_are_too_small_are_left_out() -> None:
    assert found(asked("note", "fact", "fact"), min_questions=2) == [("kind", "fact", (1, 2))]


@pytest.mark.parametrize(
    ("question", "collection"),
    [
        (Question("q", "?", ("x",), ("loans/fees",)), "loans"),
        (Question("q", "?", ("x",), ("a/b/c", "d/e")), "a/b"),
        (Question("q", "?", ("x",), ("squad-Doctor_Who-008",)), "squad-Doctor_Who"),
        (Question("q", "?", ("x",), ("wiki#12",)), "wiki"),
        (Question("q", "?", ("x",), ("kinds-of-member",)), "kinds-of-member"),
        (Question("q", "?", ("x",), ("17",)), None),
        (Question("q", "?", ("x",), ("a/b",), {"collection": "faq"}), "faq"),
        (Question("q", "?", ("x",)), None),
    ],
)
def test_a_collection_is_named_or_read_from_the_gold_document(question: Question, collection: str | None) -> None:
    assert collection_of(question) == collection


def test_lengths_are_cut_in_terciles() -> None:
    questions = [Question(f"q{i}", "word " * n, ("x",)) for i, n in enumerate([9, 1, 5, 2, 8, 4])]
    assert found(questions) == [
        ("length in words", "1 to 2", (1, 3)),
        ("length in words", "4 to 5", (2, 5)),
        ("length in words", "8 to 9", (0, 4)),
    ]


def test_equal_lengths_are_not_torn_apart() -> None:
    questions = [Question(f"q{i}", "word " * n, ("x",)) for i, n in enumerate([3, 3, 3, 3, 4, 9])]
    assert [value for _, value, _ in found(questions)] == ["3", "4 to 9"]


def test_numbers_with_many_values_are_cut_at_their_quartiles() -> None:
    cuts = found(asked(*(n * 1000 for n in range(16)), key="popularity"))
    assert [(name, value) for name, value, _ in cuts] == [
        ("popularity", "0 to 3,000"),
        ("popularity", "4,000 to 7,000"),
        ("popularity", "8,000 to 11,000"),
        ("popularity", "12,000 to 15,000"),
    ]
    # No question is in two quartiles or in none.
    assert sorted(i for _, _, members in cuts for i in members) == list(range(16))


def test_numbers_with_few_values_are_categories() -> None:
    assert [cut[:2] for cut in found(asked(1, 2, 2, 0.5, key="level"))] == [
        ("level", "2"),
        ("level", "0.5"),
        ("level", "1"),
    ]


@pytest.mark.parametrize(
    "values",
    [
        ["same", "same", "same"],
        [f"text {i}" for i in range(13)],
        [*range(13), "a word among the numbers"],
        [["a"], ["b"], {"c": 1}],
        [float("nan"), float("inf"), 1, 1],
        ["", "  ", "a"],
    ],
)
def test_metadata_that_is_no_category_and_no_number_is_not_cut(values: list[object]) -> None:
    assert found(asked(*values, key="tag")) == []


def test_yes_and_no_are_categories() -> None:
    assert found(asked(True, False, True, key="seen")) == [("seen", "yes", (0, 2)), ("seen", "no", (1,))]


def test_the_same_questions_are_cut_once() -> None:
    questions = [
        Question(f"q{i}", "one two", ("x",), metadata={"kind": kind, "topic": kind.upper()})
        for i, kind in enumerate(["a", "b", "a"])
    ]
    assert [name for name, _, _ in found(questions)] == ["kind", "kind"]


def test_no_questions_have_no_cuts() -> None:
    assert cut_questions([]) == ()
