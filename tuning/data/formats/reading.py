"""SQuAD's ways to write questions: whole articles with their paragraphs, and a row a question."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from tuning.data.formats.contexts import contexts_of
from tuning.data.formats.given import (
    Columns,
    Context,
    Format,
    Given,
    Row,
    named,
    others,
    spelt,
    text_in,
    unique,
    values_of,
)


def _fits_articles(columns: Collection[str], _: Sequence[Row]) -> Columns | None:
    return {"paragraphs": "paragraphs"} if "paragraphs" in columns else None


def _read_articles(row: Row, _: Columns) -> Iterator[Given]:
    title = text_in(row, "title").replace("_", " ")
    for paragraph in _objects(row.get("paragraphs"), "paragraphs"):
        context = text_in(paragraph, "context")
        for asked in _objects(paragraph.get("qas"), "qas"):
            golds = _objects(asked.get("answers", []), "answers")
            yield _given(asked, (Context(context, title),), title, [gold.get("text") for gold in golds])


def _fits_rows(columns: Collection[str], sample: Sequence[Row]) -> Columns | None:
    question, answers = named(columns, "question"), named(columns, "answers", "answer")
    if question is None or answers is None:
        return None
    is_span = any(_spans(value) is not None for value in values_of(sample, answers))
    context = named(columns, "context", "passage")
    parts = {"question": question, "answers": answers}
    return {**parts, **({"context": context} if context else {})} if is_span else None


def _read_rows(row: Row, parts: Columns) -> Iterator[Given]:
    golds = _spans(spelt(row.get(parts["answers"])))
    if golds is None:
        raise ValueError(f'`{parts["answers"]}` must be an object {{"text": [...], "answer_start": [...]}}')
    asked = {"question": row.get(parts["question"]), **others(row, *parts.values())}
    title, context = text_in(row, "title"), parts.get("context")
    found = contexts_of(row.get(context)) if context is not None and row.get(context) is not None else ()
    contexts = tuple(Context(one.text, one.title or title) for one in found or ())
    yield _given(asked, contexts, title, golds)


def _spans(answers: Any) -> Any:
    """The texts of answers: an object that holds a list of them, or a list of objects; None for anything else."""
    if isinstance(answers, Mapping):
        return answers.get("text")
    is_list = isinstance(answers, list) and bool(answers)
    return [one["text"] for one in answers] if is_list and all(_is_span(one) for one in answers) else None


def _is_span(value: Any) -> bool:
    return isinstance(value, Mapping) and "text" in value


def _given(asked: Row, contexts: tuple[Context, ...], title: str, golds: Any) -> Given:
    """The question with every gold once. Without any it is one that SQuAD 2.0 asks in vain."""
    found = unique(golds if isinstance(golds, list) else [golds])
    metadata = others(asked, "id", "question", "answers", "title", "is_impossible", "plausible_answers")
    metadata |= {"article": title} if title else {}
    metadata |= {"unanswerable": True} if not found else {}
    told = tuple(one for one in contexts if one.text.strip())
    return Given(asked.get("question"), found, asked.get("id"), None, metadata, contexts=told)


def _objects(value: Any, name: str) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise ValueError(f"`{name}` must be a list of objects")
    return value


ARTICLES = Format("SQuAD articles", _fits_articles, _read_articles)
SPANS = Format("SQuAD rows", _fits_rows, _read_rows)
