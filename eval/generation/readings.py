"""How likely a model finds the tokens of a text, as vLLM tells it: `reading_of(completion, ids, start=1)`."""

from __future__ import annotations

import json
import zlib
from typing import Any

from eval.errors import EvalError

Reading = tuple[tuple[tuple[int, float, str], ...], ...]
"""Of each place of a text its own token, with id, log-probability and text, and behind it the likeliest in its place;
texts are empty where the text was given as tokens.
"""


_OTHER_FORM = "its prompt_logprobs for /v1/completions are not of vLLM's form"


class NoProbabilities(EvalError):
    """A model does not tell how likely the tokens of a given text are."""


def reading_of(completion: Any, text: str | tuple[int, ...], start: int) -> Reading:
    """The reading of a text from the place `start` on, 1 at least: nothing comes before the first token.

    Numbers are rounded before they are first used, so that what is remembered is what was given. Raises NoProbabilities
    where the completion has no `prompt_logprobs` of vLLM's form.
    """
    choices = completion.choices or []
    places = getattr(choices[0], "prompt_logprobs", None) if choices else None
    has_texts = isinstance(text, str)
    if not isinstance(places, list) or not (has_texts or len(places) == len(text)):
        raise NoProbabilities("it gives no prompt_logprobs for /v1/completions, as vLLM does")
    try:
        reading = tuple(
            tuple(
                (int(token), round(float(one["logprob"]), 6), str(one.get("decoded_token") or "") if has_texts else "")
                for token, one in place.items()
            )
            for place in places[start:]
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NoProbabilities(_OTHER_FORM) from error
    if not all(reading):
        raise NoProbabilities(_OTHER_FORM)
    return reading


def packed(reading: Reading) -> bytes:
    """The reading as it is kept."""
    return zlib.compress(json.dumps(reading).encode())


def unpacked(stored: bytes) -> Reading:
    """What `packed` gave. Raises ValueError for anything else."""
    try:
        places = json.loads(zlib.decompress(stored))
    except zlib.error as error:
        raise ValueError(str(error)) from error
    return tuple(tuple((int(token), float(number), str(text)) for token, number, text in place) for place in places)
