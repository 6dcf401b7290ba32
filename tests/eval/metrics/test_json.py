from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.answers import AnswerRecord
from eval.metrics.json import JSON_SCORER, json_exact, json_f1, parse_json
from eval.questions import Question

BOOKING = '{"date": "tomorrow", "people": 4, "name": {"first": "Ada"}}'


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        (" [1, 2]\n", [1, 2]),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('```\n{"a": 1}\n```\n', {"a": 1}),
        ('Here it is: {"a": 1}', None),
        ('{"a": 1} as you asked', None),
        ("{'a': 1}", None),
        ('{"a": NaN}', None),
        ('"text"', None),
        ("12", None),
        ("", None),
        ("[" * 100_000, None),
    ],
)
def test_only_a_whole_object_or_array_is_json(text: str, value: object) -> None:
    assert parse_json(text) == value


@pytest.mark.parametrize(
    ("answer", "f1", "exact"),
    [
        (BOOKING, 1.0, 1.0),
        ('{"people": 4.0, "name": {"first": "Ada"}, "date": "tomorrow"}', 1.0, 1.0),
        # two of three said pairs among three wanted ones
        ('{"date": "tomorrow", "people": 5, "name": {"first": "Ada"}}', 2 / 3, 0.0),
        # one of one said, of three wanted: precision 1, recall 1/3
        ('{"date": "tomorrow"}', 0.5, 0.0),
        ('{"date": "tomorrow", "people": 4, "first": "Ada"}', 2 / 3, 0.0),  # the key is the whole path
        ('{"date": "Tomorrow"}', 0.0, 0.0),
        ("{}", 0.0, 0.0),
        ("no JSON", 0.0, 0.0),
    ],
)
def test_slot_f1_counts_pairs_of_key_and_value(answer: str, f1: float, exact: float) -> None:
    said, gold = parse_json(answer), parse_json(BOOKING)
    assert json_f1(said, gold) == pytest.approx(f1)
    assert json_exact(said, gold) == exact


@pytest.mark.parametrize(
    ("answer", "gold", "f1", "exact"),
    [
        ({}, {}, 1.0, 1.0),
        ([], {}, 0.0, 0.0),
        (["b", "a"], ["a", "b"], 1.0, 0.0),  # a bag for F1, a sequence for equality
        (["a", "a"], ["a"], 2 / 3, 0.0),  # precision 1/2, recall 1
        ({"a": True}, {"a": 1}, 0.0, 0.0),
        ({"a": None}, {"a": "null"}, 0.0, 0.0),
        ({"a.b": 1}, {"a": {"b": 1}}, 0.0, 0.0),
        ({"a": 1.5}, {"a": 1.5}, 1.0, 1.0),
    ],
)
def test_values_of_other_shapes(answer: object, gold: object, f1: float, exact: float) -> None:
    said, wanted = parse_json(json.dumps(answer)), parse_json(json.dumps(gold))
    assert json_f1(said, wanted) == pytest.approx(f1)
    assert json_exact(said, wanted) == exact


def test_metrics_are_defined_where_a_gold_is_json_and_take_the_best_gold() -> None:
    structured = Question("q1", "Book?", ("not json", '{"a": 1, "b": 2}', '{"a": 1}'))
    free = Question("q2", "Who?", ("Ada",))
    pairs = [
        (structured, AnswerRecord("base", "q1", '{"a": 1}')),
        (structured, AnswerRecord("base", "q1", "a is 1")),
        (structured, AnswerRecord("base", "q1", "", error="the engine answered 500")),
        (free, AnswerRecord("base", "q2", '{"a": 1}')),
        (free, AnswerRecord("base", "q2", "", error="the engine answered 500")),
    ]
    assert JSON_SCORER.score(pairs) == {
        "json_valid": [1.0, 0.0, 0.0, None, None],
        "json_f1": [1.0, 0.0, 0.0, None, None],
        "json_exact": [1.0, 0.0, 0.0, None, None],
    }


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
)


@pytest.mark.slow
@given(st.lists(VALUES, max_size=3), st.lists(VALUES, max_size=3))
def test_scores_lie_between_zero_and_one_and_a_gold_scores_one(said: list[object], gold: list[object]) -> None:
    assert 0.0 <= json_f1(said, gold) <= 1.0
    assert json_f1(said, gold) == json_f1(gold, said)
    assert json_f1(gold, gold) == json_exact(gold, gold) == 1.0
