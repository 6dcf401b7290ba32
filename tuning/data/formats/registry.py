"""All formats that are read, and the one that a file is in.

found = recognise(read_table(path))
found.said  # "a table: question <- Frage, answer <- Antwort"
for given in found.format.read(row, found.parts): ...
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from storage.errors import did_you_mean, listed
from tuning.data.formats.cases import GOLDENS, PROMPTFOO, PROMPTFOO_TABLE
from tuning.data.formats.chat import ASKED, CHAT, SHAREGPT
from tuning.data.formats.choices import CHOICES
from tuning.data.formats.given import Columns, Format, Row, plain_name, spelt, value_at
from tuning.data.formats.instructions import ALPACA, COMPLETION
from tuning.data.formats.preferences import OPENAI_PAIRS, PAIRS
from tuning.data.formats.reading import ARTICLES, SPANS
from tuning.data.formats.tables import MARKS, QUESTIONS, are_texts, question_column

FORMATS: Mapping[str, Format] = {
    "openai-pairs": OPENAI_PAIRS,
    "pairs": PAIRS,
    "openai-evals": ASKED,
    "sharegpt": SHAREGPT,
    "chat": CHAT,
    "squad": ARTICLES,
    "squad-rows": SPANS,
    "promptfoo": PROMPTFOO,
    "promptfoo-table": PROMPTFOO_TABLE,
    "choices": CHOICES,
    "deepeval": GOLDENS,
    "alpaca": ALPACA,
    "completion": COMPLETION,
    "table": QUESTIONS,
}
"""By name, in the order in which they are tried: the first that fits a file's columns is its format."""

PAIR_FORMATS = ("openai-pairs", "pairs")

# What a part may be called in a setting, and the column that it then stands in.
PARTS = {name: name for name in ("question", "answers", "id", "doc_ids", "context", "history", "system_prompt")} | {
    "answer": "answers",
    **{name: name for name in ("messages", "prompt", "completion", "instruction", "input", "output")},
    **{name: name for name in ("chosen", "rejected")},
}
_SAMPLE = 200
# An object of more keys holds data under them, not columns.
_WIDEST = 12
_OWN = {"question": ("question", "user_input"), "answer": ("answers", "answer", "reference")}


@dataclass(frozen=True, slots=True)
class Found:
    """The format of a file, the columns that hold its parts, and the line that says so; '' for rows of our own."""

    name: str
    format: Format
    parts: Columns
    said: str


def recognise(rows: Sequence[Row], given: Columns, name: str | None = None, *, needs_answers: bool = True) -> Found:
    """The format of most of the first rows: the first one that fits, or the one of this name.

    `given` are the columns that `renamed` was told. Raises ValueError naming the columns where none fits, or two do.
    """
    sample = rows[:_SAMPLE]
    tried = FORMATS if name is None else {name: FORMATS[name]}
    votes: Counter[str] = Counter()
    alike: dict[str, list[Row]] = {}
    for columns, some in _by_columns(sample).items():
        known = next((known for known, format in tried.items() if format.fits(columns, some) is not None), None)
        if known is not None:
            votes[known] += len(some)
            alike.setdefault(known, []).extend(some)
    chosen = votes.most_common(1)[0][0] if votes else next(iter(tried)) if name is not None else "table"
    # Rows of a table may lack what others of the file have.
    some = alike.get(chosen, list(sample))
    columns = columns_of(sample if chosen == "table" and len(votes) < 2 else some)
    parts = tried[chosen].fits(columns, some) if chosen in tried else None
    if parts is None and not needs_answers and (asked := question_column(columns, some)) is not None:
        return Found("table", QUESTIONS, {"question": asked}, "")
    if parts is None:
        raise ValueError(_unknown(columns, some, tried[name].name if name is not None else None))
    asked = parts.get("question", "")
    if asked.strip().endswith(MARKS) and not given:
        raise ValueError(f"its first row, {asked!r}, looks like a question and not like names; put these above it")
    return Found(chosen, tried[chosen], parts, _said(tried[chosen], parts, given))


def _unknown(columns: Sequence[str], rows: Sequence[Row], wanted: str | None) -> str:
    """What a file without a format is told: the columns that are there, and which part they lack."""
    there = listed(inner_columns(rows), separator=", ") or "none"
    if wanted is not None:
        return f"no {wanted}: the columns are {there}"
    asked = question_column(columns, rows)
    if asked is not None and not are_texts(rows, asked):
        lacks = f"`{asked}` holds no texts; the columns are {there}"
    else:
        lacks = f"no column of {'answers' if asked else 'questions and one of answers'} is known among {there}"
    return (
        f"{lacks}; name them question and answer, or say which they are "
        "(limits.columns.answer=COLUMN, with import --columns answer=COLUMN)"
    )


def strangers(rows: Sequence[tuple[int, Row]], found: Found) -> dict[int, str]:
    """The numbers of rows that are of another format than their file, and what they are."""
    kinds: dict[tuple[str, ...], str | None] = {}
    strange: dict[int, str] = {}
    for number, row in rows:
        columns = columns_of([row])
        if columns not in kinds:
            kinds[columns] = _other(columns, row, found)
        if (kind := kinds[columns]) is not None:
            strange[number] = f"{kind} in a file of {found.format.name}; put them into a file of their own"
    return strange


def renamed(row: Row, given: Columns) -> Row:
    """The row with each column under the name of the part that it was said to hold; `outer.inner` is what an object
    holds.
    """
    if not given:
        return row
    moved = {PARTS[part]: value for part, column in given.items() if (value := value_at(row, column)) is not None}
    kept = {column: value for column, value in row.items() if column not in given.values()}
    return {(f"{column}_column" if column in moved else column): value for column, value in kept.items()} | moved


def unwrapped(row: Row) -> Row:
    """The row that lies within one: OpenAI's `{"item": {...}}`, LangSmith's `{"inputs": {...}, "outputs": {...}}`."""
    if isinstance(item := spelt(row.get("item")), Mapping) and row.keys() <= {"item", "sample"}:
        return item
    outputs = "outputs" if "outputs" in row else "reference_outputs"
    held = [spelt(row.get(name)) for name in ("inputs", outputs)]
    if not all(isinstance(part, Mapping) for part in held):
        return row
    rest = {name: value for name, value in row.items() if name not in ("inputs", outputs)}
    return {**held[0], **held[1], **rest}


def inner_columns(rows: Sequence[Row]) -> tuple[str, ...]:
    """The columns that hold something, `outer.inner` for those of objects: what columns may be set to."""
    found: dict[str, None] = {}
    for row in rows:
        for name, value in row.items():
            held = spelt(value)
            inner = [f"{name}.{key}" for key in held] if isinstance(held, Mapping) and len(held) <= _WIDEST else []
            found.update(dict.fromkeys(inner or ([name] if value is not None else [])))
    return tuple(found)


def check_parts(given: Columns) -> None:
    """Raises ValueError for a part that rows do not have."""
    if unknown := next((part for part in given if part not in PARTS), None):
        close = did_you_mean(unknown, PARTS)
        raise ValueError(f"no part of a row is called {unknown!r}{close}; parts are {', '.join(PARTS)}")


def columns_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """The columns that hold something, in their order."""
    return tuple(dict.fromkeys(name for row in rows for name, value in row.items() if value is not None))


def _by_columns(rows: Sequence[Row]) -> dict[tuple[str, ...], list[Row]]:
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(columns_of([row]), []).append(row)
    return groups


def _other(columns: tuple[str, ...], row: Row, found: Found) -> str | None:
    try:
        kind = next((format for format in FORMATS.values() if format.fits(columns, [row]) is not None), None)
        # Of a table's columns the same ones must be what is asked and answered.
        parts = found.format.fits(columns, [row])
        is_fit = parts is not None and (kind is found.format or parts == found.parts)
    except ValueError:  # two columns may be the same part, which the file's own are known for
        return None
    # What is left of a row of the file's own format may look like a table.
    is_rest = kind is QUESTIONS and not set(columns).isdisjoint(found.parts.values())
    return None if kind is None or is_fit or is_rest else kind.name


def _said(format: Format, parts: Columns, given: Columns) -> str:
    is_own = format is QUESTIONS and all(plain_name(parts.get(part, own[0])) in own for part, own in _OWN.items())
    if is_own and not given:
        return ""
    theirs = {PARTS[part]: column for part, column in given.items()}
    held = {part: theirs.get(column, column) for part, column in parts.items()}
    pairs = (part if part == column else f"{part} <- {column}" for part, column in held.items())
    return f"{format.name}: {', '.join(pairs)}"
