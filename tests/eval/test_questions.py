import json
from pathlib import Path

import pytest

from eval.errors import EvalError
from eval.questions import (
    Question,
    as_example,
    as_question,
    clusters_of,
    drop_contradictions,
    load_questions,
    merge_repeats,
)
from tuning.data.examples import Example

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


def test_numbers_are_golds(tmp_path: Path) -> None:
    rows = [{"question": "How many?", "answers": [3, "three"]}, {"question": "How much?", "reference": 2.5}]
    assert [question.answers for question in load_questions(written(tmp_path, *rows))] == [("3", "three"), ("2.5",)]


def test_a_question_without_a_document_is_its_own_cluster(tmp_path: Path) -> None:
    first, second = load_questions(written(tmp_path, {**GOOD, "doc_ids": []}, {**GOOD, "id": "q2", "doc_ids": []}))
    assert first.cluster != second.cluster


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({**GOOD, "answers": []}, "has no gold answer"),
        ({**GOOD, "answers": ["  "]}, "has no gold answer"),
        ({**GOOD, "answers": None}, "`answers` must be a list of strings"),
        ({**GOOD, "answers": [[9]]}, "`answers` must be a list of strings"),
        ({**GOOD, "question": " "}, "no `question` text"),
        ({**GOOD, "doc_ids": "desk"}, "`doc_ids` must be a list of strings"),
        ({**GOOD, "metadata": 3}, "`metadata` must be an object"),
        ({**GOOD, "id": [1]}, "`id` must be a text or a number"),
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


def test_one_question_is_enough(tmp_path: Path) -> None:
    assert len(load_questions(written(tmp_path, GOOD))) == 1


def test_an_unanswerable_question_needs_no_gold(tmp_path: Path) -> None:
    row = {"question": "When?", "answers": [], "metadata": {"unanswerable": True}}
    (question,) = load_questions(written(tmp_path, row))
    assert question.answers == ("unanswerable",)


def test_null_means_that_a_part_is_not_given(tmp_path: Path) -> None:
    row = {"id": None, "question": "When?", "answers": None, "answer": "nine", "doc_ids": None, "metadata": None}
    (question,) = load_questions(written(tmp_path, row))
    assert question == Question("test-1", "When?", ("nine",))


AT_TEN = {"id": "q9", "question": "  when", "answers": ["ten"]}


def test_golds_that_contradict_each_other_name_both_lines(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD, {**GOOD, "id": "q2", "question": "Where?"}, AT_TEN)
    with pytest.raises(EvalError, match=r"1 faulty questions: line 3: asks '  when' as line 1 does, with other golds"):
        load_questions(path)
    assert len(load_questions(path, refuse_contradictions=False)) == 3


def test_the_refusal_names_the_way_out_and_dropping_leaves_out_both_sides(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD, {**GOOD, "id": "q2", "question": "Where?"}, AT_TEN, {**GOOD, "id": "q4"})
    with pytest.raises(EvalError, match=r"leave all such rows out with limits\.contradictions=drop"):
        load_questions(path)
    kept, gone = drop_contradictions(load_questions(path, refuse_contradictions=False))
    # Nobody knows whether nine or ten is right, however often nine stands there.
    assert ([question.id for question in kept], gone) == (["q2"], ("q1", "q9", "q4"))
    with pytest.raises(EvalError, match="all 2 questions contradict another one"):
        drop_contradictions(load_questions(written(tmp_path, GOOD, AT_TEN), refuse_contradictions=False))


def test_contradictions_come_with_the_other_faults_in_the_order_of_the_lines(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match=r"2 faulty questions: line 2: asks .* line 3: no `question` text"):
        load_questions(written(tmp_path, GOOD, AT_TEN, {"question": ""}))


@pytest.mark.parametrize(
    "other",
    [
        {"question": "When?", "answers": ["NINE.", "at nine"]},  # a gold in common, punctuation aside
        {"question": "When? And why?", "answers": ["ten"]},
        {"question": "When++?", "answers": ["ten"]},  # punctuation within a question tells questions apart
    ],
)
def test_what_is_no_contradiction(tmp_path: Path, other: dict[str, object]) -> None:
    assert len(load_questions(written(tmp_path, GOOD, other))) == 2


def test_questions_asked_twice_become_one_with_all_golds_and_documents() -> None:
    questions = [
        Question("q1", "When?", ("nine", "9"), ("desk",), {"kind": "fact"}),
        Question("q2", "Where?", ("here",)),
        Question("q3", "WHEN", ("9", "at nine"), ("hours", "desk")),
    ]
    merged, gone = merge_repeats(questions)
    assert merged == (
        Question("q1", "When?", ("nine", "9", "at nine"), ("desk", "hours"), {"kind": "fact"}),
        questions[1],
    )
    assert gone == (("q3", "q1"),)


def test_a_question_as_a_training_row_teaches_its_first_gold() -> None:
    question = Question("q1", "When?", ("nine", "9"), ("desk",), {"kind": "fact"})
    example = as_example(question)
    assert example == Example("q1", "When?", "nine", ("desk",), {"kind": "fact"})
    assert as_question(example) == question


def test_questions_of_a_collection_with_silent_documents_are_alike_by_document() -> None:
    golds = {"q1": ("d1",), "q2": ("d1",), "q3": ()}
    questions = [Question(name, "?", ("a",), documents) for name, documents in golds.items()]
    assert clusters_of(questions, {"d1", "d2"}) == {"q1": "d1", "q2": "d1", "q3": "question:q3"}


def test_where_every_document_is_asked_about_each_question_stands_alone() -> None:
    questions = [Question("q1", "?", ("a",), ("d1",)), Question("q2", "?", ("b",), ("d1", "d2"))]
    assert clusters_of(questions, {"d1", "d2"}) == {"q1": "question:q1", "q2": "question:q2"}


def test_without_gold_documents_questions_stand_alone_anyway() -> None:
    assert clusters_of([Question("q1", "?", ("a",))], {"d1"}) == {"q1": "question:q1"}
