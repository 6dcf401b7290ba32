"""A setting that is one of several kinds, each a class with keys of its own.

choice_of("method", {"lora": LoraRecipe, "vera": VeraRecipe})
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Tag

from storage.errors import did_you_mean


def choice_of(key: str, kinds: Mapping[str, type], *, by_name: bool = False) -> Any:
    """The kinds as one type for pydantic: the value of `key` says which; without it, the first one. With `by_name` a
    text stands for the kind of that name as it is.
    """
    first, *others = kinds
    if not others and not by_name:
        return kinds[first]

    def name_of(given: object) -> object:
        return str(given.get(key, first)) if isinstance(given, Mapping) else getattr(given, key, None)

    def known(given: object) -> object:
        is_section = isinstance(given, Mapping)
        if by_name and not is_section and not isinstance(given, tuple(kinds.values())):
            if not isinstance(given, str) or given not in kinds:
                raise ValueError(refusal(given))
            return {key: given}
        if is_section and (name := name_of(given)) not in kinds:
            raise ValueError(f"{key} {refusal(name)}")
        return given

    def refusal(name: object) -> str:
        return f"must be one of {', '.join(kinds)}, not {name!r}{did_you_mean(str(name), kinds)}"

    union = reduce(or_, (Annotated[kind, Tag(name)] for name, kind in kinds.items()))
    return Annotated[union, Discriminator(name_of), BeforeValidator(known)]
