from typing import Any, Literal

import pytest
from pydantic import TypeAdapter, ValidationError

from storage.choices import choice_of
from storage.settings import Above0, Count, faults_of, settings


@settings()
class Fixed:
    name: Literal["fixed"] = "fixed"
    size: Count = 3


@settings()
class Free:
    name: Literal["free"] = "free"
    size: Above0 = 0.5
    seed: Count = 1


CHOICE = choice_of("name", {"fixed": Fixed, "free": Free}, by_name=True)
SECTION = TypeAdapter(dict[str, CHOICE])  # type: ignore[valid-type]


def test_the_key_says_which_one_it_is_and_a_name_stands_for_its_defaults() -> None:
    given: dict[str, Any] = {"a": "free", "b": {"name": "free", "seed": 2}, "c": {"size": 9}, "d": Fixed(size=1)}
    read = SECTION.validate_python(given)
    assert read == {"a": Free(), "b": Free(seed=2), "c": Fixed(size=9), "d": Fixed(size=1)}
    assert SECTION.validate_python(read) == read


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("fred", "a must be one of fixed, free, not 'fred' (did you mean 'free'?)"),
        ({"name": "fixt"}, "a: name must be one of fixed, free, not 'fixt' (did you mean 'fixed'?)"),
        (3, "a must be one of fixed, free, not 3"),
        (["free"], "a must be one of fixed, free, not ['free'] (did you mean 'free'?)"),
        (None, "a must be one of fixed, free, not None"),
        ({"seed": 3}, "a.seed: unknown key (there is name, size)"),
        # What a number must be is said of the kind that is meant.
        ({"name": "free", "size": 0}, "a.size must be a number above 0, not 0"),
        ({"name": "fixed", "size": 0}, "a.size must be a whole number of at least 1, not 0"),
    ],
)
def test_a_fault_names_the_key_and_what_there_is(given: Any, fault: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SECTION.validate_python({"a": given})
    assert faults_of(caught.value, SECTION.json_schema()) == [fault]
