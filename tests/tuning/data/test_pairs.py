from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuning.data.examples import load_examples
from tuning.data.pairs import PreferencePair, load_pairs
from tuning.errors import TuningError

USER = {"role": "user", "content": "When?"}
NINE = {"role": "assistant", "content": "At nine."}
TEN = {"role": "assistant", "content": "At ten."}


def written(folder: Path, *rows: object) -> Path:
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "When?", "chosen": "At nine.", "rejected": "At ten."},
        {"question": "When?", "chosen": "At nine.", "rejected": "At ten."},
        {"instruction": "When?", "input": "", "chosen": "At nine.", "rejected": "At ten."},
        # TRL: conversations, the prompt in a column of its own, in both sides, or both
        {"prompt": [USER], "chosen": [NINE], "rejected": [TEN]},
        {"chosen": [USER, NINE], "rejected": [USER, TEN]},
        {"prompt": "When?", "chosen": [USER, NINE], "rejected": [USER, TEN]},
        {"prompt": json.dumps([USER]), "chosen": json.dumps([NINE]), "rejected": json.dumps([TEN])},
        # Axolotl and LLaMA-Factory
        {"messages": [USER], "chosen": NINE, "rejected": TEN},
        {
            "conversations": [{"from": "human", "value": "When?"}],
            "chosen": {"from": "gpt", "value": "At nine."},
            "rejected": {"from": "gpt", "value": "At ten."},
        },
        # OpenAI
        {
            "input": {"messages": [USER], "tools": [], "parallel_tool_calls": True},
            "preferred_output": [NINE],
            "non_preferred_output": [TEN],
        },
        # Anthropic
        {
            "chosen": "\n\nHuman: When?\n\nAssistant: At nine.",
            "rejected": "\n\nHuman: When?\n\nAssistant: At ten.",
        },
        {"prompt": "\n\nHuman: When?\n\nAssistant:", "chosen": "At nine.", "rejected": "At ten."},
    ],
)
def test_every_spelling_says_the_same(tmp_path: Path, row: dict[str, Any]) -> None:
    path = written(tmp_path, {**row, "id": 7, "score": 0.5})
    assert load_pairs(path) == (PreferencePair("7", (USER,), "At nine.", "At ten.", {"score": 0.5}),)
    # As training rows, what was chosen is learned.
    (example,) = load_examples(path)
    assert (example.id, example.messages, example.answer) == ("7", (USER,), "At nine.")


def test_a_conversation_s_history_and_system_message_are_its_prompt(tmp_path: Path) -> None:
    system, before = {"role": "system", "content": "Be brief."}, [USER, NINE]
    asked = {"role": "user", "content": "And on Sundays?"}
    path = written(
        tmp_path,
        {"prompt": [system, *before, asked], "chosen": [TEN], "rejected": [NINE]},
        {"system": "Be brief.", "chosen": [*before, asked, TEN], "rejected": [*before, asked, NINE]},
        {"system": "Be brief.", "prompt": [*before, asked], "chosen": "At ten.", "rejected": ""},
    )
    found = load_pairs(path)
    assert [pair.prompt for pair in found] == [(system, *before, asked)] * 3
    assert [pair.id for pair in found] == ["train-1", "train-2", "train-3"]
    assert found[2].rejected == ""  # to say nothing is an answer


def test_the_columns_can_be_said_and_what_was_found_is(tmp_path: Path) -> None:
    said: list[str] = []
    path = written(tmp_path, {"q": "When?", "good": "At nine.", "bad": '["At ten."]'})
    (pair,) = load_pairs(path, {"prompt": "q", "chosen": "good", "rejected": "bad"}, say=said.append)
    assert (pair.prompt, pair.chosen, pair.rejected) == ((USER,), "At nine.", '["At ten."]')
    assert said == ["train.jsonl is preference pairs: prompt <- q, chosen <- good, rejected <- bad"]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"prompt": "When?", "chosen": "nine", "rejected": " nine "}, "`chosen` and `rejected` are the same"),
        ({"prompt": "When?", "chosen": " ", "rejected": "ten"}, "`chosen` is blank"),
        ({"prompt": "When?", "chosen": "nine"}, "no `rejected`"),
        ({"prompt": " ", "chosen": "nine", "rejected": "ten"}, "no prompt"),
        ({"chosen": "nine", "rejected": "ten"}, "no prompt"),
        ({"prompt": 3, "chosen": "nine", "rejected": "ten"}, "the prompt must be a text or a list of messages"),
        ({"prompt": [NINE], "chosen": [NINE], "rejected": [TEN]}, "the message before the answer is assistant's"),
        ({"prompt": [USER], "chosen": [USER], "rejected": [TEN]}, "the last message of both sides must be the assis"),
        ({"prompt": [USER], "chosen": [], "rejected": [TEN]}, "no messages"),
        (
            {"prompt": [{"role": "narrator", "content": "x"}], "chosen": [NINE], "rejected": [TEN]},
            "no message has the role",
        ),
        ({"chosen": [USER, NINE], "rejected": [{**USER, "content": "Who?"}, TEN]}, "the two sides differ in more than"),
        ({"question": "When?", "answers": ["nine"]}, "a table in a file of preference pairs; put them"),
    ],
)
def test_a_faulty_pair_is_named_by_its_line(tmp_path: Path, row: object, fault: str) -> None:
    path = written(tmp_path, {"prompt": "Who?", "chosen": "Ada", "rejected": "Bo"}, row)
    with pytest.raises(TuningError, match=rf"^{path} .*: 1 faulty pairs: line 2: {fault}"):
        load_pairs(path)


def test_a_file_of_something_else_has_no_pairs(tmp_path: Path) -> None:
    with pytest.raises(TuningError, match="2 faulty pairs: lines 1, 2: no pair: it has no `chosen` and `rejected`"):
        load_pairs(written(tmp_path, *({"question": f"{i}?", "answers": ["nine"]} for i in range(2))))
    with pytest.raises(TuningError, match="holds no pairs; add rows like"):
        load_pairs(written(tmp_path))
    with pytest.raises(TuningError, match="id '1' was already used on line 1"):
        load_pairs(written(tmp_path, *[{"id": 1, "prompt": "Who?", "chosen": "Ada", "rejected": "Bo"}] * 2))
