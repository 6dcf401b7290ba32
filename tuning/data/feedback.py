"""What people thought of answers: pairs of which one was preferred, and answers with a thumb up or down.

found = load_feedback(Path("data/train.jsonl"))
found.pairs, found.rated   # each made of the other where the file holds the other
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from storage.jsonl import sound_rows
from tuning.data.formats.given import Columns, Message
from tuning.data.formats.read import Reading, Say, read_rows
from tuning.data.formats.registry import PAIR_FORMATS
from tuning.data.pairs import PreferencePair, prompt_of, sound_pairs
from tuning.errors import TuningError


@dataclass(frozen=True, slots=True)
class RatedAnswer:
    """An answer to a prompt, and whether it is wanted."""

    id: str
    prompt: tuple[Message, ...]
    answer: str
    is_wanted: bool


@dataclass(frozen=True, slots=True)
class Feedback:
    """Pairs, and answers that are rated; both are empty where nobody said what he thought."""

    pairs: tuple[PreferencePair, ...] = ()
    rated: tuple[RatedAnswer, ...] = ()


def load_feedback(path: Path, columns: Columns | None = None, *, say: Say = lambda _: None) -> Feedback:
    """The pairs of a file in any of their formats, or the answers of one whose rows say `label` true or false.

    Raises TuningError with the line of every faulty row, StorageError for a file that cannot be read.
    """
    reading = read_rows(path, columns, keeps_unwanted=True, say=say)
    if reading.format in PAIR_FORMATS:
        pairs = sound_pairs(path, reading)
        return Feedback(pairs, rated_of(pairs))
    if not any(not isinstance(given, str) and given.is_wanted is not None for _, given in reading.rows):
        return Feedback()
    like = '{"prompt": "...", "completion": "...", "label": true}'
    called, named = reading.called(path), {"called": "rated answers", "like": like, "unit": reading.unit}
    rated = sound_rows(called, _rated(path, reading), error=TuningError, **named)
    return Feedback(pairs_of(rated), rated)


def rated_of(pairs: Sequence[PreferencePair]) -> tuple[RatedAnswer, ...]:
    """Both answers of every pair: all that were chosen, then all that were rejected."""
    chosen = (RatedAnswer(f"{pair.id}:chosen", pair.prompt, pair.chosen, True) for pair in pairs)
    rejected = (RatedAnswer(f"{pair.id}:rejected", pair.prompt, pair.rejected, False) for pair in pairs)
    return (*chosen, *rejected)


def pairs_of(rated: Sequence[RatedAnswer]) -> tuple[PreferencePair, ...]:
    """A pair of each wanted answer and an unwanted one to the same prompt, each answer in one pair at most."""
    groups: dict[str, tuple[list[RatedAnswer], list[RatedAnswer]]] = {}
    for one in rated:
        groups.setdefault(prompt_key(one.prompt), ([], []))[0 if one.is_wanted else 1].append(one)
    return tuple(
        PreferencePair(f"{good.id}+{bad.id}", good.prompt, good.answer, bad.answer)
        for wanted, unwanted in groups.values()
        for good, bad in zip(wanted, unwanted, strict=False)
        if good.answer.strip() != bad.answer.strip()
    )


def prompt_key(prompt: Sequence[Message]) -> str:
    """A text that is the same for the same prompt."""
    return json.dumps([[message["role"], message["content"]] for message in prompt])


def _rated(path: Path, reading: Reading) -> Iterator[tuple[int, RatedAnswer | str]]:
    for line, given in reading.rows:
        if isinstance(given, str):
            yield line, given
        elif given.is_wanted is None:
            yield line, "no `label`, true or false, among rows that have one"
        else:
            assert isinstance(given.answers, list), "these formats have one answer a row"
            name = f"{path.stem}-{line}" if given.id is None else str(given.id)
            yield line, RatedAnswer(name, prompt_of(given), str(given.answers[0]), given.is_wanted)
