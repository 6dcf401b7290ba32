"""Instructions and completions: Alpaca's, Dolly's, and TRL's prompt and completion, texts or conversations."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from tuning.data.formats.given import (
    Columns,
    Format,
    Given,
    Row,
    named,
    others,
    rating,
    refuse_media,
    text_in,
)
from tuning.data.formats.messages import Turn, are_messages, history_of, last_exchange, read_messages, with_system

_SYSTEM = ("system", "system_prompt")
_OUTPUT = ("output", "response", "completion", "answer")


def _fits_alpaca(columns: Collection[str], _: Sequence[Row]) -> Columns | None:
    instruction, output = named(columns, "instruction"), named(columns, *_OUTPUT)
    if instruction is None or output is None:
        return None
    more = named(columns, "input", "context")
    return {"instruction": instruction, **({"input": more} if more else {}), "output": output}


def _read_alpaca(row: Row, parts: Columns) -> Iterator[Given]:
    refuse_media(row)
    asked = [text for part in ("instruction", "input") if (text := text_in(row, parts.get(part))).strip()]
    system, before = named(row, *_SYSTEM), named(row, "history")
    # LLaMA-Factory, whose column this is, learns the answers in it.
    history, learned = history_of(
        row.get(system) if system else None, row.get(before) if before else None, is_learned=True
    )
    yield Given(
        "\n\n".join(asked),
        row.get(parts["output"]),
        id=row.get("id"),
        history=history,
        learned=learned,
        metadata=others(row, "id", system, before, *parts.values()),
    )


def _fits_completion(columns: Collection[str], _: Sequence[Row]) -> Columns | None:
    prompt, completion = named(columns, "prompt"), named(columns, "completion")
    return {"prompt": prompt, "completion": completion} if prompt and completion else None


def _read_completion(row: Row, parts: Columns) -> Iterator[Given]:
    refuse_media(row)
    asked, said = _turns(row, parts["prompt"], "user"), _turns(row, parts["completion"], "assistant")
    system = named(row, *_SYSTEM)
    turns = with_system(row.get(system) if system else None, (*asked, *said))
    found = last_exchange(turns)
    yield Given(
        found.question,
        [found.answer.strip()],  # a completion of OpenAI's older files begins with a blank
        id=row.get("id"),
        history=found.history,
        # TRL learns the completion alone, which may hold several answers.
        learned=tuple(place for place in found.learned if place >= len(turns) - len(said)),
        metadata=others(row, "id", system, *parts.values()),
        is_wanted=rating(row),
    )


def _turns(row: Row, column: str, role: str) -> tuple[Turn, ...]:
    value = row.get(column)
    if isinstance(value, list | Mapping) or are_messages(value):
        return read_messages(value)
    return (Turn(role, text_in(row, column)),)


ALPACA = Format("Alpaca instructions", _fits_alpaca, _read_alpaca)
COMPLETION = Format("prompt and completion", _fits_completion, _read_completion)
