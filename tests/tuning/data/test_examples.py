import json
from pathlib import Path

import pytest

from tuning.data.examples import Question, learned_rows, load_examples, sample
from tuning.errors import TuningError

GOOD = {"id": "e1", "question": "When?", "answers": ["nine", "9"], "doc_ids": ["desk"], "metadata": {"kind": "fact"}}


def written(folder: Path, *rows: object) -> Path:
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_first_answer_is_learned(tmp_path: Path) -> None:
    (example,) = load_examples(written(tmp_path, GOOD))
    assert example == Question("e1", "When?", ("nine", "9"), ("desk",), {"kind": "fact"})
    assert example.answer == "nine"


def test_a_bare_row_gets_an_id_from_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "faq.jsonl"
    path.write_text('\n{"question": "When?", "answer": "nine", "doc_ids": null, "metadata": null}\n')
    assert load_examples(path) == (Question("faq-2", "When?", ("nine",), (), {}),)


def test_a_number_is_an_id(tmp_path: Path) -> None:
    assert load_examples(written(tmp_path, {**GOOD, "id": 7}))[0].id == "7"


@pytest.mark.parametrize(
    ("answers", "learned"),
    [
        ({"answers": [3]}, "3"),
        ({"answers": [3.5, "x"]}, "3.5"),
        ({"answers": "nine"}, "nine"),
        ({"answer": 1990}, "1990"),
        ({"reference": "nine"}, "nine"),
        ({"answers": None, "reference": 0}, "0"),
        ({"answers": [], "metadata": {"unanswerable": True}}, "unanswerable"),
    ],
)
def test_an_answer_may_be_a_number_and_have_any_of_its_names(
    tmp_path: Path, answers: dict[str, object], learned: str
) -> None:
    (example,) = load_examples(written(tmp_path, {"user_input": "When?", **answers}))
    assert (example.text, example.answer) == ("When?", learned)


def test_numbers_are_document_ids_and_further_answers_are_kept(tmp_path: Path) -> None:
    (example,) = load_examples(written(tmp_path, {**GOOD, "doc_ids": [1, "b"]}))
    assert example.document_ids == ("1", "b")
    assert example.answers == ("nine", "9")


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({**GOOD, "question": "  "}, "no `question` text"),
        ({**GOOD, "question": ["When?"]}, "no `question` text"),
        ({"answers": ["nine"]}, "no `question` text"),
        ({**GOOD, "answers": []}, "no answer to learn"),
        ({**GOOD, "answers": [" ", "nine"]}, "no answer to learn"),
        ({"question": "When?"}, "no answer to learn"),
        ({**GOOD, "answers": [["nine"]]}, "`answers` must be a list of strings"),
        (
            {**GOOD, "answers": [{"a": 1}]},
            "`answers` must be a list of strings or numbers, or `answer` one of them, not an object",
        ),
        ({**GOOD, "answers": [float("inf")]}, "`answers` must be a list of strings or numbers"),
        ({**GOOD, "answers": [float("nan")]}, "no answer to learn"),
        ({"question": "When?", "answer": None}, "no answer to learn"),
        ({**GOOD, "question": "a\x00?"}, "a text holds a NUL character; take it out"),
        ({**GOOD, "id": True}, "`id` must be a text or a number"),
        ({**GOOD, "id": ""}, "`id` must be a text or a number"),
        ({**GOOD, "doc_ids": "desk"}, "`doc_ids` must be a list of strings"),
        ({**GOOD, "doc_ids": [None]}, "`doc_ids` must be a list of strings"),
        ({**GOOD, "metadata": []}, "`metadata` must be an object"),
        (GOOD, "id 'e1' was already used on line 1"),
        ([1], "a JSON array where an object is needed"),
    ],
)
def test_a_faulty_row_is_refused_with_file_and_line(tmp_path: Path, row: object, fault: str) -> None:
    path = written(tmp_path, GOOD, row)
    with pytest.raises(TuningError) as caught:
        load_examples(path)
    assert str(caught.value).startswith(f"{path}: 1 faulty examples: line 2: {fault}")


def test_faults_of_every_kind_come_at_once(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b'{"question": ""}\n{\n\xff\n' + json.dumps(GOOD).encode() + b"\n")
    with pytest.raises(
        TuningError, match=r"3 faulty examples: line 1: no `que.*line 2: not valid JSON.*line 3: not UTF-8"
    ):
        load_examples(path)


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TuningError, match="holds no examples"):
        load_examples(written(tmp_path))


def test_a_sample_keeps_the_order_and_follows_the_seed() -> None:
    items = list("abcdefghij")
    chosen = sample(items, 4, seed=1)
    assert len(set(chosen)) == 4
    assert list(chosen) == sorted(chosen)
    assert chosen == sample(items, 4, seed=1)
    assert len({sample(items, 4, seed=seed) for seed in range(10)}) > 1


@pytest.mark.parametrize("limit", [None, 3, 5])
def test_a_limit_that_is_no_limit_keeps_everything(limit: int | None) -> None:
    assert sample((1, 2, 3), limit, seed=0) == (1, 2, 3)


def said(*texts: str) -> tuple[dict[str, object], ...]:
    return tuple({"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts))


def test_every_answer_of_a_conversation_is_a_row_and_what_two_begin_with_is_one() -> None:
    first = Question("a", "Where?", ("here",), ("desk",), history=said("Hello", "Hi", "When?", "nine"), learned=(1, 3))
    second = Question("b", "Who?", ("Ada",), history=said("Hello", "Hi"), learned=(1,))
    alone = Question("c", "Why?", ("so",))
    found = learned_rows([first, second, alone])
    assert [(row.id, row.text, row.answer, len(row.history)) for row in found] == [
        ("a:turn-1", "Hello", "Hi", 0),
        ("a:turn-2", "When?", "nine", 2),
        ("a", "Where?", "here", 4),
        ("b", "Who?", "Ada", 2),
        ("c", "Why?", "so", 0),
    ]
    assert {row.document_ids for row in found[:3]} == {("desk",)}
    assert all(row.learned == () for row in found)


def test_what_was_said_before_is_a_part_of_what_a_row_says() -> None:
    alone, after = Question("a", "Where?", ("here",)), Question("a", "Where?", ("here",), history=said("Hello", "Hi"))
    assert alone.content == repr(alone)
    assert after.content != alone.content
    assert alone.in_full == "Where?"
    assert after.in_full == "user: Hello\nassistant: Hi\nuser: Where?"


def test_truth_is_an_answer_and_a_gap_is_none(tmp_path: Path) -> None:
    rows = [{**GOOD, "answers": [True, float("nan"), 3]}, {"question": "Is it?", "answer": False}]
    assert [row.answers for row in load_examples(written(tmp_path, *rows))] == [("true", "3"), ("false",)]
