import pytest

from eval.errors import EvalError
from eval.templates import TemplateError, look_up, references, render

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
