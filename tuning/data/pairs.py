"""Preference pairs: a prompt, the answer that was chosen and the one that was rejected.

pairs = load_pairs(Path("data/train.jsonl"))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from storage.jsonl import sound_rows
from tuning.data.formats.given import Columns, Given, Message, unfit_text
from tuning.data.formats.read import Reading, Say, read_rows
from tuning.errors import TuningError


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two answers to one prompt, of which one was chosen.

    `prompt` is the conversation as it was given, with its own system message if it had one, and ends in a user's
    message; `router.answering.prompts.Prompt.render(pair.prompt, ())` puts it into the words that an arm is asked in.
    The answers are not the same; `chosen` is never blank, `rejected` may be.
    """

    id: str
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    metadata: Mapping[str, object] = field(default_factory=dict)


def load_pairs(path: Path, columns: Columns | None = None, *, say: Say = lambda _: None) -> tuple[PreferencePair, ...]:
    """The pairs of a file in any of the formats of `tuning.data.formats.preferences`.

    Raises TuningError with the line of every faulty row, and where the file holds no pairs; StorageError for one that
    cannot be read.
    """
    return sound_pairs(path, read_rows(path, columns, say=say))


def sound_pairs(path: Path, reading: Reading) -> tuple[PreferencePair, ...]:
    """The pairs of a file that was read. Raises as `load_pairs`."""
    like = '{"prompt": "...", "chosen": "...", "rejected": "..."}'
    called = reading.called(path)
    return sound_rows(
        called, scan_pairs(path, reading), called="pairs", like=like, error=TuningError, unit=reading.unit
    )


def scan_pairs(path: Path, reading: Reading) -> Iterator[tuple[int, PreferencePair | str]]:
    """The pairs of a file that was read, each with its number, and what is wrong in place of a faulty one."""
    lines_of: dict[str, int] = {}
    for line, given in reading.rows:
        if isinstance(given, str):
            yield line, given
        elif given.rejected is None or not isinstance(given.answers, list):
            yield line, "no pair: it has no `chosen` and `rejected`"
        else:
            name = f"{path.stem}-{line}" if given.id is None else str(given.id)
            if (first := lines_of.setdefault(name, line)) != line:
                yield line, f"id {name!r} was already used on line {first}"
                continue
            prompt = prompt_of(given)
            chosen = str(given.answers[0])
            texts = (*(str(message["content"]) for message in prompt), chosen, given.rejected)
            if (unfit := next((fault for text in texts if (fault := unfit_text(text))), None)) is not None:
                yield line, unfit
                continue
            metadata = given.metadata if isinstance(given.metadata, Mapping) else {}
            yield line, PreferencePair(name, prompt, chosen, given.rejected, metadata)


def prompt_of(given: Given) -> tuple[Message, ...]:
    """The conversation that a row's answers answer."""
    return (*given.history, {"role": "user", "content": given.question})
