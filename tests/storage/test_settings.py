from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, asdict, replace
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, SecretStr, TypeAdapter, ValidationError

from storage.errors import ArbiterError
from storage.settings import Count, Share, faults_of, find, part, settings


class ShelfError(ArbiterError):
    pass


@settings(ShelfError)
class Shelf:
    books: Count = 40
    """How many it holds."""
    full: Share = 0.5
    order: Literal["title", "author"] = "title"
    label: str | None = None
    codes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.label == "none":
            raise ValueError("label must be another word, not 'none'")


@settings(ShelfError)
class Tall(Shelf):
    rows: Annotated[int, Field(ge=2, le=9)] = 4


@settings()
class Free:
    weight: Share = 0.5


class Room(BaseModel, extra="forbid"):
    shelves: dict[str, Tall] = {}
    free: Free = Free()
    spare: Shelf | None = None
    size: Shelf | list[int] | None = None
    key: SecretStr | None = None
    on: bool = True


def faults(values: Any) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        Room.model_validate(values)
    return faults_of(caught.value, Room.model_json_schema())


def test_a_setting_is_a_frozen_value() -> None:
    shelf = Tall(books=3, rows=2)
    assert replace(shelf, full=1) == Tall(3, 1.0, rows=2)
    assert hash(shelf) == hash(pickle.loads(pickle.dumps(shelf)))
    assert asdict(shelf)["codes"] == ()
    assert TypeAdapter(Tall).validate_python(asdict(shelf)) == shelf
    with pytest.raises(FrozenInstanceError):
        shelf.books = 4  # type: ignore[misc]
    assert not hasattr(shelf, "__dict__")


def test_wrong_values_raise_the_packages_error_all_at_once() -> None:
    with pytest.raises(ShelfError) as caught:
        Shelf(books=0, order="size")  # type: ignore[arg-type]
    assert str(caught.value) == (
        "books must be a whole number of at least 1, not 0; order must be one of title, author, not 'size'"
    )
    with pytest.raises(ShelfError, match=r"^label must be another word, not 'none'$"):
        Tall(label="none")
    with pytest.raises(ShelfError, match=r"^book: unknown key \(did you mean 'books'\?\)$"):
        Shelf(book=3)  # type: ignore[call-arg]


def test_what_is_computed_with_may_leave_its_bounds_and_is_checked_where_it_is_read() -> None:
    assert Free(2.0).weight == 2.0
    assert faults({"free": {"weight": 2}}) == ["free.weight must be a number from 0 to 1, not 2"]


def test_a_part_is_taken_out_of_what_adds_to_it() -> None:
    assert part(Tall(books=3, rows=9), Shelf) == Shelf(books=3)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"shelves": 3}, "shelves must be a section of keys, not 3"),
        ({"shelves": {"a": None}}, "shelves.a must be a section of keys (books, full, order, label, ...), not empty"),
        ({"shelves": {"a": {"rows": 1}}}, "shelves.a.rows must be a whole number from 2 to 9, not 1"),
        ({"shelves": {"a": {"rows": "two"}}}, "shelves.a.rows must be a whole number from 2 to 9, not 'two'"),
        ({"shelves": {"a": {"rows": 2.5}}}, "shelves.a.rows must be a whole number from 2 to 9, not 2.5"),
        ({"shelves": {"a": {"full": float("nan")}}}, "shelves.a.full must be a number from 0 to 1, not nan"),
        ({"shelves": {"a": {"ful": 1}}}, "shelves.a.ful: unknown key (did you mean 'full'?)"),
        ({"shelves": {"a": {"label": "none"}}}, "shelves.a.label must be another word, not 'none'"),
        ({"spare": {"books": True}}, "spare.books must be a whole number of at least 1, not True"),
        ({"spare": {"label": 3}}, "spare.label must be text or null, not 3"),
        ({"spare": {"codes": 3}}, "spare.codes must be a list of text, not 3"),
        ({"spare": {"codes": [3]}}, "spare.codes.0 must be text, not 3"),
        (
            {"size": 3},
            "size must be a section of keys (books, full, order, label, ...), a list of a whole number or null",
        ),
        ({"size": {"books": 0}}, "size.books must be a whole number of at least 1, not 0"),
        ({"size": ["a"]}, "size.0 must be a whole number, not 'a'"),
        ({"key": 5}, "key must be text or null"),
        ({"on": "maybe"}, "on must be true or false, not 'maybe'"),
        ({"colour": "red"}, "colour: unknown key (there is shelves, free, spare, size, key, on)"),
    ],
)
def test_every_fault_says_key_value_and_what_is_expected(values: dict[str, Any], fault: str) -> None:
    (line,) = faults(values)
    assert line.startswith(fault)
    assert "Input" not in line
    assert "\n" not in line


def test_a_secret_is_not_repeated() -> None:
    (line,) = faults({"key": ["sesame"]})
    assert "sesame" not in line


def test_a_key_is_found_through_names_and_choices() -> None:
    schema = Room.model_json_schema()
    found = find(schema, ["shelves", "any", "rows"])
    assert found is not None
    assert found["maximum"] == 9
    assert find(schema, ["spare", "books"]) is not None
    assert find(schema, ["spare", "rows"]) is None
