import datetime
from dataclasses import dataclass
from pathlib import Path

import pytest

from storage.records import WrongShape, as_json, from_json, from_row, json_lines


@dataclass(frozen=True, slots=True)
class Point:
    x: float
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    ends: tuple[Point, ...]
    called: str | None = None


def test_nested_rows_become_values_again() -> None:
    line = Line((Point(1.0, ("a",)), Point(2.5)), "edge")
    assert from_json(Line, '{"ends": [{"x": 1, "tags": ["a"]}, {"x": 2.5, "tags": []}], "called": "edge"}') == line
    assert from_row(Line, {"ends": [{"x": 1.0, "tags": ["a"]}, {"x": 2.5}], "called": "edge"}) == line


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"ends": [{"tags": []}]}', "^ends.0.x: Field required$"),
        ('{"ends": [{"x": "1"}]}', "^ends.0.x: Input should be a valid number$"),
        ('{"ends": [], "colour": "red"}', "^colour: "),
        ("[]", "^Input should be an object$"),
    ],
)
def test_another_shape_is_refused_with_its_place_in_one_line(text: str, fault: str) -> None:
    with pytest.raises(WrongShape, match=fault):
        from_json(Line, text)


def test_keys_besides_may_be_passed_over() -> None:
    assert from_json(Line, '{"ends": [], "length": 0}', extra="ignore") == Line(())


def test_a_torn_text_is_told_from_another_shape() -> None:
    with pytest.raises(ValueError, match="Invalid JSON") as caught:
        from_json(Line, '{"ends": [')
    assert not isinstance(caught.value, WrongShape)


def test_values_become_what_json_gives_back() -> None:
    row = {
        1: datetime.datetime(2024, 5, 1, 12, 30),
        "numbers": (float("inf"), -float("inf"), float("nan"), 1.5),
        "list": (1, None, True, {"x": Path("a")}, 1j),
        "bytes": b"\xff",
        "line": Line((Point(1.0),)),
    }
    assert as_json(row) == {
        "1": "2024-05-01T12:30:00",
        "numbers": [None, None, None, 1.5],
        "list": [1, None, True, {"x": "a"}, "1j"],
        "bytes": "_w==",
        "line": {"ends": [{"x": 1.0, "tags": []}], "called": None},
    }


def test_rows_are_written_one_a_line() -> None:
    assert json_lines([{"a": "é"}, {"b": 1}]) == '{"a": "é"}\n{"b": 1}\n'
    assert json_lines([]) == ""
