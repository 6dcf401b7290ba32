"""What of a row a model sees and what it learns: `look_at(tokenizer, SUPERVISED.encode(tokenizer, row))`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

from tuning.objectives.objective import IGNORED, EncodedRow


@dataclass(frozen=True, slots=True)
class Token:
    """A token as the tokenizer writes it, and whether its loss is taken."""

    id: int
    text: str
    is_trained: bool


@dataclass(frozen=True, slots=True)
class Preview:
    """A row's tokens, and its text in pieces that are trained on as a whole or not at all."""

    tokens: tuple[Token, ...]
    pieces: tuple[tuple[str, bool], ...]

    @property
    def num_trained(self) -> int:
        """Tokens that are learned."""
        return sum(token.is_trained for token in self.tokens)


def look_at(tokenizer: Any, row: EncodedRow) -> Preview:
    """The preview of an encoded row, special tokens written out."""
    marks = [label != IGNORED for label in row.labels]
    texts = tokenizer.convert_ids_to_tokens(list(row.input_ids))
    tokens = tuple(map(Token, row.input_ids, texts, marks))
    runs = (
        (is_trained, [token.id for token in run]) for is_trained, run in groupby(tokens, lambda one: one.is_trained)
    )
    pieces = tuple((str(tokenizer.decode(ids, skip_special_tokens=False)), is_trained) for is_trained, ids in runs)
    return Preview(tokens, pieces)


def unlearnable(tokenizer: Any, row: EncodedRow) -> str | None:
    """Why nothing good is learned from a row: no token is trained, or none of these ends a text; None if there is no
    such reason.
    """
    trained = [label for label in row.labels if label != IGNORED]
    if not trained:
        return "no token is trained: all of them are masked"
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in trained:
        return f"no trained token is {tokenizer.eos_token!r}, so that a model trained with it would not stop"
    return None
