import json
from pathlib import Path

import pytest

from eval.errors import EvalError
from eval.questions import load_questions, refuse_leaks
from tuning.examples import Example

GOOD = {"id": "q1", "question": "When?", "answers": ["nine", "9"], "doc_ids": ["desk"], "metadata": {"kind": "fact"}}


def written(folder: Path, *rows: object) -> Path:
    path = folder / "test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_row_becomes_a_question(tmp_path: Path) -> None:
    (question,) = load_questions(written(tmp_path, GOOD))
    assert (question.id, question.text, question.answers) == ("q1", "When?", ("nine", "9"))
    assert (question.document_ids, question.cluster, question.metadata) == (("desk",), "desk", {"kind": "fact"})


def test_ragas_names_and_missing_ids_are_understood(tmp_path: Path) -> None:
    (question,) = load_questions(written(tmp_path, {"user_input": "When?", "reference": "nine"}))
    assert (question.id, question.text, question.answers) == ("test-1", "When?", ("nine",))


def test_a_question_without_a_document_is_its_own_cluster(tmp_path: Path) -> None:
    first, second = load_questions(written(tmp_path, {**GOOD, "doc_ids": []}, {**GOOD, "id": "q2", "doc_ids": []}))
    assert first.cluster != second.cluster


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({**GOOD, "answers": []}, "has no gold answer"),
        ({**GOOD, "answers": ["  "]}, "has no gold answer"),
        ({**GOOD, "answers": None}, "`answers` must be a list of strings"),
        ({**GOOD, "answers": [9]}, "`answers` must be a list of strings"),
        ({**GOOD, "question": " "}, "no `question` text"),
        ({**GOOD, "doc_ids": "desk"}, "`doc_ids` must be a list of strings"),
        ({**GOOD, "metadata": 3}, "`metadata` must be an object"),
    ],
)
def test_a_faulty_row_is_named_by_line(tmp_path: Path, row: object, fault: str) -> None:
    with pytest.raises(EvalError) as caught:
        load_questions(written(tmp_path, {**GOOD, "id": "q0"}, row))
    assert f"line 2: {fault}" in str(caught.value) or ("line 2" in str(caught.value) and fault in str(caught.value))


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, {**GOOD, "answers": []}, GOOD, GOOD, {"question": ""})
    with pytest.raises(
        EvalError, match=r"3 faulty questions.*line 1.*line 3: id 'q1' was already used on line 2.*line 4"
    ):
        load_questions(path)


def test_a_file_without_questions_says_what_a_row_looks_like(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="holds no questions; add rows like"):
        load_questions(written(tmp_path))


def example(name: str, question: str) -> Example:
    return Example(id=name, question=question, answer="x", document_ids=(), metadata={})


def test_training_rows_that_repeat_a_question_are_listed(tmp_path: Path) -> None:
    questions = load_questions(written(tmp_path, GOOD, {**GOOD, "id": "q2", "question": "Where is it?"}))
    with pytest.raises(EvalError) as caught:
        refuse_leaks([example("t1", "WHEN"), example("t2", "Who?"), example("t3", "where  is it")], questions)
    assert "2 training rows repeat an evaluation question: 't1' repeats 'q1', 't3' repeats 'q2'" in str(caught.value)
    refuse_leaks([example("t2", "Who?")], questions)
