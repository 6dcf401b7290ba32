from __future__ import annotations

import datetime
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pyarrow
import pyarrow.parquet
import pytest

from eval.errors import EvalError
from eval.exchange.import_formats import Format, Imported, import_dataset, write_data_folder
from eval.questions import Question, load_questions
from rag.documents.document import FILE, Document
from rag.documents.load import load_documents
from storage.errors import StorageError
from tuning.data.examples import load_examples
from tuning.data.formats.registry import FORMATS
from tuning.data.pairs import load_pairs

CORPUS = [
    {
        "doc_id": "d1",
        "contents": "The desk opens at nine.",
        "metadata": {"title": "Desk", "last_modified_datetime": datetime.datetime(2024, 5, 1)},
    },
    {"doc_id": "d2", "contents": "Fees are two crowns.", "metadata": {"title": None, "last_modified_datetime": None}},
    {"doc_id": "d3", "contents": "The pier lies north.", "metadata": None},
]
QA = [
    {"qid": "q1", "query": "When?", "retrieval_gt": [["d1"]], "generation_gt": ["nine", "at nine"]},
    {
        "qid": "q2",
        "query": "Where and how much?",
        "retrieval_gt": [["d2", "d1"], ["d3"]],
        "generation_gt": ["north, two"],
    },
]
RAGCHECKER = {
    "results": [
        {
            "query_id": "000",
            "query": "When?",
            "gt_answer": "nine",
            "response": "at ten",
            "retrieved_context": [
                {"doc_id": "d1", "text": "Opens at nine."},
                {"doc_id": "d1", "text": "Closes at six."},
            ],
            "response_claims": [["desk", "opens", "ten"]],
            "topic": "hours",
        },
        {
            "query_id": "001",
            "query": "Where?",
            "gt_answer": "north",
            "response": "north",
            "retrieved_context": [{"doc_id": None, "text": "The pier."}, {"doc_id": "d1", "text": "Opens at nine."}],
        },
    ]
}
RAGAS = [
    {
        "user_input": "When?",
        "reference": "nine",
        "reference_contexts": ["Opens at nine."],
        "retrieved_contexts": ["Closes at six.", "Opens at nine."],
        "response": "ten",
        "query_style": "web search",
    },
    {"user_input": "Where?", "reference": "north", "reference_contexts": ["The pier lies north."]},
]

DOCUMENTS = tuple(Document(f"d{i}", f"Title {i}", f"text {i}", {"source": "x"}) for i in range(4))
QUESTIONS = tuple(
    Question(f"q{i}", f"question {i}?", (f"gold {i}", "other"), (f"d{i // 2}",), {"imported": {"response": "r"}})
    for i in range(8)
)
IMPORTED = Imported("ragas", DOCUMENTS, QUESTIONS)


def write_autorag(
    folder: Path, corpus: list[dict[str, Any]] = CORPUS, qa: list[dict[str, Any]] = QA, name: str = "qa.parquet"
) -> Path:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(corpus), folder / "corpus.parquet")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(qa), folder / name)
    return folder


def write_json(folder: Path, value: object, name: str = "x.json") -> Path:
    (folder / name).write_text(json.dumps(value))
    return folder / name


def test_autorag_keeps_ids_answers_and_documents(tmp_path: Path) -> None:
    found = import_dataset(write_autorag(tmp_path))
    assert found.format == "autorag"
    assert found.documents == (
        Document("d1", "Desk", "The desk opens at nine.", found.documents[0].metadata),
        Document("d2", "", "Fees are two crowns.", found.documents[1].metadata),
        Document("d3", "", "The pier lies north.", {}),
    )
    assert found.documents[0].metadata == {"title": "Desk", "last_modified_datetime": "2024-05-01T00:00:00"}
    first, second = found.questions
    assert (first.id, first.text, first.answers, first.document_ids) == ("q1", "When?", ("nine", "at nine"), ("d1",))
    assert first.metadata == {}
    # One of d2 and d1, and d3: the flat list cannot say that, so the groups are kept.
    assert second.document_ids == ("d2", "d1", "d3")
    assert second.metadata == {"retrieval_gt": [["d2", "d1"], ["d3"]]}


@pytest.mark.parametrize(
    ("gold", "answers", "documents", "golds"),
    [
        (["d1", "d2"], "nine", ("d1", "d2"), ("nine",)),
        ("d1", ["nine", " "], ("d1",), ("nine",)),
        ([[]], ["nine"], (), ("nine",)),
    ],
)
def test_autorag_may_be_flat(
    tmp_path: Path, gold: object, answers: object, documents: tuple[str, ...], golds: tuple[str, ...]
) -> None:
    qa = [{"qid": "q1", "query": "When?", "retrieval_gt": gold, "generation_gt": answers}]
    (question,) = import_dataset(write_autorag(tmp_path, qa=qa)).questions
    assert (question.document_ids, question.answers) == (documents, golds)


def test_autorag_files_of_another_name_are_found_or_asked_for(tmp_path: Path) -> None:
    write_autorag(tmp_path, name="qa_test.parquet")
    assert len(import_dataset(tmp_path).questions) == 2
    assert len(import_dataset(tmp_path / "qa_test.parquet").questions) == 2
    (tmp_path / "qa_test.parquet").rename(tmp_path / "mine.parquet")
    with pytest.raises(EvalError, match=r"no qa\.parquet in .*; give the file .*, one of mine\.parquet"):
        import_dataset(tmp_path)
    (tmp_path / "corpus.parquet").unlink()
    with pytest.raises(EvalError, match=r"no corpus\.parquet beside"):
        import_dataset(tmp_path / "mine.parquet")


def test_faulty_autorag_rows_are_named_together(tmp_path: Path) -> None:
    corpus = [*CORPUS, {"doc_id": "d1", "contents": "another text"}, {"doc_id": "d4", "contents": " "}]
    qa = [
        QA[0],
        {**QA[0], "retrieval_gt": [["d9"]]},
        {**QA[0], "query": " "},
        {**QA[0], "qid": "q3", "generation_gt": []},
        {**QA[0], "qid": "q1"},
    ]
    with pytest.raises(EvalError) as caught:
        import_dataset(write_autorag(tmp_path, corpus, qa))
    text = str(caught.value)
    for fault in (
        "5 faulty rows",
        "corpus row 4: doc_id 'd1' is given twice",
        "row 2: retrieval_gt 'd9' has no text in the corpus",
        "row 3: no question",
        "row 4: question 'When?' has no gold answer",
        "row 5: id 'q1' was already used",
    ):
        assert fault in text


def test_documents_without_text_are_left_out_and_counted(tmp_path: Path) -> None:
    found = import_dataset(write_autorag(tmp_path, [*CORPUS, {"doc_id": "d4", "contents": " "}]))
    assert len(found.documents) == 3
    assert found.notes == ("documents left out, for they have no text: 1",)


@pytest.mark.parametrize("key", ["results", "input_data"])
def test_ragchecker_keeps_what_was_answered(tmp_path: Path, key: str) -> None:
    found = import_dataset(write_json(tmp_path, {key: RAGCHECKER["results"]}))
    assert found.format == "ragchecker"
    first, second = found.questions
    assert (first.id, first.text, first.answers, first.document_ids) == ("000", "When?", ("nine",), ())
    texts = {document.id: document.text for document in found.documents}
    imported = first.metadata["imported"]
    assert isinstance(imported, dict)
    assert (imported["response"], imported["response_claims"]) == ("at ten", [["desk", "opens", "ten"]])
    assert [texts[name] for name in imported["retrieved_documents"]] == ["Opens at nine.", "Closes at six."]
    assert first.metadata["topic"] == "hours"
    # The first text keeps the id; the other one under it gets a name of its own, and is said to have been d1.
    other = imported["retrieved_documents"][1]
    assert imported["retrieved_documents"][0] == "d1"
    assert other.startswith("d1@")
    assert {d.id: d.metadata for d in found.documents}[other] == {"doc_id": "d1"}
    # The same passage again is the same document; one without an id is named by its text.
    assert isinstance(second.metadata["imported"], dict)
    names = second.metadata["imported"]["retrieved_documents"]
    assert names[0].startswith("passage-")
    assert names[1] == "d1"
    assert len(found.documents) == 3
    assert "passages that got a hash to their id, for it has another text: 1" in found.notes


def test_a_number_is_a_gold(tmp_path: Path) -> None:
    path = tmp_path / "testset.jsonl"
    path.write_text('{"user_input": "How many?", "reference": 9}\n')
    (question,) = import_dataset(path, "ragas").questions
    assert question.answers == ("9",)


def test_ragas_contexts_become_documents_and_golds(tmp_path: Path) -> None:
    found = import_dataset(write_json(tmp_path, RAGAS, "set.json"))
    assert found.format == "ragas"
    texts = {document.id: document.text for document in found.documents}
    first, second = found.questions
    assert (first.id, second.id) == ("set-1", "set-2")
    assert [texts[name] for name in first.document_ids] == ["Opens at nine."]
    assert [texts[name] for name in second.document_ids] == ["The pier lies north."]
    imported = first.metadata["imported"]
    assert isinstance(imported, dict)
    assert imported["response"] == "ten"
    assert [texts[name] for name in imported["retrieved_documents"]] == ["Closes at six.", "Opens at nine."]
    assert first.metadata["query_style"] == "web search"
    assert second.metadata == {}
    assert len(found.documents) == 3
    assert "answers that came with the rows, kept in the metadata and not evaluated: 1" in found.notes


def test_ragas_ids_are_kept(tmp_path: Path) -> None:
    row = {**RAGAS[0], "id": 17, "reference_context_ids": ["desk"], "retrieved_context_ids": ["hours", "desk"]}
    found = import_dataset(write_json(tmp_path, [row]))
    assert found.questions[0].id == "17"
    assert found.questions[0].document_ids == ("desk",)
    assert {document.id: document.text for document in found.documents} == {
        "desk": "Opens at nine.",
        "hours": "Closes at six.",
    }


def test_an_answer_that_said_or_found_nothing_is_kept_and_counted(tmp_path: Path) -> None:
    row = {"user_input": "When?", "references": [], "reference": "nine", "response": "", "retrieved_contexts": []}
    found = import_dataset(write_json(tmp_path, [row]))
    (question,) = found.questions
    assert question.answers == ("nine",)
    assert question.metadata["imported"] == {"from": "ragas", "response": "", "retrieved_documents": []}
    assert "answers that came with the rows, kept in the metadata and not evaluated: 1" in found.notes


@pytest.mark.parametrize(
    "row",
    [
        {"question": "When?", "ground_truth": "nine", "contexts": ["Opens at nine."], "answer": "ten"},
        {"question": "When?", "ground_truths": ["nine"], "contexts": ["Opens at nine."], "answer": "ten"},
    ],
)
def test_older_ragas_names_are_understood(tmp_path: Path, row: dict[str, object]) -> None:
    (question,) = import_dataset(write_json(tmp_path, [row])).questions
    assert (question.text, question.answers) == ("When?", ("nine",))
    assert isinstance(question.metadata["imported"], dict)
    assert question.metadata["imported"]["response"] == "ten"


def test_a_table_saved_by_ragas_itself_is_read(tmp_path: Path) -> None:
    from ragas import EvaluationDataset

    dataset = EvaluationDataset.from_list(RAGAS[:1])
    dataset.to_csv(tmp_path / "x.csv")
    dataset.to_jsonl(tmp_path / "x.jsonl")
    dataset.to_hf_dataset().save_to_disk(str(tmp_path / "saved"))
    dataset.to_hf_dataset().to_parquet(str(tmp_path / "x.parquet"))
    read = [import_dataset(tmp_path / name) for name in ("x.csv", "x.jsonl", "saved", "x.parquet")]
    assert {found.format for found in read} == {"ragas"}
    assert all(found.documents == read[0].documents for found in read)
    assert all(found.questions[0].answers == ("nine",) for found in read)
    assert all(found.questions[0].document_ids == read[0].questions[0].document_ids for found in read)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"user_input": [{"content": "hi", "type": "human"}], "reference": "x"}, "a conversation of several turns"),
        ({"user_input": "When?"}, "has no gold answer"),
        ({"user_input": "When?", "reference": {"hour": 9}}, "has no gold answer"),
        ({"reference": "nine"}, "no question"),
        ({"user_input": "When?", "reference": "nine", "retrieved_contexts": "text"}, "must be a list of texts"),
    ],
)
def test_a_faulty_ragas_row_is_named(tmp_path: Path, row: dict[str, object], fault: str) -> None:
    with pytest.raises(EvalError, match=f"1 faulty rows: row 2: .*{fault}"):
        import_dataset(write_json(tmp_path, [RAGAS[0], row]))


def test_many_faults_are_counted_and_ten_are_shown(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match=r"12 faulty rows: .*row 10: question '9\?' has no gold answer and 2 more$"):
        import_dataset(write_json(tmp_path, [{"user_input": f"{i}?"} for i in range(12)]))


def test_a_fault_of_many_rows_is_said_once(tmp_path: Path) -> None:
    with pytest.raises(
        EvalError, match=r"12 faulty rows: row 1, row 2, row 3, row 4, row 5 and 7 more: question 'When"
    ):
        import_dataset(write_json(tmp_path, [{"user_input": "When?"}] * 12))


def test_a_file_without_questions_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="holds no questions to import"):
        import_dataset(write_json(tmp_path, []))


def test_a_format_that_is_not_known_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(EvalError, match=r"cannot read rows from .*; kinds read: \.jsonl, \.json, \.csv, \.parquet"):
        import_dataset(tmp_path / "x.txt")
    with pytest.raises(EvalError, match=r"no file in .* is called train, test or questions; give one of .*: x.txt"):
        import_dataset(tmp_path)
    with pytest.raises(EvalError, match="no file or folder"):
        import_dataset(tmp_path / "gone")


def test_a_data_folder_comes_back_as_it_was(tmp_path: Path) -> None:
    paths = write_data_folder(IMPORTED, tmp_path / "data")
    assert [path.name for path in paths] == ["docs.jsonl", "test.jsonl"]
    documents = tuple(replace(d, metadata={**d.metadata, FILE: "docs.jsonl"}) for d in DOCUMENTS)
    assert load_documents(tmp_path / "data" / "docs.jsonl").documents == documents
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


def test_rows_of_other_formats_are_imported_with_their_texts_as_documents(tmp_path: Path) -> None:
    article = {
        "title": "The_desk",
        "paragraphs": [
            {
                "context": "It opens at nine.",
                "qas": [{"id": "a", "question": "When?", "answers": [{"text": "nine", "answer_start": 12}]}],
            }
        ],
    }
    found = import_dataset(write_json(tmp_path, {"data": [article]}, "squad.json"))
    (document,) = found.documents
    assert (found.format, document.title, document.text) == ("squad", "The desk", "It opens at nine.")
    (question,) = found.questions
    assert (question.id, question.answers, question.document_ids) == ("a", ("nine",), (document.id,))
    assert found.notes[0] == "squad.json is SQuAD articles: paragraphs"
    goldens = import_dataset(
        write_json(tmp_path, [{"input": "When?", "expected_output": "nine", "context": ["It opens at nine."]}])
    )
    assert (goldens.format, goldens.questions[0].document_ids) == ("deepeval", (document.id,))


def test_a_format_and_columns_can_be_said(tmp_path: Path) -> None:
    path = write_json(tmp_path, [{"question": "When?", "answer": "ten", "ground_truth": "nine"}])
    with pytest.raises(EvalError, match="`answer` and `ground_truth`: the gold, or what a model answered"):
        import_dataset(path)
    assert import_dataset(path, columns={"answer": "ground_truth"}).questions[0].answers == ("nine",)
    (question,) = import_dataset(path, "ragas").questions
    assert (question.answers, question.metadata["imported"]) == (
        ("nine",),
        {"from": "ragas", "response": "ten", "retrieved_documents": []},
    )
    with pytest.raises(EvalError, match="no Alpaca instructions: the columns are question, answer, ground_truth"):
        import_dataset(path, "alpaca")


def test_columns_can_be_said_of_a_tool_s_rows_too(tmp_path: Path) -> None:
    row = {"Frage": "When?", "Gold": "nine", "response": "ten", "retrieved_contexts": ["At nine."]}
    path = write_json(tmp_path, [row])
    found = import_dataset(path, "ragas", {"question": "Frage", "answer": "Gold"})
    assert (found.questions[0].text, found.questions[0].answers) == ("When?", ("nine",))
    assert [document.text for document in found.documents] == ["At nine."]
    # What was answered may be the gold; its passages stay.
    path = write_json(tmp_path, [{"user_input": "When?", "response": "nine", "retrieved_contexts": ["At nine."]}])
    found = import_dataset(path, columns={"answer": "response"})
    assert (found.format, found.questions[0].answers) == ("ragas", ("nine",))
    with pytest.raises(
        EvalError, match="no column 'Titel', only user_input, response, retrieved_contexts; correct col"
    ):
        import_dataset(path, columns={"question": "Titel"})
    with pytest.raises(EvalError, match="rows of ragas have no part 'chosen'; parts are question, answer"):
        import_dataset(path, columns={"chosen": "response"})


def test_splits_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for split in ("train", "validation", "test"):
        rows = [{"text": f"{split} {i}", "intent": "ab"[i % 2]} for i in range(4)]
        table = pyarrow.Table.from_pylist(rows)
        pyarrow.parquet.write_table(table, tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    found = import_dataset(tmp_path)
    assert [question.text for question in found.questions] == [f"test {i}" for i in range(4)]
    assert [len(part) for part in (found.train, found.dev)] == [4, 4]
    paths = write_data_folder(found, tmp_path / "made")
    assert [path.name for path in paths] == ["train.jsonl", "test.jsonl", "dev.jsonl"]


def test_pairs_stay_pairs_and_conversations_keep_their_history(tmp_path: Path) -> None:
    history = [{"role": "user", "content": "When?"}, {"role": "assistant", "content": "At nine."}]
    rows = [
        {"prompt": [*history, {"role": "user", "content": f"And on day {i}?"}], "chosen": f"At {i}.", "rejected": "No."}
        for i in range(4)
    ]
    write_data_folder(import_dataset(write_json(tmp_path, rows)), tmp_path / "data", train_share=0.5)
    pairs = load_pairs(tmp_path / "data" / "train.jsonl")
    assert [(len(pair.prompt), pair.rejected) for pair in pairs] == [(3, "No."), (3, "No.")]
    questions = load_questions(tmp_path / "data" / "test.jsonl")
    assert [question.history for question in questions] == [tuple(history)] * 2
    assert {pair.chosen for pair in pairs}.isdisjoint(question.answers[0] for question in questions)


def test_every_format_can_be_asked_for() -> None:
    assert set(get_args(Format)) == {"autorag", "ragchecker", "ragas", *FORMATS}
