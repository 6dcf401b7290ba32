"""Every format as its tool writes it, read as training rows; and what is wrong with a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from storage.errors import ArbiterError
from tuning.data.examples import Question, load_examples, scan_examples
from tuning.data.formats.given import Context
from tuning.data.formats.registry import FORMATS
from tuning.errors import TuningError

Row = dict[str, Any]


def message(role: str, content: Any, **more: Any) -> Row:
    return {"role": role, "content": content, **more}


ASKED = [message("user", "When?"), message("assistant", "At nine."), message("user", "And on Sundays?")]
SYSTEM, TEN = message("system", "Be brief."), message("assistant", "At ten.")
FROM = [{"from": name, "value": m["content"]} for name, m in zip(("human", "gpt", "human"), ASKED, strict=True)]


def written(folder: Path, *rows: Any, name: str = "train.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    "row",
    [
        # OpenAI's fine-tuning files; what comes after the last message of weight is not read
        {"messages": [SYSTEM, *ASKED, TEN]},
        {"messages": [SYSTEM, *ASKED, TEN], "tools": [{"type": "function"}], "parallel_tool_calls": False},
        {"messages": [SYSTEM, ASKED[0], {**ASKED[1], "weight": 0}, ASKED[2], {**TEN, "weight": 1}]},
        {"messages": [SYSTEM, *ASKED, TEN, message("user", "Sure?"), message("assistant", "No.", weight=0)]},
        {"messages": [SYSTEM, *ASKED, message("assistant", [{"type": "text", "text": "At ten."}])]},
        {"messages": json.dumps([SYSTEM, *ASKED, TEN])},
        {"conversations": [*FROM, {"from": "gpt", "value": "At ten."}], "system": "Be brief."},
        {"conversations": [{"from": "system", "value": "Be brief."}, *FROM, {"from": "gpt", "value": "At ten."}]},
        # TRL
        {"prompt": [SYSTEM, *ASKED], "completion": [TEN]},
        {"prompt": [SYSTEM, *ASKED], "completion": "At ten.", "label": True},
        # LLaMA-Factory
        {
            "instruction": "And on Sundays?",
            "input": "",
            "output": "At ten.",
            "system": "Be brief.",
            "history": [["When?", "At nine."]],
        },
        {"messages": [{**m, "loss_weight": 0.0} for m in (SYSTEM, *ASKED)] + [{**TEN, "loss_weight": 1.0}]},
        {"question": "And on Sundays?", "answers": ["At ten."], "history": [SYSTEM, *ASKED[:2]]},
        {"input": [SYSTEM, *ASKED], "ideal": "At ten."},
        {"input": [SYSTEM, *ASKED], "target": "At ten."},
        {"messages": ASKED, "answer": "At ten.", "system": "Be brief."},
        # Vertex AI, ms-swift, prompt flow
        {
            "systemInstruction": {"role": "system", "parts": [{"text": "Be brief."}]},
            "contents": [{"role": m["role"], "parts": [{"text": m["content"]}]} for m in (*ASKED, TEN)],
        },
        {"system": "Be brief.", "query": "And on Sundays?", "response": "At ten.", "history": [["When?", "At nine."]]},
        {
            "system": "Be brief.",
            "conversation": [
                {"human": "When?", "assistant": "At nine."},
                {"human": "And on Sundays?", "assistant": "At ten."},
            ],
        },
        {
            "system": "Be brief.",
            "question": "And on Sundays?",
            "answer": "At ten.",
            "chat_history": [{"inputs": {"question": "When?"}, "outputs": {"answer": "At nine."}}],
        },
    ],
)
def test_a_conversation_keeps_its_history_and_its_system_message(tmp_path: Path, row: Row) -> None:
    (example,) = load_examples(written(tmp_path, row))
    assert (example.messages, example.answers) == ((SYSTEM, *ASKED), ("At ten.",))


def test_a_conversation_says_what_else_of_it_is_to_learn(tmp_path: Path) -> None:
    hello, again = message("assistant", "Hello."), [message("user", "Sure?"), message("assistant", "Yes.")]
    path = written(
        tmp_path,
        {"messages": [SYSTEM, hello, *ASKED, TEN, *again]},
        {"messages": [ASKED[0], {**ASKED[1], "weight": 0}, ASKED[2], TEN]},
    )
    first, second = load_examples(path)
    assert [(one.messages, one.answer) for one in first.exchanges] == [
        ((SYSTEM, hello, ASKED[0]), "At nine."),
        ((SYSTEM, hello, *ASKED), "At ten."),
        ((SYSTEM, hello, *ASKED, TEN, again[0]), "Yes."),
    ]
    assert [one.answer for one in second.exchanges] == ["At ten."]


SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": "The_desk",
            "paragraphs": [
                {
                    "context": "The desk opens at nine.",
                    "qas": [
                        {
                            "id": "q1",
                            "question": "When?",
                            "answers": [{"text": "nine", "answer_start": 18}, {"text": "nine", "answer_start": 18}],
                        },
                        {"id": "q2", "question": "Why?", "answers": [], "is_impossible": True},
                    ],
                }
            ],
        }
    ],
}


@pytest.mark.parametrize(
    ("row", "answers", "metadata"),
    [
        ({"prompt": "When?", "completion": " at nine"}, ("at nine",), {}),
        ({"prompt": "When?", "response": "nine"}, ("nine",), {}),
        ({"instruction": "When?", "output": "nine"}, ("nine",), {}),
        ({"instruction": "When?", "context": "", "response": "nine", "category": "qa"}, ("nine",), {"category": "qa"}),
        ({"input": "When?", "output": "nine"}, ("nine",), {}),
        # DeepEval
        ({"input": "When?", "expected_output": "nine", "context": ["It opens at nine."]}, ("nine",), {}),
        ({"input": "When?", "expectedOutput": "nine", "actualOutput": "ten"}, ("nine",), {"actualOutput": "ten"}),
        # LangChain
        ({"query": "When?", "answer": "nine", "result": "ten"}, ("nine",), {"result": "ten"}),
        # promptfoo
        ({"vars": {"question": "When?", "who": "I"}, "assert": [{"type": "equals", "value": 9}]}, ("9",), {"who": "I"}),
        (
            {
                "vars": {"topic": "When?"},
                "assert": [
                    {"type": "llm-rubric", "value": "is polite"},
                    {"type": "assert-set", "assert": [{"type": "contains-any", "value": ["nine", "9"]}]},
                    {"type": "similar", "value": "at nine", "threshold": 0.8},
                ],
            },
            ("nine", "9", "at nine"),
            {},
        ),
        # SQuAD
        (
            {"question": "When?", "context": "At nine.", "answers": {"text": ["nine", "nine"], "answer_start": [3, 3]}},
            ("nine",),
            {},
        ),
        ({"question": "When?", "answers": {"text": [], "answer_start": []}}, ("unanswerable",), {"unanswerable": True}),
        # ragas with a gold
        ({"user_input": "When?", "reference": "nine", "response": "ten"}, ("nine",), {"response": "ten"}),
        (
            {"question": "When?", "ground_truth": "nine", "contexts": ["At nine."], "answer": "ten"},
            ("nine",),
            {"contexts": ["At nine."], "answer": "ten"},
        ),
        # TriviaQA, HotpotQA, LangSmith, OpenAI's evals
        ({"question": "When?", "answer": {"value": "nine", "aliases": ["nine", "9"]}}, ("nine", "9"), {}),
        ({"question": "When?", "answers": [{"text": "nine", "answer_start": 3}]}, ("nine",), {}),
        ({"question": "When?", "answer": "nine", "context": [["Desk", ["At nine."]]]}, ("nine",), {}),
        ({"inputs": {"question": "When?"}, "outputs": {"answer": "nine"}, "metadata": {"a": 1}}, ("nine",), {"a": 1}),
        ({"question": "When?", "answer": True}, ("true",), {}),
        ({"user": "When?", "assistant": "nine"}, ("nine",), {}),
        ({"Question": "When?", "Réponse": "nine", "Source": "FAQ"}, ("nine",), {"Source": "FAQ"}),
        ({"QUESTION": "When?", "REPONSE": "nine", "x": "y"}, ("nine",), {"x": "y"}),
        # texts and labels
        ({"text": "When?", "label": "opening"}, ("opening",), {}),
        ({"Utterance": "When?", "Intent": "opening"}, ("opening",), {}),
        ({"sentence": "When?", "label": True}, ("true",), {}),
        # columns of other languages, and one that only its question marks tell
        ({"Frage": "When?", "Antwort": "nine", "Quelle": "FAQ"}, ("nine",), {"Quelle": "FAQ"}),
        ({"质问": "?", "问题": "When?", "答案": "nine"}, ("nine",), {"质问": "?"}),
        ({"Kunde schreibt": "When?", "Wir sagen": "nine"}, ("nine",), {}),
    ],
)
def test_a_row_of_a_question_is_read(tmp_path: Path, row: Row, answers: tuple[str, ...], metadata: Row) -> None:
    (example,) = load_examples(written(tmp_path, {**row, "id": 7} if "vars" not in row else row))
    assert (example.text, example.answers, example.history) == ("When?", answers, ())
    assert example.metadata == metadata


def test_instruction_and_input_are_one_question(tmp_path: Path) -> None:
    (example,) = load_examples(written(tmp_path, {"instruction": "Sort.", "input": "b a", "output": "a b"}))
    assert example.text == "Sort.\n\nb a"


def test_squad_s_articles_hold_many_questions(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_text(json.dumps(SQUAD))
    first, second = load_examples(path)
    desk = Context("The desk opens at nine.", "The desk")
    assert first == Question("q1", "When?", ("nine",), (desk.id,), {"article": "The desk"}, contexts=(desk,))
    assert (second.id, second.answers) == ("q2", ("unanswerable",))


def test_a_variable_of_several_values_is_a_test_for_each(tmp_path: Path) -> None:
    row = {"vars": {"question": ["When?", "Where?"], "who": "I"}, "assert": [{"type": "icontains", "value": "desk"}]}
    found = load_examples(written(tmp_path, row))
    assert [(example.id, example.text) for example in found] == [("train-1", "When?"), ("train-1.2", "Where?")]


def test_promptfoo_s_tables_and_configs_are_read(tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    path.write_text('question,__expected\nWhen?,"equals: nine"\nWho?,Ada\nHow?,"similar(0.8): slowly"\nWhy?,fn:x()\n')
    said: list[str] = []
    assert [example.answer for example in load_examples(path, say=said.append)] == ["nine", "Ada", "slowly"]
    assert said[-1].startswith("test.csv: 1 of 4 rows are left out: row 5: no check holds an answer (equals, ")
    path = tmp_path / "promptfooconfig.yaml"
    path.write_text(
        "prompts: [file://p.txt]\nproviders: [openai:x]\ntests:\n  - vars:\n      body: Yes\n"
        "    assert:\n      - type: equals\n        value: 12\n"
    )
    (example,) = load_examples(path)
    assert (example.text, example.answer) == ("Yes", "12")


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ('[{"question": "When?", "answer": "nine"},\n {"question": "Who?", "answer": "Ada"}]', "x.jsonl"),
        ('[\n{"question": "When?", "answer": "nine"},\n{"question": "Who?", "answer": "Ada"}\n]', "x.jsonl"),
        ('{"question": "When?", "answer": "nine"}\n{"question": "Who?", "answer": "Ada"}\n', "x.json"),
        ('{"question": {"0": "When?", "1": "Who?"}, "answer": {"0": "nine", "1": "Ada"}}', "x.json"),
        ('{"columns": ["question", "answer"], "data": [["When?", "nine"], ["Who?", "Ada"]]}', "x.json"),
        ('{\n  "question": ["When?", "Who?"],\n  "answer": ["nine", "Ada"]\n}', "x.jsonl"),
        ("Question;Answer\nWhen?;nine\nWho?;Ada\n", "x.csv"),
        ("QUESTION\tANSWER\nWhen?\tnine\nWho?\tAda\n", "x.tsv"),
        ("- {question: 'When?', answer: nine}\n- {question: 'Who?', answer: Ada}\n", "x.yaml"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_hold_rows_whatever_they_are_called(tmp_path: Path, content: str, name: str, encoding: str) -> None:
    (tmp_path / name).write_bytes(content.encode(encoding))
    found = load_examples(tmp_path / name)
    assert [(example.text, example.answer) for example in found] == [("When?", "nine"), ("Who?", "Ada")]


@pytest.mark.parametrize("kind", ["parquet", "saved"])
def test_the_names_of_labels_are_read_for_their_numbers(tmp_path: Path, kind: str) -> None:
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    rows = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    if kind == "saved":
        rows.save_to_disk(str(tmp_path / "train"))
    else:
        rows.to_parquet(str(tmp_path / "train.parquet"))
    path = tmp_path / ("train" if kind == "saved" else "train.parquet")
    assert [example.answer for example in load_examples(path)] == ["yes", "no"]


def test_the_files_that_a_first_one_stands_for_are_read_and_missing_ones_named(tmp_path: Path) -> None:
    paths = [tmp_path / f"train-0000{i}-of-00003.parquet" for i in range(3)]
    for i, path in enumerate(paths):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"question": f"{i}?", "answer": "x"}]), path)
    found = load_examples(paths[0])
    assert [(example.id, example.text) for example in found] == [
        ("train-1", "0?"),
        ("train-2", "1?"),
        ("train-3", "2?"),
    ]
    paths[2].unlink()
    with pytest.raises(ArbiterError, match=r"is one of 3 files, and train-00002-of-00003.parquet is missing; fetch it"):
        load_examples(paths[0])


def test_what_was_found_is_said_of_rows_that_are_not_our_own(tmp_path: Path) -> None:
    said: list[str] = []
    load_examples(written(tmp_path, {"question": "When?", "answers": ["nine"]}), say=said.append)
    assert said == []
    load_examples(written(tmp_path, {"Frage": "When?", "Antwort": "nine"}), say=said.append)
    load_examples(written(tmp_path, {"messages": [*ASKED, TEN]}), say=said.append)
    assert said == [
        "train.jsonl is a table: question <- Frage, answer <- Antwort",
        "train.jsonl is chat messages: messages",
    ]


def test_columns_can_be_set_and_win(tmp_path: Path) -> None:
    said: list[str] = []
    row = {"Betreff": "When?", "Text": "nine", "question": "Who?", "answer": "Ada"}
    path = written(tmp_path, row)
    (example,) = load_examples(path, {"question": "Betreff", "answer": "Text"}, say=said.append)
    assert (example.text, example.answers) == ("When?", ("nine",))
    assert example.metadata == {"question_column": "Who?", "answer": "Ada"}
    assert said == ["train.jsonl is a table: question <- Betreff, answer <- Text"]
    with pytest.raises(TuningError, match=r"no column 'Titel', only Betreff, Text, question, answer; correct col"):
        load_examples(path, {"question": "Titel", "answer": "Text"})
    with pytest.raises(TuningError, match=r"no part of a row is called 'quesion' \(did you mean 'question'\?\)"):
        load_examples(path, {"quesion": "Betreff"})
    # A file that has none of them is another one than they are meant for.
    said.clear()
    assert load_examples(path, {"question": "Frage"}, say=said.append)[0].text == "Who?"
    assert said == ["train.jsonl: it has none of the columns that are set (Frage), so it is read without"]


@pytest.mark.parametrize(
    ("row", "asked"),
    [
        (
            {"question": "?", "answer": "a", "ground_truth": "b"},
            "`answer` and `ground_truth`: the gold, or what a model",
        ),
        (
            {"question": "?", "answer": "a", "reference": "b"},
            "limits.columns.answer=answer or limits.columns.answer=reference; with import --columns answer=answer",
        ),
        ({"question": "?", "answer": "a", "contexts": ["c"]}, "`answer` beside `contexts`: the gold, or what a model"),
        ({"user_input": "?", "response": "a"}, "`response` beside `user_input`: the gold, or what a model answered?"),
        ({"question": "?", "answer": "a", "groundtruth": "b"}, "`answer` and `groundtruth`: the gold, or what a model"),
        ({"question": "?", "actual_output": "a"}, "`actual_output`: the gold, or what a model answered?"),
        ({"input": "Which?", "prediction": "a"}, "`prediction`: the gold, or what a model answered?"),
    ],
)
def test_what_may_be_the_gold_or_a_model_s_answer_is_asked(tmp_path: Path, row: Row, asked: str) -> None:
    path = written(tmp_path, row)
    with pytest.raises(TuningError, match=asked):
        load_examples(path)
    name = "answer" if "answer" in row else list(row)[1]
    assert load_examples(path, {"answer": name})[0].answers == ("a",)


GOOD = {"messages": [message("user", "Who?"), message("assistant", "Ada")]}


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (
            {"messages": [message("user", "?"), message("narrator", "x")]},
            "no message has the role 'narrator'; roles are system, ",
        ),
        ({"messages": [{"content": "?"}, message("assistant", "x")]}, "a message has no role"),
        ({"messages": [message("user", "?")]}, "no assistant message, so there is nothing to learn"),
        (
            {"messages": [message("user", "?"), TEN, message("user", "?")]},
            "the conversation ends with a user's message",
        ),
        ({"messages": [message("user", "?"), TEN, TEN]}, "the message before the answer is assistant's, not a user's"),
        ({"messages": [TEN]}, "the message before the answer is first of all, not a user's"),
        ({"messages": [SYSTEM, TEN]}, "the message before the answer is system's, not a user's"),
        ({"messages": [message("user", "?"), message("assistant", " ")]}, "the assistant's last message is blank"),
        ({"messages": [message("user", " "), TEN]}, "the user's last message is blank"),
        ({"messages": [message("user", "?"), {**TEN, "weight": 0}]}, "every assistant message has weight 0"),
        ({"messages": []}, "no messages: a conversation is a list of objects"),
        ({"messages": ["When?", "At nine."]}, "a message is no object \\{role, content}"),
        ({"messages": [message("user", {"a": 1}), TEN]}, "the content of a message must be a text or a list of parts"),
        (
            {"instruction": "x", "output": "y"},
            "Alpaca instructions in a file of chat messages; put them into a file of",
        ),
        ({"question": "x", "answer": "y"}, "a table in a file of chat messages; put them into a file of their own"),
        ("{oops", "not valid JSON"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, row: Row | str, fault: str) -> None:
    path = written(tmp_path, GOOD, GOOD)
    with path.open("a") as file:
        file.write(row if isinstance(row, str) else json.dumps(row))
    with pytest.raises(TuningError, match=rf"^{path} \(chat messages: messages\): 1 faulty examples: line 3: {fault}"):
        load_examples(path)


def test_a_fault_of_many_rows_is_said_once(tmp_path: Path) -> None:
    rows = [{"messages": [message("user", "?"), message("narrator", "x")]}] * 12
    with pytest.raises(
        TuningError, match="12 faulty examples: lines 2, 3, 4, 5, 6 and 7 more: no message has the role"
    ):
        load_examples(written(tmp_path, GOOD, *rows))


def test_rows_that_nobody_could_correct_are_left_out_and_counted(tmp_path: Path) -> None:
    called = {"messages": [message("user", "?"), message("assistant", None, tool_calls=[{"id": "1"}])]}
    seen = {"messages": [message("user", [{"type": "image_url", "image_url": {}}]), TEN]}
    said: list[str] = []
    found = load_examples(written(tmp_path, called, GOOD, seen, called, {**GOOD, "label": False}), say=said.append)
    assert [example.id for example in found] == ["train-2"]
    assert said[-1] == (
        "train.jsonl: 4 of 5 rows are left out: lines 1, 4: a tool is called, and no arm calls any; line 3: a message "
        "holds something else than text; line 5: it is labelled as an answer that nobody wants"
    )
    whole = scan_examples(tmp_path / "train.jsonl")
    assert [(line, reason.partition(",")[0]) for line, _, reason in whole.left_out] == [
        (1, "a tool is called"),
        (3, "a message holds something else than text"),
        (4, "a tool is called"),
        (5, "it is labelled as an answer that nobody wants"),
    ]
    assert whole.left_out[1][1] == seen
    with pytest.raises(TuningError, match="all 1 rows are of no use: line 1: a tool is called"):
        load_examples(written(tmp_path, called))


def test_what_was_answered_before_a_tool_is_called_is_learned(tmp_path: Path) -> None:
    call = message("assistant", "let me see", tool_calls=[{"id": "1"}])
    after = [message("user", "and now?"), call, message("tool", "12"), message("assistant", "twelve")]
    both = {"messages": [message("user", "?"), TEN, *after]}
    nothing_before = {"messages": [message("user", "?"), {**TEN, "weight": 0}, *after]}
    said: list[str] = []
    found = load_examples(written(tmp_path, both, nothing_before, GOOD), say=said.append)
    assert [example.id for example in found] == ["train-1", "train-3"]
    assert (found[0].text, found[0].answers, found[0].history) == ("?", ("At ten.",), ())
    assert said[-2:] == [
        "train.jsonl: 1 of 3 rows are left out: line 2: a tool is called, and no arm calls any",
        "train.jsonl: the end of 1 of 3 rows is left out: line 1: a tool is called, and no arm calls any",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no examples"),
        (b"[]", "holds no examples"),
        (b'{"text": "only texts"}\n', "no column of questions and one of answers is known among text; name them"),
        (b'{"question": "When?"}\n', "no column of answers is known among question; name them"),
        (
            b'{"premise": "a", "hypothesis": "b", "label": "c"}\n',
            "is known among premise, hypothesis, label; name them",
        ),
        ('{"question": "Größe?", "answer": "a"}\n'.encode("cp1252"), "1 faulty examples: line 1: not UTF-8"),
    ],
)
def test_a_file_without_rows_of_use_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.jsonl").write_bytes(content)
    with pytest.raises(ArbiterError, match=message) as caught:
        load_examples(tmp_path / "x.jsonl")
    assert "\n" not in str(caught.value)


def test_one_row_is_enough(tmp_path: Path) -> None:
    assert len(load_examples(written(tmp_path, GOOD))) == 1
    path = tmp_path / "x.json"
    path.write_text(json.dumps(GOOD))
    assert len(load_examples(path)) == 1


def test_every_format_has_a_name_of_its_own_and_the_first_that_fits_is_taken() -> None:
    assert list(FORMATS)[-1] == "table"  # whatever columns there are
    assert all(format.name for format in FORMATS.values())


def test_a_row_within_a_row_is_read_and_its_columns_can_be_set(tmp_path: Path) -> None:
    (example,) = load_examples(written(tmp_path, {"item": {"question": "When?", "answer": "nine"}}))
    assert (example.text, example.answer) == ("When?", "nine")
    path = written(tmp_path, {"data": {"Titel": "When?", "Text": "nine"}})
    with pytest.raises(TuningError, match=r"is known among data.Titel, data.Text; name them"):
        load_examples(path)
    (example,) = load_examples(path, {"question": "data.Titel", "answer": "data.Text"})
    assert (example.text, example.answer) == ("When?", "nine")


def test_rows_of_other_formats_in_a_table_are_named_by_what_they_are(tmp_path: Path) -> None:
    own = {"question": "When?", "answer": "nine"}
    path = written(tmp_path, own, own, {"prompt": "Who?", "completion": "Ada"}, {"instruction": "x", "output": "y"})
    with pytest.raises(
        TuningError, match=r"line 3: prompt and completion in a .*; line 4: Alpaca instructions in a file"
    ):
        load_examples(path)


def test_a_column_that_holds_no_texts_is_said(tmp_path: Path) -> None:
    path = written(tmp_path, {"question": {"full": "When?"}, "answer": "nine"})
    with pytest.raises(TuningError, match=r"`question` holds no texts; the columns are question.full, answer; name"):
        load_examples(path)


def test_rows_that_show_images_are_left_out_of_tables_too(tmp_path: Path) -> None:
    said: list[str] = []
    rows = [{"query": "When?", "response": "nine"}, {"query": "Who?", "response": "Ada", "images": ["a.png"]}]
    assert len(load_examples(written(tmp_path, *rows), say=said.append)) == 1
    assert said[-1] == "train.jsonl: 1 of 2 rows are left out: line 2: it is about images, and arms read text"


def test_whole_numbers_may_be_ids_of_tables_with_gaps(tmp_path: Path) -> None:
    rows = [{"id": 1.0, "question": "When?", "answer": "nine"}, {"id": 2.5, "question": "Who?", "answer": "Ada"}]
    assert [example.id for example in load_examples(written(tmp_path, *rows))] == ["1", "2.5"]


def test_the_answer_that_was_rejected_may_stand_beside_the_conversation(tmp_path: Path) -> None:
    (example,) = load_examples(written(tmp_path, {"messages": [*ASKED, TEN], "rejected_response": "No."}))
    assert (example.messages, example.answers) == (tuple(ASKED), ("At ten.",))
    with pytest.raises(TuningError, match="`messages` and `rejected_response` are the same"):
        load_examples(written(tmp_path, {"messages": [*ASKED, TEN], "rejected_response": "At ten."}))


def test_what_a_completion_answers_on_its_way_is_learned_and_what_its_prompt_does_is_not(tmp_path: Path) -> None:
    more = [message("user", "Why?"), message("assistant", "So.")]
    (example,) = load_examples(written(tmp_path, {"prompt": ASKED, "completion": [TEN, *more]}))
    assert [(one.text, one.answer) for one in example.exchanges] == [("And on Sundays?", "At ten."), ("Why?", "So.")]
    (example,) = load_examples(written(tmp_path, {"messages": [*ASKED, TEN, *more]}))
    assert [one.text for one in example.exchanges] == ["When?", "And on Sundays?", "Why?"]


@pytest.mark.parametrize(
    "row",
    [
        {"question": "When?", "answers": {"text": [{"a": 1}]}},
        {"question": "When?", "answer": {"value": "x", "aliases": [{}]}},
        {"paragraphs": [{"context": "c", "qas": [{"question": "When?", "answers": [{"text": ["x"]}]}]}]},
        {"vars": {"question": "When?"}, "assert": [{"type": "contains-any", "value": [{}]}]},
    ],
)
def test_an_answer_that_is_no_text_is_a_fault(tmp_path: Path, row: Row) -> None:
    with pytest.raises(TuningError, match="line 1: `answers` must be a list of strings or numbers, or `answer` one of"):
        load_examples(written(tmp_path, row))


@pytest.mark.parametrize("context", [{"title": 1, "sentences": 2}, {"title": None, "sentences": None}, [["t", [3]]]])
def test_a_context_that_is_no_text_is_metadata(tmp_path: Path, context: Any) -> None:
    (example,) = load_examples(written(tmp_path, {"question": "When?", "answer": "nine", "context": context}))
    assert (example.contexts, example.metadata) == ((), {"context": context})


def test_turns_that_are_only_texts_are_no_conversation(tmp_path: Path) -> None:
    with pytest.raises(TuningError, match="is known among question_id, turns; name them"):
        load_examples(written(tmp_path, {"question_id": 1, "turns": ["When?", "And on Sundays?"]}))
    (example,) = load_examples(written(tmp_path, {"turns": [*ASKED, TEN]}))
    assert example.messages == tuple(ASKED)
