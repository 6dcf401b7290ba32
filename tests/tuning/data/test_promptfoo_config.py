"""promptfoo's configs read as a data folder has them: with files beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import ArbiterError
from tuning.data.examples import Question, load_examples


def config(folder: Path, text: str, **files: str) -> Path:
    """A config and files beside it; `sub__a_yaml` is called sub/a.yaml."""
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    path = folder / "promptfooconfig.yaml"
    path.write_text(f"prompts: ['{{{{question}}}}']\nproviders: [echo]\n{text}")
    return path


def asked(rows: tuple[Question, ...]) -> list[tuple[str, tuple[str, ...]]]:
    return [(row.text, row.answers) for row in rows]


CASE = "- {vars: {question: When?}, assert: [{type: equals, value: nine}]}\n"


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("tests: file://cases.csv\n", {"cases_csv": "question,__expected\nWhen?,nine\n"}),
        ("tests: cases.yaml\n", {"cases_yaml": CASE}),
        ("tests: [file://sub/*.yaml]\n", {"sub__a_yaml": CASE}),
        (
            "tests: file://cases.jsonl\n",
            {"cases_jsonl": '{"vars": {"question": "When?"}, "assert": {"type": "equals", "value": "nine"}}\n'},
        ),
        (
            "tests: file://cases.json\n",
            {"cases_json": '[{"vars": {"question": "When?"}, "assert": [{"type": "equals", "value": "nine"}]}]'},
        ),
        (
            "tests: [{vars: {question: file://q.txt}, assert: [{type: equals, value: file://a.txt}]}]\n",
            {"q_txt": "When?\n", "a_txt": "nine\n"},
        ),
        ("tests: [{vars: file://v.yaml, assert: [{type: equals, value: nine}]}]\n", {"v_yaml": "question: When?\n"}),
        ("tests: [{vars: {question: When?, gold: nine}, assert: [{type: icontains, value: '{{ gold }}'}]}]\n", {}),
        (
            "assertionTemplates: {nine: {type: equals, value: nine}}\n"
            "tests: [{vars: {question: When?}, assert: [{$ref: '#/assertionTemplates/nine'}]}]\n",
            {},
        ),
        (
            "tests: [{vars: {question: When?}, assert: [{$ref: 'shared.yaml#/nine'}]}]\n",
            {"shared_yaml": "nine: {type: equals, value: nine}\n"},
        ),
        ("defaultTest: {assert: [{type: equals, value: nine}]}\ntests: [{vars: {question: When?}}]\n", {}),
        (
            "defaultTest: file://d.yaml\ntests: [{vars: {question: When?}}]\n",
            {"d_yaml": "assert: [{type: equals, value: nine}]\n"},
        ),
        (
            "scenarios: [{config: [{vars: {gold: nine}}], tests: [{vars: {question: When?}, "
            "assert: [{type: equals, value: '{{gold}}'}]}]}]\n",
            {},
        ),
    ],
)
def test_a_config_holds_its_tests_wherever_they_lie(tmp_path: Path, text: str, files: dict[str, str]) -> None:
    assert asked(load_examples(config(tmp_path, text, **files))) == [("When?", ("nine",))]


def test_tests_of_a_list_come_from_files_and_from_itself(tmp_path: Path) -> None:
    text = "tests:\n- file://cases.csv\n- {vars: {question: Who?, lang: en}, assert: [{type: equals, value: Ada}]}\n"
    path = config(
        tmp_path, f"defaultTest: {{vars: {{lang: de}}}}\n{text}", cases_csv="question,__expected\nWhen?,nine\n"
    )
    first, second = load_examples(path)
    assert asked((first, second)) == [("When?", ("nine",)), ("Who?", ("Ada",))]
    assert (first.metadata, second.metadata) == ({"lang": "de"}, {"lang": "en"})


def test_checks_that_are_rules_hold_no_answer(tmp_path: Path) -> None:
    rules = "{type: javascript, value: file://check.js}, {type: equals, value: '{{ gold | upper }}'}"
    text = f"tests: [{{vars: {{question: When?}}, assert: [{rules}, {{type: equals, value: nine}}]}}]\n"
    assert asked(load_examples(config(tmp_path, text))) == [("When?", ("nine",))]
    with pytest.raises(ArbiterError, match="all 1 rows are of no use: row 1: no check holds an answer"):
        load_examples(config(tmp_path, f"tests: [{{vars: {{question: When?}}, assert: [{rules}]}}]\n"))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("tests: file://cases.csv\n", r"names 'file://cases.csv', which is not there; correct it or take it away"),
        (
            "tests: file://made.py:tests\n",
            r"has 'file://made.py:tests', which is not fetched or run; save what it gives",
        ),
        ("tests: https://docs.google.com/x\n", r"has 'https://docs.google.com/x', which is not fetched or run"),
        ("tests: file://../outside.yaml\n", r"names 'file://../outside.yaml', which lies outside its folder; copy it"),
        (
            "tests: [{vars: {question: file://none.txt}, assert: [{type: equals, value: nine}]}]\n",
            r"row 1: `vars.question` names 'file://none.txt', which is not there or holds no text",
        ),
        ("tests: [{vars: {question: When?}, assert: [{$ref: '#/no/where'}]}]\n", r"\$ref '#/no/where' leads nowhere"),
        ("a: {$ref: '#/a'}\ntests: [{vars: {question: When?}, assert: [{$ref: '#/a'}]}]\n", r"a \$ref leads to itself"),
        (
            "tests: [{vars: {a: When?, b: x}, assert: []}, {vars: {a: Who?, b: y}, assert: []}]\n",
            r"which of vars.a, vars.b is the question\? Say so \(limits.columns.question=COLUMN, with import",
        ),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "outside.yaml").write_text(CASE)
    (tmp_path / "own").mkdir()
    with pytest.raises(ArbiterError, match=fault) as caught:
        load_examples(config(tmp_path / "own", text))
    assert "\n" not in str(caught.value)


def test_which_variable_is_asked_can_be_set(tmp_path: Path) -> None:
    text = "tests: [{vars: {topic: When?, gold: nine}}, {vars: {topic: Who?, gold: Ada}}]\n"
    columns = {"question": "vars.topic", "answer": "vars.gold"}
    assert asked(load_examples(config(tmp_path, text), columns)) == [("When?", ("nine",)), ("Who?", ("Ada",))]
    path = tmp_path / "test.csv"
    path.write_text("body,style,__expected\nWhen?,short,nine\nWho?,long,Ada\n")
    assert asked(load_examples(path, {"question": "body"})) == [("When?", ("nine",)), ("Who?", ("Ada",))]
