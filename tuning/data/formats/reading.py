"""SQuAD's ways to write questions: whole articles with their paragraphs, and a row a question."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from tuning.data.formats.given import Columns, Format, Given, Row, named, others, spelt, text_in, values_of


def _fits_articles(columns: Collection[str], _: Sequence[Row]) -> Columns | None:
    return {"paragraphs": "paragraphs"} if "paragraphs" in columns else None


def _read_articles(row: Row, _: Columns) -> Iterator[Given]:
    title = text_in(row, "title").replace("_", " ")
    for paragraph in _objects(row.get("paragraphs"), "paragraphs"):
        context = text_in(paragraph, "context")
        for asked in _objects(paragraph.get("qas"), "qas"):
            golds = _objects(asked.get("answers", []), "answers")
            yield _given(asked, context, title, [gold.get("text") for gold in golds])


def _fits_rows(columns: Collection[str], sample: Sequence[Row]) -> Columns | None:
    question, answers = named(columns, "question"), named(columns, "answers", "answer")
    if question is None or answers is None:
        return None
    is_span = any(isinstance(value, Mapping) and "text" in value for value in values_of(sample, answers))
    context = named(columns, "context", "passage")
    parts = {"question": question, "answers": answers}
    return {**parts, **({"context": context} if context else {})} if is_span else None


def _read_rows(row: Row, parts: Columns) -> Iterator[Given]:
    answers = spelt(row.get(parts["answers"]))
    if not isinstance(answers, Mapping):
        raise ValueError(f'`{parts["answers"]}` must be an object {{"text": [...], "answer_start": [...]}}')
    golds = answers.get("text")
    asked = {"question": row.get(parts["question"]), **others(row, *parts.values())}
    yield _given(asked, text_in(row, parts.get("context")), text_in(row, "title"), golds)


def _given(asked: Row, context: str, title: str, golds: Any) -> Given:
    """The question with every gold once. Without any it is one that SQuAD 2.0 asks in vain."""
    found = list(dict.fromkeys(golds if isinstance(golds, list) else [golds]))
    metadata = others(asked, "id", "question", "answers", "title", "is_impossible", "plausible_answers")
    metadata |= {"article": title} if title else {}
    metadata |= {"unanswerable": True} if not found else {}
    contexts = (context,) if context.strip() else ()
    return Given(asked.get("question"), found, asked.get("id"), None, metadata, contexts=contexts, title=title)


def _objects(value: Any, name: str) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise ValueError(f"`{name}` must be a list of objects")
    return value


ARTICLES = Format("SQuAD articles", _fits_articles, _read_articles)
SPANS = Format("SQuAD rows", _fits_rows, _read_rows)
