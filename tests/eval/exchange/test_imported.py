from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval.errors import EvalError
from eval.exchange.imported import Imported, write_data_folder
from eval.questions import Question, load_questions
from rag.documents.document import Document
from rag.documents.load import load_documents
from storage.errors import StorageError
from tuning.data.examples import load_examples

DOCUMENTS = tuple(Document(f"d{i}", f"Title {i}", f"text {i}", {"source": "x"}) for i in range(4))
QUESTIONS = tuple(
    Question(f"q{i}", f"question {i}?", (f"gold {i}", "other"), (f"d{i // 2}",), {"imported": {"response": "r"}})
    for i in range(8)
)
IMPORTED = Imported("ragas", DOCUMENTS, QUESTIONS)


def test_a_data_folder_comes_back_as_it_was(tmp_path: Path) -> None:
    paths = write_data_folder(IMPORTED, tmp_path / "data")
    assert [path.name for path in paths] == ["docs.jsonl", "test.jsonl"]
    assert load_documents(tmp_path / "data" / "docs.jsonl").documents == DOCUMENTS
    assert load_questions(tmp_path / "data" / "test.jsonl") == QUESTIONS


def test_training_rows_are_split_off_by_document(tmp_path: Path) -> None:
    write_data_folder(IMPORTED, tmp_path / "data", train_share=0.5)
    train = load_examples(tmp_path / "data" / "train.jsonl")
    test = load_questions(tmp_path / "data" / "test.jsonl")
    assert (len(train), len(test)) == (4, 4)
    assert {row.id for row in train} | {row.id for row in test} == {f"q{i}" for i in range(8)}
    assert not {name for row in train for name in row.document_ids} & {name for q in test for name in q.document_ids}


@pytest.mark.parametrize("share", [-0.1, 1.0, 7.0])
def test_a_share_that_leaves_no_questions_is_refused(tmp_path: Path, share: float) -> None:
    with pytest.raises(EvalError, match=r"must be in \[0, 1\)"):
        write_data_folder(IMPORTED, tmp_path / "data", train_share=share)
    assert list(tmp_path.iterdir()) == []


def test_without_documents_there_is_no_empty_file(tmp_path: Path) -> None:
    write_data_folder(Imported("ragas", (), QUESTIONS), tmp_path / "data")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["test.jsonl"]


def test_questions_that_contradict_each_other_are_refused_whole(tmp_path: Path) -> None:
    twice = Imported("ragas", DOCUMENTS, (QUESTIONS[0], Question("again", "Question 0", ("something else",))))
    with pytest.raises(EvalError, match=rf"^{tmp_path / 'data' / 'test.jsonl'}: 1 faulty questions: line 2"):
        write_data_folder(twice, tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_replaced_only_when_forced(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text("mine")
    (tmp_path / "train.jsonl").write_text("mine too")
    with pytest.raises(StorageError, match=r"has test\.jsonl already"):
        write_data_folder(IMPORTED, tmp_path)
    assert (tmp_path / "test.jsonl").read_text() == "mine"
    write_data_folder(IMPORTED, tmp_path, is_forced=True)
    assert json.loads((tmp_path / "test.jsonl").read_text().splitlines()[0])["id"] == "q0"
    assert (tmp_path / "train.jsonl").read_text() == "mine too"
