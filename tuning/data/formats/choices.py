"""Questions with answers to choose from: MMLU's and ARC's rows, and tables with a column a choice.

The choices stand under the question with a letter each. Its letter, its text and both are accepted; the letter is what
is learned.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from tuning.data.formats.contexts import contexts_of
from tuning.data.formats.given import Columns, Format, Given, Row, named, others, refuse_media, spelt, values_of

_QUESTION = ("question", "query", "prompt", "question_stem", "input", "sentence", "ctx")
_CHOICES = ("choices", "options", "endings", "answer_choices")
# MMLU-Pro has the place beside the letter; a column of its own says more than one that may be either.
_ANSWER = (
    *("answer_key", "answer_index", "answer_idx", "answer", "correct_answer", "correct_option", "correct", "label"),
    *("gold", "target", "ideal", "cop"),
)
_CONTEXT = ("context", "passage", "support", "article")


def _fits(columns: Collection[str], sample: Sequence[Row]) -> Columns | None:
    question, choices, answer = named(columns, *_QUESTION), named(columns, *_CHOICES), named(columns, *_ANSWER)
    if question is None or answer is None:
        return None
    lettered = _lettered(columns)
    if choices is None or not any(_texts_of(value) is not None for value in values_of(sample, choices)):
        if len(lettered) < 2 or not any(_is_letter(row.get(answer), lettered) for row in sample):
            return None
        choices = ", ".join(lettered.values())
    context = named(columns, *_CONTEXT)
    told = "place" if _are_places(sample, choices, answer) else "answer"
    return {"question": question, "choices": choices, told: answer, **({"context": context} if context else {})}


def _read(row: Row, parts: Columns) -> Iterator[Given]:
    refuse_media(row)
    question, context = row.get(parts["question"]), parts.get("context")
    if not (found := _choices_in(row, parts["choices"])):
        raise ValueError(f"`{parts['choices']}` must be a list of texts")
    label = _label(row, parts, found)
    used = [*parts.values(), *(() if parts["choices"] in row else _lettered(row).values())]
    yield Given(
        "\n".join([str(question), *(f"{name}. {text}" for name, text in found.items())]) if question else None,
        list(dict.fromkeys((label, found[label], f"{label}. {found[label]}"))),
        id=row.get("id"),
        metadata=others(row, "id", *used),
        contexts=(contexts_of(row[context]) or ()) if context is not None and row.get(context) is not None else (),
    )


def _choices_in(row: Row, column: str) -> dict[str, str]:
    """Letter -> text of the choices of a row; none where it has none."""
    if (found := _texts_of(spelt(row.get(column)))) is not None:
        return found
    return {letter: str(row[name]) for letter, name in _lettered(row).items()} if column not in row else {}


def _texts_of(choices: Any) -> dict[str, str] | None:
    """Letter -> text of a list of choices, or of an object with their texts and labels; None for anything else."""
    texts, labels = (choices.get("text"), choices.get("label")) if isinstance(choices, Mapping) else (choices, None)
    if not isinstance(texts, list) or len(texts) < 2 or len(texts) > len(ascii_uppercase):
        return None
    if all(isinstance(one, Mapping) and "text" in one for one in texts):
        labels, texts = [one.get("label") for one in texts], [one["text"] for one in texts]
    if not all(isinstance(text, str | int | float) for text in texts):
        return None
    names = labels if isinstance(labels, list) and len(labels) == len(texts) and all(labels) else ascii_uppercase
    return {str(name): _bare(str(text), str(name)) for name, text in zip(names, texts, strict=False)}


def _bare(text: str, name: str) -> str:
    """The text without the letter that it may begin with: "A)21"."""
    is_named = text[: len(name)] == name and text[len(name) : len(name) + 1] in (")", ".", ":")
    return text[len(name) + 1 :].strip() if is_named else text.strip()


def _lettered(columns: Collection[str] | Row) -> dict[str, str]:
    """Letter -> column, of columns called A, B, C ..., option_a ... or opa ..."""
    for form in ("{}", "option_{}", "option{}", "choice_{}", "choice{}", "op{}"):
        found = ((letter, named(columns, form.format(letter.lower()))) for letter in ascii_uppercase)
        there = {letter: column for letter, column in found if column is not None}
        filled = {
            letter: column
            for letter, column in there.items()
            if not isinstance(columns, Mapping) or columns[column] not in (None, "")
        }
        if "A" in there and "B" in there:
            return filled
    return {}


def _is_letter(answer: Any, lettered: Collection[str]) -> bool:
    return isinstance(answer, str) and answer.strip().strip("().").upper() in lettered


def _are_places(sample: Sequence[Row], choices: str, answer: str) -> bool:
    """Whether numbers in the column of answers are places. Whether "2" is one or a text can only be told of all."""
    held = [(_choices_in(row, choices), row[answer]) for row in sample if row.get(answer) not in (None, "")]
    if not all(_is_place(value) for _, value in held):
        return False
    are_within = all(int(value) < len(texts) for texts, value in held)
    return are_within or not all(str(value).strip() in texts.values() for texts, value in held)


def _is_place(answer: Any) -> bool:
    return not isinstance(answer, bool) and str(answer).strip().isdecimal()


def _label(row: Row, parts: Columns, choices: Mapping[str, str]) -> str:
    """The label of the choice that an answer names by its label, its place from 0, or its text."""
    answer = row.get(parts.get("place", parts.get("answer", "")))
    text = str(answer).strip()
    bare = text.strip("().")
    labels = list(choices)
    if (label := next((label for label in labels if label.casefold() == bare.casefold()), None)) is not None:
        return label
    if "place" in parts and _is_place(answer) and int(text) < len(labels):
        return labels[int(text)]
    if (label := next((label for label, one in choices.items() if one == text), None)) is not None:
        return label
    raise ValueError("the answer is none of the choices: neither a letter, nor a place from 0, nor a text of them")


CHOICES = Format("questions with choices", _fits, _read)
