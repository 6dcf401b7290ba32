from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from eval.errors import EvalError
from eval.graders import Criterion, Grade, TemplateError, grade, look_up, references, render, similarity


def read(criterion: dict[str, Any]) -> Any:
    return TypeAdapter(Criterion).validate_python(criterion)


def check(operation: str) -> dict[str, Any]:
    return {
        "type": "string_check",
        "name": "same",
        "operation": operation,
        "input": "{{sample.output_text}}",
        "reference": "{{item.answer}}",
    }


def near(metric: str, threshold: float) -> dict[str, Any]:
    return {
        "type": "text_similarity",
        "name": "near",
        "evaluation_metric": metric,
        "pass_threshold": threshold,
        "input": "{{sample.output_text}}",
        "reference": "{{item.answer}}",
    }


def values(text: str, answer: str) -> dict[str, Any]:
    return {"item": {"answer": answer}, "sample": {"output_text": text}}


@pytest.mark.parametrize(
    ("operation", "text", "answer", "passed"),
    [
        ("eq", "Nine", "Nine", True),
        ("eq", "nine", "Nine", False),
        ("ne", "nine", "Nine", True),
        ("ne", "Nine", "Nine", False),
        ("like", "at Nine sharp", "Nine", True),
        ("like", "at nine sharp", "Nine", False),
        ("ilike", "at nine sharp", "Nine", True),
        ("ilike", "at ten sharp", "Nine", False),
    ],
)
def test_string_checks(operation: str, text: str, answer: str, passed: bool) -> None:
    found = grade(read(check(operation)), values(text, answer))
    assert found == Grade("same", "string_check", passed=passed, score=float(passed))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metric", "text", "reference", "score"),
    [
        # "kitten" and "sitting" share 4 letters in order of 13: 2 * 4 / 13.
        ("fuzzy_match", "kitten", "sitting", 8 / 13),
        # Two of three and two of four words: precision 2/3, recall 2/4.
        ("rouge_1", "the red door", "the old red gate", 4 / 7),
        # One of two bigrams, one of three.
        ("rouge_2", "open the door", "we open the gate", 2 / 5),
        ("rouge_5", "a b c d e", "a b c d e", 1.0),
        # The longest common subsequence is "the door", 2 of 3 words and 2 of 2.
        ("rouge_l", "the red door", "the door", 4 / 5),
        ("rouge_1", "Größe", "größe", 1.0),
        # n-grams of "the red door": 6, of "the door": 3; shared: the, door; the smaller of 2/6 and 2/3.
        ("gleu", "the red door", "the door", 1 / 3),
        ("gleu", "", "", 1.0),
        ("bleu", "a b c d e", "a b c d e", 1.0),
        ("bleu", "", "a b", 0.0),
        ("exact_match", "The door!", "door", 1.0),
        ("token_f1", "the red door", "door", 2 / 3),
        ("contains", "by the red door", "red door", 1.0),
    ],
)
def test_similarities_by_hand(metric: str, text: str, reference: str, score: float) -> None:
    assert similarity(metric)(text, reference) == pytest.approx(score)


@pytest.mark.parametrize("metric", ["rouge_l", "fuzzy_match"])
def test_texts_that_would_take_all_time_or_memory_are_unscored_with_the_reason(metric: str) -> None:
    text = "word " * 40_000
    found = grade(read(near(metric, 0.5)), values(text, text))
    assert found.score is None
    assert found.error is not None
    assert "texts of 200000 and 200000 characters are too long" in found.error
    assert grade(read(near(metric, 0.5)), values(text, "word")).score is not None


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """One axis for texts about doors, another for the rest, halfway for mixed ones."""
    rows = {"door": [1.0, 0.0], "gate": [0.0, 1.0], "both": [0.6, 0.8]}
    return np.array([rows[text] for text in texts], dtype=np.float32)


def test_cosine_needs_an_embedder() -> None:
    assert similarity("cosine", embed)("door", "both") == pytest.approx(0.6)
    with pytest.raises(EvalError, match="no similarity 'cosine' here; choose one of: fuzzy_match"):
        similarity("cosine")


@pytest.mark.parametrize(("threshold", "passed"), [(0.6, True), (0.67, False)])
def test_a_similarity_passes_at_its_threshold(threshold: float, passed: bool) -> None:
    found = grade(read(near("token_f1", threshold)), values("the red door", "door"))
    assert (found.passed, found.score) == (passed, pytest.approx(2 / 3))


def test_a_missing_value_is_unscored_and_neither_passed_nor_zero() -> None:
    found = grade(read(check("ne")), {"item": {"answer": "nine"}})
    assert (found.passed, found.score) == (False, None)
    assert found.error == "sample.output_text is not there: no 'sample' in this row"


def test_a_metric_that_gives_no_number_is_unscored() -> None:
    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        return np.full((len(texts), 2), np.nan, dtype=np.float32)

    found = grade(read(near("cosine", 0.5)), values("door", "gate"), embed)
    assert found.error == "the metric is undefined for these texts"


def test_a_metric_that_is_not_here_is_unscored_with_the_reason() -> None:
    assert "no similarity 'meteor'" in str(grade(read(near("meteor", 0.5)), values("door", "gate")).error)


def test_what_cannot_be_honoured_is_refused() -> None:
    with pytest.raises(ValidationError, match="score_model"):
        read({**check("eq"), "type": "score_model"})
    with pytest.raises(ValidationError, match="is no reference; write"):
        read({**check("eq"), "reference": "{{answer}}"})


VALUES = {
    "item": {"question": "When?", "options": ["nine", "ten"], "n": 2, "nested": {"a-b": True}, "none": None},
    "sample": {"output_text": "nine"},
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("Q: {{item.question}}", "Q: When?"),
        ("{{ item.question }} {{sample.output_text}}", "When? nine"),
        ("{{item.options[1]}} {{item.options.0}}", "ten nine"),
        ("{{item.n}} {{item.nested.a-b}}", "2 true"),
        ("{{item.options}}", '["nine", "ten"]'),
        ("no reference, { one brace }", "no reference, { one brace }"),
        ("", ""),
    ],
)
def test_references_are_replaced(template: str, text: str) -> None:
    assert render(template, VALUES) == text


@pytest.mark.parametrize(
    "template",
    [
        "{{item}}",
        "{{ question }}",
        "{{item.__class__()}}",
        "{{item.question|upper}}",
        "{{ 7*7 }}",
        "{{item['question']}}",
        "{% for x in item %}",
        "{{item.question",
        "{{}}",
        "{{config.items}}",
    ],
)
def test_anything_but_a_reference_is_refused(template: str) -> None:
    with pytest.raises(TemplateError):
        references(template)
    with pytest.raises(TemplateError):
        render(template, VALUES)


@pytest.mark.parametrize("path", ["item.answer", "item.options[2]", "item.question.0", "item.__class__", "item.n.real"])
def test_a_value_that_is_not_there_is_named(path: str) -> None:
    with pytest.raises(EvalError, match="is not there"):
        look_up(path, VALUES)


def test_null_is_no_text() -> None:
    with pytest.raises(EvalError, match=r"item\.none is null"):
        render("{{item.none}}", VALUES)


def test_a_value_cannot_bring_a_template_of_its_own() -> None:
    assert render("{{item.q}}", {"item": {"q": "{{item.secret}}", "secret": "x"}}) == "{{item.secret}}"
