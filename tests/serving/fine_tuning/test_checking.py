"""Files of every kind as rows to learn, and what is wrong with a file, by its lines."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from fakes.tasks import make_task

from router.answering.prompts import ANSWER
from serving.fine_tuning.checking import AS_GIVEN, named_by_kind, num_in_both, rows_of
from tuning.data.rows import PairRow, TrainingRow
from tuning.errors import TuningError
from tuning.methods.lora import LoraRecipe

# It imports transformers.
pytestmark = pytest.mark.slow

SYSTEM, ASKED, RED = (
    {"role": "system", "content": "north is red"},
    {"role": "user", "content": "what is north"},
    {"role": "assistant", "content": "red"},
)
AGAIN, GREEN = {"role": "user", "content": "what is south"}, {"role": "assistant", "content": "green"}


def chat(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), **more}


GOOD = chat(ASKED, RED)


def read(
    folder: Path, base: Path, *rows: Any, name: str = "train.jsonl", objective: str = "supervised", **recipe: Any
) -> tuple[list[Any], list[str]]:
    """The rows of a file of these lines, and what was noted of it."""
    path, notes = folder / name, list[str]()
    lines = (row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return rows_of(
        path, make_task(base, folder, objective=objective, recipe=asdict(LoraRecipe(**recipe))), notes
    ), notes


def test_every_answer_of_some_weight_is_learned_behind_what_was_said_before(tmp_path: Path, tiny_base: Path) -> None:
    rows, notes = read(
        tmp_path,
        tiny_base,
        chat(SYSTEM, ASKED, RED, AGAIN, GREEN),
        chat(ASKED, {**RED, "weight": 0}, AGAIN, GREEN),
    )
    assert rows == [
        TrainingRow((SYSTEM, ASKED), "red"),
        TrainingRow((SYSTEM, ASKED, RED, AGAIN), "green"),
        TrainingRow((ASKED, RED, AGAIN), "green"),
    ]
    assert notes == ["train.jsonl is chat messages: messages"]


def test_nothing_is_put_before_a_conversation() -> None:
    assert AS_GIVEN.render((ASKED,), ()) == (ASKED,)
    assert len(ANSWER.render((ASKED,), ())) == 2


def test_rows_of_other_formats_are_learned_too(tmp_path: Path, tiny_base: Path) -> None:
    rows, notes = read(tmp_path, tiny_base, b"Frage;Antwort\nwhat is north;red", name="hours.csv")
    assert (rows, notes) == (
        [TrainingRow((ASKED,), "red")],
        ["hours.csv is a table: question <- Frage, answer <- Antwort"],
    )
    with pytest.raises(TuningError, match=r"^hours\.csv: no column of"):
        read(tmp_path, tiny_base, b"left;right\n1;2", name="hours.csv")
    rows, _ = read(tmp_path, tiny_base, {"prompt": "what is north", "completion": "red"})
    assert rows == [TrainingRow((ASKED,), "red")]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [GOOD, chat(ASKED, {**RED, "role": "elf"})],
            "1 faulty row: line 2: no message has the role 'elf'; roles are",
        ),
        ([chat(ASKED)], "1 faulty row: line 1: no assistant message, so there is nothing to learn"),
        ([chat(ASKED, {**RED, "content": " "})], "line 1: the assistant's last message is blank"),
        ([chat(RED)], "line 1: the message before the answer is first of all, not a user's"),
        ([chat(SYSTEM, RED)], "line 1: the message before the answer is system's, not a user's"),
        ([chat(ASKED, RED, AGAIN)], "line 1: the conversation ends with a user's message that nobody answers"),
        ([chat({"role": "developer", "content": "x"}, ASKED, RED)], "line 1: the base model's chat template refuses"),
        ([GOOD, b'{"messages": [{"role": "user", "content": "\xff"}]}'], "line 2: not UTF-8 (byte 0xff at 44)"),
        ([GOOD, b'{"messages": '], "line 2: not valid JSON"),
        ([GOOD, b"[1]"], "line 2: a JSON array where an object is needed"),
        ([b"", b"  "], "holds no rows; add rows like"),
        ([GOOD, chat({**ASKED, "content": "north " * 9}, RED)], "line 2: it has 14 tokens, and max_length is 12"),
        ([{"prompt": "a", "chosen": "b", "rejected": "c"}], "it holds pairs of answers, of which method 'supervised'"),
        (
            [GOOD] + [chat(ASKED, {**RED, "role": "elf"})] * 7,
            "7 faulty rows: lines 2, 3, 4, 5, 6 and 2 more: no message has the role 'elf'",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_line(rows: list[Any], said: str, tmp_path: Path, tiny_base: Path) -> None:
    with pytest.raises(TuningError) as refused:
        read(tmp_path, tiny_base, *rows, max_length=12)
    assert said in str(refused.value)
    assert str(refused.value).startswith("train.jsonl")
    assert str(tmp_path) not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_left_out_or_not_shown_is_noted(tmp_path: Path, tiny_base: Path) -> None:
    call = chat(ASKED, {"role": "assistant", "tool_calls": [{"id": "1"}]})
    rows, notes = read(tmp_path, tiny_base, GOOD, call, chat(ASKED, RED, tools=[{"type": "function"}]))
    assert len(rows) == 2
    assert "train.jsonl: 1 of 3 rows are left out: line 2: a tool is called, and no arm calls any" in notes
    assert any("1 rows bring tools, which the model is not shown" in note for note in notes)


@pytest.mark.parametrize(
    ("filename", "named"),
    [
        ("a.csv", "a.csv"),
        ("A.JSONL", "A.JSONL"),
        ("upload", "upload.jsonl"),
        ("notes.txt", "notes.txt.jsonl"),
        ("train-00000-of-00003.parquet", "train-00000-of-00003_.parquet"),
        ("train-00000-of-00003", "train-00000-of-00003_.jsonl"),
        ("x" * 255, "x" * 249 + ".jsonl"),
        ("é" * 125 + ".json", "é" * 125 + ".json"),
        ("é" * 127, "é" * 124 + ".jsonl"),
    ],
)
def test_a_file_without_a_known_ending_holds_json_lines(filename: str, named: str) -> None:
    assert named_by_kind(filename) == named


def test_rows_in_both_files_are_counted_however_a_message_is_held() -> None:
    row = TrainingRow((ASKED,), "red")
    turned = TrainingRow(({"content": "what is north", "role": "user"},), "red")
    assert num_in_both([row], [turned, TrainingRow((ASKED,), "green")]) == 1


def preferred(*asked: Any, chosen: Any = "red", rejected: Any = "green", **more: Any) -> dict[str, Any]:
    sides = [[{"role": "assistant", "content": side}] if isinstance(side, str) else side for side in (chosen, rejected)]
    prompt = {"messages": list(asked or (ASKED,)), "tools": [], "parallel_tool_calls": True, **more}
    return {"input": prompt, "preferred_output": sides[0], "non_preferred_output": sides[1]}


def test_of_preferences_every_pair_is_a_row(tmp_path: Path, tiny_base: Path) -> None:
    rows, notes = read(
        tmp_path,
        tiny_base,
        preferred(),
        preferred(SYSTEM, ASKED, RED, AGAIN, chosen="green", rejected="red", tools=[{"type": "function"}]),
        objective="dpo",
    )
    assert rows == [PairRow((ASKED,), "red", "green"), PairRow((SYSTEM, ASKED, RED, AGAIN), "green", "red")]
    assert "1 rows bring tools, which the model is not shown" in notes[-1]
    assert num_in_both(rows, rows[:1]) == 1
    rows, _ = read(tmp_path, tiny_base, {"prompt": "what is north", "chosen": "red", "rejected": ""}, objective="dpo")
    assert rows == [PairRow((ASKED,), "red", "")]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [preferred(), preferred(rejected=" red")],
            "line 2: `preferred_output` and `non_preferred_output` are the same",
        ),
        ([preferred(chosen=[{**RED, "role": "elf"}])], "line 1: no message has the role 'elf'"),
        ([preferred(chosen=[ASKED])], "line 1: the last message of both sides must be the assistant's"),
        ([preferred(chosen=[])], "line 1: no messages: a conversation is a list"),
        ([preferred(chosen=" ")], "line 1: `preferred_output` is blank"),
        ([preferred(ASKED, RED)], "line 1: the message before the answer is assistant's, not a user's"),
        ([preferred(chosen=[RED, RED])], "line 1: the two sides differ in more than their last message"),
        ([preferred(SYSTEM)], "line 1: the message before the answer is system's, not a user's"),
        ([{**preferred(), "input": "what is north"}, {**preferred(), "input": 5}], "line 2: the prompt must be a text"),
        ([preferred(rejected="a\0b")], "line 1: a text holds a NUL character"),
        ([preferred(), b'{"input": '], "line 2: not valid JSON"),
        ([preferred(), GOOD], "line 2: chat messages in a file of OpenAI's preference pairs"),
        ([GOOD, GOOD], "it holds answers without others that were rejected, of which method 'dpo' learns nothing"),
        ([preferred(rejected="north " * 9)], "line 1: it has 16 tokens, and max_length is 12"),
        ([b""], 'holds no rows; add rows like {"input": {"messages": [...]}, "preferred_output"'),
    ],
)
def test_what_is_wrong_with_pairs_is_said_with_its_line(
    rows: list[Any], said: str, tmp_path: Path, tiny_base: Path
) -> None:
    with pytest.raises(TuningError) as refused:
        read(tmp_path, tiny_base, *rows, objective="dpo", max_length=12)
    assert said in str(refused.value)
    assert str(refused.value).startswith("train.jsonl")
    assert str(tmp_path) not in str(refused.value)
    assert "\n" not in str(refused.value)
