from dataclasses import replace
from typing import Any, Literal

import pytest
from pydantic import TypeAdapter, ValidationError

from storage.settings import Count, faults_of, settings
from tuning.errors import TuningError
from tuning.methods.lora import LORA, LoraRecipe
from tuning.methods.registry import METHODS, recipe_type
from tuning.recipe import Recipe


@settings(TuningError)
class PrefixRecipe(Recipe):
    method: Literal["prefix"] = "prefix"
    num_tokens: Count = 20


PREFIX = replace(LORA, name="prefix", recipe=PrefixRecipe)
SECTIONS = TypeAdapter(dict[str, recipe_type([LORA, PREFIX])])  # type: ignore[misc]


def test_a_method_is_found_by_the_name_in_its_recipe() -> None:
    assert all(METHODS[method.recipe().method] is method for method in METHODS.values())


def test_the_method_of_a_section_says_what_its_keys_are() -> None:
    read = SECTIONS.validate_python({"a": {"rank": 4}, "b": {"method": "prefix", "num_tokens": 3, "epochs": 1}})
    assert read == {"a": LoraRecipe(rank=4), "b": PrefixRecipe(num_tokens=3, epochs=1)}
    assert SECTIONS.validate_python(read) == read


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        ({"method": "prefix", "rank": 4}, "a.rank: unknown key"),
        ({"method": "prefix", "num_tokens": 0}, "a.num_tokens must be a whole number of at least 1, not 0"),
        ({"num_tokens": 4}, "a.num_tokens: unknown key"),
        ({"method": "magic"}, "a: method must be one of lora, prefix, not 'magic'"),
        ({"method": "perfix"}, "a: method must be one of lora, prefix, not 'perfix' (did you mean 'prefix'?)"),
    ],
)
def test_a_fault_names_the_key(section: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SECTIONS.validate_python({"a": section})
    (line,) = faults_of(caught.value, SECTIONS.json_schema())
    assert line.startswith(fault)
