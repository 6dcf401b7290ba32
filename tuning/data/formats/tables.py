"""Tables of questions and answers, or of texts and labels: our own rows, LangChain's query and answer, and whatever
columns people give, recognised by name in several languages and by what stands in them.

One name means one thing: `answer` is the gold, unless a column of golds or of what was retrieved stands beside it, as
in ragas's exports. Where both may be meant it is asked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from tuning.data.formats.contexts import contexts_of
from tuning.data.formats.given import (
    Columns,
    Format,
    Given,
    Row,
    named,
    others,
    plain_name,
    refuse_media,
    spelt,
    unique,
    values_of,
)
from tuning.data.formats.messages import history_of

TABLE = "a table"

_QUESTION = (
    *("question", "user_input", "query", "questions", "user_question", "frage", "kundenfrage", "anfrage", "pregunta"),
    *("consulta", "demande", "domanda", "vraag", "pergunta", "pytanie", "soru", "вопрос"),
    *("问题", "問題", "質問", "질문", "سؤال", "प्रश्न"),
)
# What may be asked about; a question where a column of answers or labels stands beside it.
_TEXT = (
    *("prompt", "instruction", "input", "utterance", "sentence", "text", "message", "request", "ticket", "review"),
    *("comment", "content", "tweet", "email", "description", "body", "document", "nachricht", "anliegen", "satz"),
    *("texte", "texto", "testo", "tekst", "phrase", "текст", "文本", "テキスト"),
)
_GOLDS = ("answers", "gold_answers", "correct_answers", "ground_truths", "references")
_GOLD = (
    *(
        "ground_truth",
        "groundtruth",
        "gt_answer",
        "gold",
        "gold_answer",
        "golden_answer",
        "correct_answer",
        "best_answer",
    ),
    *("expected_output", "expected_answer", "expected", "reference", "reference_answer", "ideal", "target", "solution"),
)
_ANSWER = (
    *("answer", "antwort", "respuesta", "réponse", "reponse", "risposta", "antwoord", "resposta", "odpowiedź"),
    *("odpowiedz", "cevap", "ответ", "答案", "回答", "답변", "答え", "جواب", "إجابة", "उत्तर", "lösung", "loesung"),
)
_SAID = ("response", "output", "completion", "result")
# What a model answered, whatever stands beside it.
_MODEL_S = (
    *("prediction", "predictions", "predicted_answer", "actual_output", "actual", "generated_answer", "generated_text"),
    *("generation", "model_answer", "model_output", "model_response", "llm_answer", "llm_response", "llm_output"),
)
# Columns that are a question and its answer where both are there.
_SPEAKERS = (
    *(("user", "assistant"), ("human", "assistant"), ("human", "ai"), ("human", "gpt"), ("user", "bot")),
    *(("customer", "agent"), ("q", "a"), ("eingabe", "ausgabe"), ("entrada", "salida"), ("entrée", "sortie")),
)
_SYSTEM, _HISTORY = ("system_prompt", "system"), ("history", "chat_history", "conversation_history")
_LABEL = (
    *("label", "labels", "intent", "category", "class", "label_text", "tag", "topic", "sentiment", "kategorie"),
    *(
        "klasse",
        "absicht",
        "étiquette",
        "etiqueta",
        "categoría",
        "catégorie",
        "categoria",
        "etichetta",
        "метка",
        "标签",
        "ラベル",
    ),
)
_RETRIEVED = ("contexts", "retrieved_contexts", "retrieved_context", "retrieval_context")
_CONTEXT = ("context", "reference_contexts", "passage", "paragraph")
_IDS = ("id", "qid", "question_id", "query_id", "sample_id")
_DOCUMENT_IDS = ("doc_ids", "document_ids")
# What of the values must end in a question mark for a column of another name to hold the questions.
_ASKING_SHARE = 0.8
MARKS = ("?", "？", "؟")


def _fits(columns: Collection[str], sample: Sequence[Row]) -> Columns | None:
    question, answer = question_column(columns, sample), _answer(columns)
    answer = answer or _said(columns, question) or named(columns, *_LABEL) or _spoken(columns)[1]
    answer = answer or _remaining(columns, sample, question)
    if question is None or not are_texts(sample, question):
        return None
    if answer is None or answer == question:
        return {"question": question} if any(map(_is_unanswerable, sample)) else None
    more = {"context": _CONTEXT, "history": _HISTORY, "system_prompt": _SYSTEM}
    found = {part: column for part, names in more.items() if (column := named(columns, *names)) is not None}
    return {"question": question, "answer": answer, **found}


def question_column(columns: Collection[str], sample: Sequence[Row]) -> str | None:
    """The column of questions, or of texts where answers or labels stand beside them."""
    if (question := named(columns, *_QUESTION)) is not None:
        return question
    beside = named(columns, *_GOLDS, *_GOLD, *_ANSWER, *_SAID, *_LABEL)
    return (named(columns, *_TEXT) if beside else None) or _spoken(columns)[0] or _asking(columns, sample)


def are_texts(sample: Sequence[Row], column: str) -> bool:
    """Whether some of what stands in a column is text, or may be read as such."""
    values = [row[column] for row in sample if row.get(column) is not None]
    return not values or any(isinstance(value, str | int | float) for value in values)


def _spoken(columns: Collection[str]) -> tuple[str, str] | tuple[None, None]:
    """The columns of two that speak."""
    pairs = ((named(columns, asked), named(columns, said)) for asked, said in _SPEAKERS)
    return next(((asked, said) for asked, said in pairs if asked is not None and said is not None), (None, None))


def _answer(columns: Collection[str]) -> str | None:
    """The column of golds. Raises ValueError where two may be it."""
    golds, gold, answer = named(columns, *_GOLDS), named(columns, *_GOLD), named(columns, *_ANSWER)
    retrieved = named(columns, *_RETRIEVED)
    if golds is not None:
        return golds
    if answer is None or (gold is not None and retrieved is not None):
        return gold
    if gold is not None:
        raise ValueError(_either(f"`{answer}` and `{gold}`", answer, gold))
    if retrieved is not None:
        raise ValueError(_either(f"`{answer}` beside `{retrieved}`", answer))
    return answer


def _said(columns: Collection[str], question: str | None) -> str | None:
    """A column that holds what was answered, and the gold where nothing else does."""
    said = named(columns, *_SAID)
    if said is None or question is None:
        return None
    beside = question if plain_name(question) == "user_input" else named(columns, *_RETRIEVED)
    if beside is not None:
        raise ValueError(_either(f"`{said}` beside `{beside}`", said))
    return said


def _either(what: str, *columns: str) -> str:
    said = " or ".join(f"limits.columns.answer={column}" for column in columns)
    one = f"with import --columns answer={columns[0]}"
    return f"{what}: the gold, or what a model answered? Say which column holds the golds ({said}; {one})"


def _asking(columns: Collection[str], sample: Sequence[Row]) -> str | None:
    """The one column whose texts end in question marks."""
    found = []
    for column in columns:
        texts = [text.strip() for text in values_of(sample, column) if isinstance(text, str)]
        if texts and sum(text.endswith(MARKS) for text in texts) >= _ASKING_SHARE * len(texts):
            found.append(column)
    return found[0] if len(found) == 1 else None


def _remaining(columns: Collection[str], sample: Sequence[Row], question: str | None) -> str | None:
    """The one column of texts beside the question, where there is no other."""
    known = (*_IDS, *_DOCUMENT_IDS, "metadata", *_HISTORY, *_SYSTEM)
    rest = [column for column in columns if column != question and plain_name(column) not in known]
    if question is None or len(rest) != 1 or not are_texts(sample, rest[0]):
        return None
    if plain_name(rest[0]) in _MODEL_S:
        raise ValueError(_either(f"`{rest[0]}`", rest[0]))
    return rest[0]


def _is_unanswerable(row: Row) -> bool:
    metadata = spelt(row.get("metadata"))
    return isinstance(metadata, Mapping) and metadata.get("unanswerable") is True


def _read(row: Row, parts: Columns) -> Iterator[Given]:
    refuse_media(row)
    question, answer = _in(row, parts["question"], _QUESTION), parts.get("answer")
    if answer is None or row.get(answer) is None:
        answer = named([name for name, value in row.items() if value is not None], *_GOLDS, *_ANSWER, *_GOLD)
    name, ids = named(row, *_IDS), named(row, *_DOCUMENT_IDS)
    # The first rows, which the parts are of, may lack what later ones have.
    system, before, context = (
        parts.get(part) or named(row, *names)
        for part, names in (("system_prompt", _SYSTEM), ("history", _HISTORY), ("context", _CONTEXT))
    )
    contexts = None if context is None else contexts_of(row.get(context), row.get("supporting_facts"))
    used = context if contexts else None
    rest = others(row, name, question, answer, ids, system, before, used, "metadata")
    metadata = spelt(row.get("metadata"))
    history, learned = history_of(row.get(system) if system else None, row.get(before) if before else None)
    yield Given(
        row.get(question),
        _golds(row, answer),
        id=row.get(name) if name is not None else None,
        document_ids=row.get(ids) if ids is not None else None,
        metadata={**rest, **metadata} if isinstance(metadata, Mapping) else rest if metadata is None else metadata,
        history=history,
        learned=learned,
        contexts=contexts or (),
    )


def _golds(row: Row, column: str | None) -> object:
    """The answers of a row: a list that a text spells where the column is one of lists, TriviaQA's with its aliases."""
    golds = row.get(column) if column is not None else None
    held = spelt(golds)
    if column is not None and plain_name(column) in _GOLDS and isinstance(held, list):
        return held
    if isinstance(held, Mapping) and isinstance(held.get("value"), str):
        aliases = held.get("aliases")
        return unique([held["value"], *(aliases if isinstance(aliases, list) else [])])
    return golds


def _in(row: Row, column: str, names: Sequence[str]) -> str:
    """The column, or another of the names where this row has none."""
    return column if row.get(column) is not None else named(row, *names) or column


QUESTIONS = Format(TABLE, _fits, _read)
