import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.errors import EvalError
from eval.questions import (
    Question,
    are_documents_given,
    as_row,
    as_whole_row,
    drop_contradictions,
    find_contradictions,
    load_judged,
    load_questions,
    merge_repeats,
    split_by_document,
)
from storage.records import from_json
from tuning.data.formats.given import Given

GOOD = {"id": "q1", "question": "When?", "answers": ["nine", "9"], "doc_ids": ["desk"], "metadata": {"kind": "fact"}}


def written(folder: Path, *rows: object) -> Path:
    path = folder / "test.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
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
        ({**GOOD, "answers": None}, "has no gold answer"),
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


def test_documents_are_given_where_every_one_is_asked_about() -> None:
    questions = [Question("q1", "?", ("a",), ("d1",)), Question("q2", "?", ("b",), ("d1", "d2"))]
    assert are_documents_given(questions, {"d1", "d2"})
    assert not are_documents_given(questions, {"d1", "d2", "d3"})
    assert not are_documents_given([Question("q1", "?", ("a",))], {"d1"})
    # Of documents that are not there nobody knows whether they all are asked about.
    assert not are_documents_given(questions, ())


def test_a_question_needs_no_answer(tmp_path: Path) -> None:
    file = written(tmp_path, {"question": "When?", "doc_ids": ["a", "b"]}, {"id": 7, "user_input": "Who?"})
    first, second = load_judged(file)
    assert (first.id, first.text, first.document_ids) == ("test-1", "When?", ("a", "b"))
    assert (second.id, second.document_ids) == ("7", ())


def test_what_is_asked_twice_is_one_question_with_the_documents_of_both(tmp_path: Path) -> None:
    file = written(tmp_path, {"question": "When?", "doc_ids": ["a"]}, {"question": "when", "doc_ids": ["b"]})
    (question,) = load_judged(file)
    assert question.document_ids == ("a", "b")


def test_every_faulty_judged_row_is_named_with_its_line(tmp_path: Path) -> None:
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
        load_judged(written(tmp_path, *rows))
    message = str(raised.value)
    assert "7 faulty questions" in message
    for part in ("line 1: no `question`", "line 2: not valid JSON", "lines 3, 4: `doc_ids`"):
        assert part in message
    for part in ("line 6: id 'x' was already used on line 5", "line 7: `id`", "line 8: `metadata`"):
        assert part in message


def test_a_file_without_judged_questions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="holds no questions"):
        load_judged(written(tmp_path))


def rows_of(*documents: Sequence[str]) -> list[Question]:
    """One row per entry, which names its documents."""
    return [Question(f"q{i}", f"Question {i}?", ("x",), tuple(names)) for i, names in enumerate(documents)]


def ids(part: Sequence[Question]) -> set[str]:
    return {row.id for row in part}


def test_rows_of_one_document_stay_together_through_chains_of_documents() -> None:
    # q0 - b - q1 - c - q3 hang together; q2 has a document of its own
    rows = rows_of(["a", "b"], ["b", "c"], ["d"], ["c"])
    large, small = split_by_document(rows, (0.75, 0.25))
    assert (ids(large), ids(small)) == ({"q0", "q1", "q3"}, {"q2"})


def test_rows_that_ask_the_same_stay_together() -> None:
    rows = [Question("q0", "When?", ("x",), ("a",)), Question("q1", "WHEN", ("x",), ("b",)), *rows_of(["c"])]
    rows[2] = Question("q2", "Where?", ("x",), ("c",))
    large, small = split_by_document(rows, (0.5, 0.5))
    assert {frozenset(ids(large)), frozenset(ids(small))} == {frozenset({"q0", "q1"}), frozenset({"q2"})}


def test_rows_without_documents_stand_alone_and_the_shares_are_kept() -> None:
    train, dev, test = split_by_document(rows_of(*[[]] * 100), (0.7, 0.1, 0.2))
    assert (len(train), len(dev), len(test)) == (70, 10, 20)
    assert [row.id for row in train] == sorted(ids(train), key=lambda name: int(name[1:]))


def test_groups_are_dealt_by_size_to_whoever_lacks_most() -> None:
    # sizes 4, 2, 2, 1, 1 at shares 0.6 and 0.4, each group to the smaller (has + size/2) / share:
    # 4 -> first (3.3 < 5); 2 -> second (2.5 < 8.3); 2 -> second (7.5 < 8.3); 1 -> first (7.5 < 11.3); 1 -> first
    rows = rows_of(*[["a"]] * 4, *[["b"]] * 2, *[["c"]] * 2, ["d"], ["e"])
    first, second = split_by_document(rows, (0.6, 0.4))
    assert (len(first), len(second)) == (6, 4)
    assert {row.document_ids[0] for row in second} == {"b", "c"}


def test_a_part_is_never_empty() -> None:
    rows = rows_of(*[["a"]] * 9, ["b"])
    large, small = split_by_document(rows, (0.95, 0.05))
    assert (len(large), ids(small)) == (9, {"q9"})


def test_the_same_seed_gives_the_same_split_and_another_one_another() -> None:
    rows = rows_of(*[[f"d{i}"] for i in range(40)])
    assert split_by_document(rows, (0.5, 0.5), seed=3) == split_by_document(rows, (0.5, 0.5), seed=3)
    firsts = {frozenset(ids(split_by_document(rows, (0.5, 0.5), seed=seed)[0])) for seed in range(5)}
    assert len(firsts) == 5


def test_each_part_gets_its_share_of_each_label() -> None:
    rows = rows_of(*[[]] * 100)
    labels = ["rare" if i % 10 == 0 else "frequent" for i in range(100)]
    for seed in range(3):
        train, test = split_by_document(rows, (0.7, 0.3), seed=seed, labels=labels)
        counted = [sum(labels[int(row.id[1:])] == "rare" for row in part) for part in (train, test)]
        assert ([len(train), len(test)], counted) == ([70, 30], [7, 3])


def test_documents_of_one_label_each_still_keep_the_shares_of_rows() -> None:
    rows = rows_of(*[[f"d{i // 10}"] for i in range(100)])
    train, test = split_by_document(rows, (0.7, 0.3), labels=[i // 10 for i in range(100)])
    assert (len(train), len(test)) == (70, 30)


def test_what_is_asked_twice_with_other_golds_is_found_with_the_earlier_one() -> None:
    rows = [Question("a", "When?", ("nine",)), Question("b", "Who?", ("x",)), Question("c", "when", ("ten",))]
    assert find_contradictions(rows) == [(2, 0)]
    assert find_contradictions(rows[:2]) == []


def test_a_whole_row_keeps_what_came_with_it() -> None:
    question = Question("q", "When?", ("nine",), history=({"role": "system", "content": "Be brief."},))
    given = Given("When?", ["nine"], contexts=("The desk opens at nine.",))
    assert as_whole_row(question, given)["context"] == ["The desk opens at nine."]
    assert "context" not in as_whole_row(question, Given("When?", ["nine"]))
    pair = as_whole_row(question, Given("When?", ["nine"], rejected="ten"))
    assert (pair["chosen"], pair["rejected"]) == ("nine", "ten")
    assert pair["prompt"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "When?"}]


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        (
            [["a"], ["a"], ["a"]],
            "3 rows cannot be split into 2 parts by document: documents in common make them 1 group",
        ),
        ([[]], "1 rows cannot be split into 2 parts"),
        ([], "0 rows cannot be split"),
    ],
)
def test_too_few_documents_are_said(documents: list[list[str]], message: str) -> None:
    with pytest.raises(EvalError, match=message):
        split_by_document(rows_of(*documents), (0.8, 0.2))


@given(st.lists(st.lists(st.sampled_from("abcdefghijkl"), max_size=2), max_size=30), st.integers(0, 5))
def test_no_document_is_in_two_parts_and_no_row_is_lost(documents: list[list[str]], seed: int) -> None:
    rows = rows_of(*documents)
    try:
        parts = split_by_document(rows, (0.7, 0.3), seed=seed)
    except EvalError:
        return
    assert sorted(row.id for part in parts for row in part) == sorted(row.id for row in rows)
    assert all(parts)
    seen = [{name for row in part for name in row.document_ids} for part in parts]
    assert seen[0].isdisjoint(seen[1])


def test_what_was_said_before_a_question_is_a_part_of_it(tmp_path: Path) -> None:
    def after(name: str, said: str, gold: str) -> Question:
        history = ({"role": "system", "content": said}, {"role": "user", "content": "?"})
        return Question(name, "And then?", (gold,), history=history)

    one, other, again = after("a", "Be brief.", "ten"), after("b", "Be kind.", "six"), after("c", "Be brief.", "at ten")
    merged, gone = merge_repeats((one, other, again))
    assert ([q.id for q in merged], gone) == (["a", "b"], (("c", "a"),))
    assert drop_contradictions((one, other))[1] == ()
    assert drop_contradictions((one, other, again))[1] == ("a", "c")
    # As rows and back.
    turns = ({"role": "user", "content": "?"}, {"role": "assistant", "content": "!"})
    learned = Question("d", "And then?", ("so",), history=turns, learned=(1,))
    path = written(tmp_path, *map(as_row, (one, other, learned)))
    assert load_questions(path) == (one, other, learned)
    # As a run keeps them.
    assert from_json(Question, json.dumps(asdict(one))) == replace(one, metadata={})


def test_conversations_that_ask_what_another_one_ends_with_stay_together() -> None:
    def talk(name: str, *texts: str) -> Question:
        said = tuple({"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts))
        return Question(name, f"And {name}?", ("x",), history=said, learned=(1,) if said else ())

    rows = [talk("a", "Hello", "Hi"), talk("b", "Hello", "Hi"), talk("c", "And d?", "x"), talk("d")]
    parts = split_by_document(rows, (0.3, 0.3, 0.4))
    assert sorted(sorted(row.id for row in part) for part in parts) == [["a"], ["b"], ["c", "d"]]


def test_every_answer_that_was_chosen_for_a_prompt_is_a_gold(tmp_path: Path) -> None:
    rows = [{"id": i, "prompt": "Who?", "chosen": chosen, "rejected": "Cy"} for i, chosen in enumerate(("Ada", "Bo"))]
    found = load_questions(written(tmp_path, *rows, {"id": 2, "prompt": "When?", "chosen": "nine", "rejected": "ten"}))
    assert [question.answers for question in found] == [("Ada", "Bo"), ("Bo", "Ada"), ("nine",)]
