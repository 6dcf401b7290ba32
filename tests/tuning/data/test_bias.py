from __future__ import annotations

import pytest

from tuning.data.bias import GENDER, Terms, audit_rows


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("She is here.", 0),
        ("Mr. Brown pays", 1),
        ("My wife's card", 0),
        ("He told her", -1),
        ("Nobody came, the theory holds", None),
    ],
)
def test_a_text_speaks_of_one_group_of_both_or_of_none(text: str, group: int | None) -> None:
    assert GENDER.group_of(text) == group


def test_the_words_of_one_group_are_put_for_the_others() -> None:
    assert GENDER.swapped("She told HIM about Mary's wife.") == "He told HER about James's husband."
    assert GENDER.swapped("mary and Robert") == "james and Jennifer"


def test_a_possessive_is_the_word_itself() -> None:
    assert GENDER.group_of("Mary's card") == 0
    assert GENDER.swapped("Mary's card, her son's card") == "James's card, his daughter's card"


def test_counterparts_and_shares_are_counted() -> None:
    texts = ["she wants a loan", "he wants a loan", "she pays", "he pays", "her card", "it rains", "she and he"]
    labels = ["no", "yes", "yes", "yes", "no", "no", "yes"]
    audit = audit_rows(texts, labels, GENDER)
    assert (audit.groups, audit.num_rows, audit.num_both) == (("female", "male"), (3, 2), 1)
    # both who pay are labelled alike, both who want a loan are not, and nobody has his card
    assert (audit.num_same, audit.num_other, audit.num_alone) == (2, 2, 1)
    of_label = {one.label: one for one in audit.differences}
    assert of_label["no"].counts == (2, 0)
    assert of_label["no"].difference == pytest.approx(2 / 3)
    assert of_label["yes"].difference == pytest.approx(-2 / 3)
    assert not any(one.is_shown for one in audit.differences)


def test_an_imbalance_of_many_rows_is_shown_with_its_interval() -> None:
    texts = ["she asks"] * 40 + ["he asks"] * 40
    labels = ["nurse"] * 30 + ["doctor"] * 10 + ["nurse"] * 10 + ["doctor"] * 30
    audit = audit_rows(texts, labels, GENDER)
    (first, second) = audit.differences
    assert first.is_shown
    assert second.is_shown
    assert (first.shares, first.difference) == ((0.25, 0.75), -0.5)
    # Newcombe's method 10 at 97.5%: Wilson's intervals of 10 of 40 and 30 of 40 are .131 to .425 and .575 to .869
    assert (first.low, first.high) == (pytest.approx(-0.669, abs=0.001), pytest.approx(-0.252, abs=0.001))


def test_rows_without_labels_or_groups_have_no_differences() -> None:
    assert audit_rows(["she asks", "he asks"], [None, None], GENDER).differences == ()
    audit = audit_rows(["it rains", "she asks"], ["a", "b"], GENDER)
    assert (audit.differences, audit.num_rows) == ((), (1, 0))


def test_other_words_can_be_given() -> None:
    terms = Terms(("jung", "alt"), (("junger", "alter"), ("junge", "alte")))
    audit = audit_rows(["Eine junge Frau", "Eine alte Frau"], ["a", "a"], terms)
    assert (audit.num_rows, audit.num_same) == ((1, 1), 2)
