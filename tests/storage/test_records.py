from dataclasses import dataclass

import pytest

from storage.records import WrongShape, from_json, from_row


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
