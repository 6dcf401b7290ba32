"""What people thought of answers, out of files that say it in either way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuning.data.examples import load_examples
from tuning.data.feedback import RatedAnswer, load_feedback
from tuning.data.pairs import PreferencePair
from tuning.errors import TuningError

USER = {"role": "user", "content": "When?"}
WHO = {"role": "user", "content": "Who?"}
SYSTEM = {"role": "system", "content": "Be brief."}


def said(answer: str) -> dict[str, str]:
    return {"role": "assistant", "content": answer}


def written(folder: Path, *rows: object, name: str = "train.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_pairs_are_answers_that_are_wanted_and_answers_that_are_not(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"id": "a", "prompt": "When?", "chosen": "nine", "rejected": "ten"},
        {"id": "b", "prompt": "Who?", "chosen": "Ada", "rejected": ""},
    )
    found = load_feedback(path)
    assert [pair.id for pair in found.pairs] == ["a", "b"]
    assert found.rated == (
        RatedAnswer("a:chosen", (USER,), "nine", True),
        RatedAnswer("b:chosen", (WHO,), "Ada", True),
        RatedAnswer("a:rejected", (USER,), "ten", False),
        RatedAnswer("b:rejected", (WHO,), "", False),
    )


@pytest.mark.parametrize(
    "rows",
    [
        # TRL's, its conversations, LLaMA-Factory's.
        [{"prompt": "When?", "completion": one, "label": is_in} for one, is_in in (("nine", True), ("ten", False))],
        [
            {"prompt": [USER], "completion": [said(one)], "label": is_wanted}
            for one, is_wanted in (("nine", True), ("ten", False))
        ],
        [
            {"messages": [USER, said(one)], "kto_tag": is_wanted}
            for one, is_wanted in (("nine", True), ("ten", False))
        ],
        # A table's truths are texts.
        [{"prompt": "When?", "completion": one, "label": text} for one, text in (("nine", "True"), ("ten", "false"))],
    ],
)  # fmt: skip
def test_answers_with_a_thumb_are_rated_and_make_a_pair(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    path = written(tmp_path, *rows)
    found = load_feedback(path)
    assert found.rated == (
        RatedAnswer("train-1", (USER,), "nine", True),
        RatedAnswer("train-2", (USER,), "ten", False),
    )
    assert found.pairs == (PreferencePair("train-1+train-2", (USER,), "nine", "ten"),)
    # As examples the unwanted one is not learned.
    assert [row.answer for row in load_examples(path)] == ["nine"]


def test_a_pair_is_made_of_answers_to_one_prompt_and_no_answer_is_in_two(tmp_path: Path) -> None:
    rows = [
        {"prompt": "When?", "completion": "nine", "label": True},
        {"prompt": "When?", "completion": "at nine", "label": True},
        {"prompt": "When?", "completion": "ten", "label": False},
        {"prompt": "Who?", "completion": "Ada", "label": True},
        {"prompt": "Why?", "completion": "so", "label": True},
        {"prompt": "Why?", "completion": " so ", "label": False},
        {"prompt": [SYSTEM, USER], "completion": [said("eleven")], "label": False},
    ]
    found = load_feedback(written(tmp_path, *rows))
    assert [(pair.chosen, pair.rejected) for pair in found.pairs] == [("nine", "ten")]
    assert [one.is_wanted for one in found.rated] == [True, True, False, True, True, False, False]


def test_rows_that_nobody_rated_hold_no_feedback(tmp_path: Path) -> None:
    found = load_feedback(written(tmp_path, {"question": "When?", "answers": ["nine"]}))
    assert (found.pairs, found.rated) == ((), ())
    labels = written(tmp_path, {"text": "top up", "label": "billing"}, {"text": "hi", "label": "true"}, name="x.jsonl")
    assert load_feedback(labels).rated == (), "a label of a text is no rating"


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"prompt": "When?", "completion": "nine"}, "line 2: no `label`, true or false, among rows that have one"),
        ({"prompt": "When?", "completion": "nine", "label": 3}, "line 2: no `label`, true or false"),
        ({"prompt": "When?", "completion": " ", "label": True}, "line 2: the assistant's last message is blank"),
        ({"prompt": [{"role": "elf", "content": "x"}], "completion": "y", "label": True}, "line 2: no message has the"),
    ],
)
def test_a_faulty_row_among_rated_ones_is_named_by_its_line(row: object, fault: str, tmp_path: Path) -> None:
    path = written(tmp_path, {"prompt": "Who?", "completion": "Ada", "label": True}, row)
    with pytest.raises(TuningError, match=rf"^{path}.*: 1 faulty rated answers: {fault}"):
        load_feedback(path)
