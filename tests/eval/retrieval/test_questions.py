import json
from pathlib import Path

import pytest

from eval.errors import EvalError
from eval.retrieval.questions import load_judged


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_a_question_needs_no_answer(tmp_path: Path) -> None:
    file = write(tmp_path / "q.jsonl", {"question": "When?", "doc_ids": ["a", "b"]}, {"id": 7, "user_input": "Who?"})
    first, second = load_judged(file)
    assert (first.id, first.text, first.document_ids) == ("q-1", "When?", ("a", "b"))
    assert (second.id, second.document_ids) == ("7", ())


def test_what_is_asked_twice_is_one_question_with_the_documents_of_both(tmp_path: Path) -> None:
    file = write(tmp_path / "q.jsonl", {"question": "When?", "doc_ids": ["a"]}, {"question": "when", "doc_ids": ["b"]})
    (question,) = load_judged(file)
    assert question.document_ids == ("a", "b")


def test_every_faulty_row_is_named_with_its_line(tmp_path: Path) -> None:
    rows = [
        {"question": " "},
        "{torn",
        {"question": "A?", "doc_ids": "a"},
        {"question": "B?", "doc_ids": [[1]]},
        {"id": "x", "question": "C?"},
        {"id": "x", "question": "D?"},
        {"id": True, "question": "E?"},
        {"question": "F?", "metadata": []},
    ]
    with pytest.raises(EvalError) as raised:
        load_judged(write(tmp_path / "q.jsonl", *rows))
    message = str(raised.value)
    assert "7 faulty questions" in message
    for part in ("line 1: no `question`", "line 2: not valid JSON", "line 3: `doc_ids`", "line 4: `doc_ids`"):
        assert part in message
    for part in ("line 6: id 'x' was already used on line 5", "line 7: `id`", "line 8: `metadata`"):
        assert part in message


def test_a_file_without_questions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="holds no questions"):
        load_judged(write(tmp_path / "q.jsonl", ""))
