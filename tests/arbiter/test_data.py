from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from arbiter.config.schema import Config
from arbiter.config.sections import LimitsConfig
from arbiter.data import Data, askable_arms, examples_as_documents, load_data, needs_examples
from eval.errors import EvalError
from eval.questions import Question
from rag.documents.document import Document
from rag.errors import RagError
from storage.errors import ArbiterError
from tuning.errors import TuningError

DOCS = [{"id": "desk", "title": "Desk", "text": "The desk opens at nine."}]
TRAIN = [{"id": f"t{i}", "question": f"Train {i}?", "answers": ["nine"], "doc_ids": ["desk"]} for i in range(9)]
TEST = [{"id": f"q{i}", "question": f"Test {i}?", "answers": ["nine"], "doc_ids": ["desk"]} for i in range(9)]


def folder(path: Path, **parts: object) -> Path:
    """A data folder; a part is a list of rows, raw text, or None to leave it out."""
    path.mkdir(exist_ok=True)
    for name, rows in {"docs": DOCS, "train": TRAIN, "test": TEST, **parts}.items():
        if rows is not None:
            text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)  # type: ignore[attr-defined]
            (path / f"{name}.jsonl").write_text(text)
    return path


def test_a_folder_is_read_whole_and_limits_sample(tmp_path: Path) -> None:
    where = folder(tmp_path / "d")
    data = load_data(where)
    assert (len(data.documents), len(data.examples), len(data.questions)) == (1, 9, 9)
    some = load_data(where, LimitsConfig(4, 3), seed=1)
    assert (len(some.examples), len(some.questions)) == (4, 3)
    assert [q.id for q in some.questions] == sorted(q.id for q in some.questions)
    assert load_data(where, LimitsConfig(4, 3), seed=1) == some
    draws = [load_data(where, LimitsConfig(4, 3), seed=seed).examples for seed in range(6)]
    drawn = {tuple(example.id for example in draw) for draw in draws}
    assert len(drawn) > 1


def test_a_few_questions_have_the_labels_of_all(tmp_path: Path) -> None:
    rows = [{"id": f"q{i}", "question": f"Test {i}?", "answers": [f"label {i % 4}"]} for i in range(8)]
    data = load_data(folder(tmp_path / "d", test=rows, train=None, docs=None), LimitsConfig(questions=2))
    assert len(data.questions) == 2
    assert data.label_sets[None].forms == {f"label {i}" for i in range(4)}
    # As where rows are made without a folder.
    assert replace(data, labels=None).label_sets == {}


def test_the_version_follows_the_content_and_the_name_the_place(tmp_path: Path) -> None:
    one, two = load_data(folder(tmp_path / "a")), load_data(folder(tmp_path / "b"))
    assert one.version == two.version
    assert one.name != two.name
    changed = load_data(folder(tmp_path / "a", docs=[{**DOCS[0], "text": "The desk opens at ten."}]))
    assert changed.version != one.version
    assert changed.name == one.name


def test_a_folder_of_files_serves_as_documents(tmp_path: Path) -> None:
    where = folder(tmp_path / "d", docs=None)
    (where / "docs").mkdir()
    (where / "docs" / "desk.md").write_text("# Desk\n\nThe desk opens at nine.\n")
    (where / "docs" / "photo.png").write_bytes(b"\x89PNG\x00\x00")
    data = load_data(where)
    assert [document.id for document in data.documents] == ["desk"]
    assert [Path(skipped.path).name for skipped in data.skipped] == ["photo.png"]


def test_training_rows_are_not_needed_when_nothing_is_trained(tmp_path: Path) -> None:
    assert load_data(folder(tmp_path / "d", train=None), trains=False).examples == ()


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ({"test": None}, ArbiterError, "has no test.jsonl (evaluation questions)"),
        ({"docs": '{"id": 1\n'}, RagError, "docs.jsonl:1"),
        (
            {"train": '{"question": "a", "answers": ["b"]}\n{oops\n'},
            TuningError,
            "train.jsonl: 1 faulty examples: line 2",
        ),
        ({"test": "{oops\n"}, EvalError, "test.jsonl: 1 faulty questions: line 1: not valid JSON"),
        ({"test": ""}, EvalError, "holds no questions"),
        ({"test": [{**TEST[0], "answers": []}]}, EvalError, "has no gold answer"),
        ({"test": [{**TEST[0], "question": "train 3"}]}, EvalError, "'t3' repeats 'q0'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, parts: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        load_data(folder(tmp_path / "d", **parts))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_documents_and_training_rows_may_be_missing(tmp_path: Path) -> None:
    labels = load_data(folder(tmp_path / "labels", docs=None))
    assert (labels.documents, len(labels.examples), len(labels.questions)) == ((), 9, 9)
    assert not labels.documents_given
    asked = load_data(folder(tmp_path / "asked", train=None))
    assert (len(asked.documents), asked.examples, len(asked.questions)) == (1, (), 9)


def test_a_spreadsheet_s_files_serve_as_well(tmp_path: Path) -> None:
    where = folder(tmp_path / "d", train=None, test=None, docs=None)
    (where / "docs.csv").write_text("id;title;text\ndesk;Desk;The desk opens at nine.\n")
    (where / "train.csv").write_text("Question;Answer\nTrain one?;nine\n")
    (where / "test.csv").write_text("Question;Answer;Doc IDs\nTest one?;9;desk\n")
    data = load_data(where)
    assert ([d.id for d in data.documents], len(data.examples)) == (["desk"], 1)
    assert data.questions == (Question("test-2", "Test one?", ("9",), ("desk",)),)
    (where / "test.jsonl").write_text(json.dumps(TEST[0]))
    with pytest.raises(ArbiterError, match=r"has both test\.csv and test\.jsonl; keep one"):
        load_data(where)


def test_an_index_needs_no_questions(tmp_path: Path) -> None:
    where = folder(tmp_path / "d", train=None, test=None)
    with pytest.raises(ArbiterError, match=r"to have it split \(there is docs\.jsonl\)"):
        load_data(where)
    data = load_data(where, needs_questions=False)
    assert (len(data.documents), data.examples, data.questions) == (1, (), ())


def test_the_faults_of_all_parts_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(ArbiterError) as caught:
        load_data(folder(tmp_path / "d", docs='{"id": 1\n', train="{oops\n", test="{oops\n"))
    message = str(caught.value)
    assert message.startswith("3 faults: ")
    assert all(part in message for part in ("docs.jsonl:1", "train.jsonl: 1 faulty", "test.jsonl: 1 faulty"))


def test_what_is_refused_can_be_dropped_and_is_listed(tmp_path: Path) -> None:
    ten = {**TEST[0], "id": "ten", "answers": ["ten"]}
    leak = {**TEST[1], "id": "leak", "answers": ["another"]}
    where = folder(tmp_path / "d", test=[*TEST, ten], train=[*TRAIN, leak])
    with pytest.raises(EvalError, match=r"limits\.contradictions=drop"):
        load_data(where)
    with pytest.raises(EvalError, match=r"limits\.repeats=drop"):
        load_data(where, LimitsConfig(contradictions="drop"))
    data = load_data(where, LimitsConfig(contradictions="drop", repeats="drop"))
    assert [question.id for question in data.questions] == [f"q{i}" for i in range(1, 9)]
    assert len(data.examples) == 9
    assert data.notes == (
        "2 evaluation questions that contradict another one are left out (limits.contradictions=drop): 'q0', 'ten'",
        "1 training rows that repeat an evaluation question are left out (limits.repeats=drop): 'leak' repeats 'q1'",
    )


def test_missing_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArbiterError, match="no data folder"):
        load_data(tmp_path / "none")
    with pytest.raises(ArbiterError, match="is empty"):
        load_data(tmp_path)


def test_examples_carry_their_answer_into_the_index() -> None:
    (document,) = examples_as_documents([Question("t1", "When?", ("nine",), ("desk",), {})])
    assert (document.id, document.text, document.metadata) == ("t1", "When?", {"answer": "nine"})
    said = ({"role": "user", "content": "When?"}, {"role": "assistant", "content": "At nine."})
    (document,) = examples_as_documents([Question("t2", "On Sundays?", ("ten",), history=said)])
    assert document == Document("t2", "When?", "On Sundays?", {"answer": "ten", "before": ["When?", "At nine."]})
    # A system message or a greeting is no exchange; what may be cut into passages is kept whole.
    (document,) = examples_as_documents([Question("t3", "w " * 80, ("x",), history=said[1:])])
    assert document == Document("t3", "", "w " * 80, {"answer": "x", "question": "w " * 80})


def rows(prefix: str, documents: int, per_document: int, **parts: object) -> list[dict[str, object]]:
    """`per_document` questions for each of some documents, all of them different."""
    return [
        {
            "id": f"{prefix}{d}-{i}",
            "question": f"{prefix} asks {WORDS[i]} about {WORDS[d]}?",
            "answers": [f"{prefix}, {d} and {i}"],
            "doc_ids": [f"{prefix}-doc-{d}"],
            **parts,
        }
        for d in range(documents)
        for i in range(per_document)
    ]


WORDS = ("amber", "birch", "copper", "dusk", "ember", "frost", "granite", "heather", "ivory", "juniper")


def documents_of(questions: Sequence[Question]) -> set[str]:
    return {name for question in questions for name in question.document_ids}


@pytest.mark.parametrize("name", ["questions", "train"])
def test_one_file_is_split_by_document_and_said(tmp_path: Path, name: str) -> None:
    parts = {"train": None, "test": None, name: rows("one", 10, 2)}
    data = load_data(folder(tmp_path / "d", **parts))
    assert (len(data.examples), len(data.questions)) == (14, 6)
    assert documents_of(data.examples).isdisjoint(documents_of(data.questions))
    (note,) = data.notes
    assert note.startswith(f"{name}.jsonl is split by source document into 14 training rows and 6 evaluation questions")


def test_the_questions_of_a_split_depend_neither_on_the_seed_nor_on_what_is_trained(tmp_path: Path) -> None:
    where = folder(tmp_path / "d", train=None, test=None, questions=rows("one", 10, 2))
    asked = load_data(where).questions
    assert load_data(where, seed=5).questions == asked
    assert load_data(where, needs_dev=True).questions == asked
    untrained = load_data(where, trains=False)
    assert (untrained.questions, untrained.examples) == (asked, ())


def test_a_label_that_a_split_keeps_from_the_training_rows_is_said(tmp_path: Path) -> None:
    labelled = [row for d in range(10) for row in rows(f"kind{d}", 1, 2, answers=[f"label {d}"])]
    data = load_data(folder(tmp_path / "d", train=None, test=None, questions=labelled))
    assert data.notes[1].startswith("6 of 6 evaluation questions have a label that no training row has")


def test_dev_questions_are_read_only_when_asked_for(tmp_path: Path) -> None:
    where = folder(tmp_path / "d", dev=rows("dev", 2, 2))
    without, with_dev = load_data(where), load_data(where, needs_dev=True)
    assert without.dev == ()
    assert [question.id for question in with_dev.dev] == ["dev0-0", "dev0-1", "dev1-0", "dev1-1"]
    assert with_dev.examples == without.examples
    assert with_dev.version != without.version
    folder(tmp_path / "d", dev=rows("other", 2, 2))
    assert load_data(where).version == without.version


def test_the_version_tells_dev_questions_from_evaluation_questions(tmp_path: Path) -> None:
    both, dev = rows("a", 1, 1), rows("b", 1, 1)
    one = load_data(folder(tmp_path / "one", test=both + dev))
    two = load_data(folder(tmp_path / "two", test=both, dev=dev), needs_dev=True)
    assert one.questions == two.questions + two.dev
    assert one.version != two.version


@pytest.mark.parametrize("trains", [True, False])
def test_without_dev_jsonl_whole_documents_leave_the_training_rows(tmp_path: Path, trains: bool) -> None:
    train = rows("train", 10, 2)
    train[0]["answers"] = ["nine", "9"]
    data = load_data(folder(tmp_path / "d", train=train), needs_dev=True, trains=trains)
    assert len(data.dev) == 2  # 0.15 of 20 rows is 3, and the documents have two rows each
    assert len(data.examples) == (18 if trains else 0)
    assert documents_of(data.examples).isdisjoint(documents_of(data.dev))
    assert data.notes == ("2 of 20 training rows, of source documents of their own, are dev questions",)


def test_dev_questions_keep_all_their_golds(tmp_path: Path) -> None:
    train = rows("train", 10, 2, answers=["nine", "9"])
    assert {q.answers for q in load_data(folder(tmp_path / "d", train=train), needs_dev=True).dev} == {("nine", "9")}


def test_one_file_gives_three_parts_without_a_common_document(tmp_path: Path) -> None:
    where = folder(tmp_path / "d", train=None, test=None, questions=rows("one", 10, 4))
    data = load_data(where, needs_dev=True)
    parts = [documents_of(part) for part in (data.examples, data.dev, data.questions)]
    assert all(parts)
    assert sum(len(part) for part in parts) == len(set().union(*parts)) == 10


NEAR = {"id": "near", "question": "Which test is number 3?", "answers": ["nine"], "doc_ids": []}
ASKED = {"id": "asked", "question": "Which tests is number 3?", "answers": ["nine"], "doc_ids": []}


def test_near_repeats_leave_the_training_rows_and_are_named(tmp_path: Path) -> None:
    data = load_data(folder(tmp_path / "d", train=[*TRAIN, NEAR], test=[ASKED]))
    assert "near" not in {example.id for example in data.examples}
    assert len(data.examples) == 9
    (note,) = data.notes
    assert note.startswith("1 training row is left out")
    assert "'near' ('asked', " in note


def test_near_repeats_leave_the_dev_questions_and_dev_questions_the_training_rows(tmp_path: Path) -> None:
    other = {"id": "dev", "question": "Which dog sleeps in the boat?", "answers": ["Bo"]}
    close = {"id": "close", "question": "Which dog sleeps in a boat?", "answers": ["Bo"]}
    where = folder(tmp_path / "d", train=[*TRAIN, close], dev=[NEAR, other], test=[ASKED])
    data = load_data(where, needs_dev=True)
    assert [question.id for question in data.dev] == ["dev"]
    assert len(data.examples) == 9
    assert [note.split(" left out")[0] for note in data.notes] == ["1 dev row is", "1 training row is"]


def test_questions_asked_twice_are_merged_and_said(tmp_path: Path) -> None:
    twice = {**TEST[0], "id": "again", "answers": ["nine", "9"]}
    data = load_data(folder(tmp_path / "d", test=[*TEST, twice]))
    assert len(data.questions) == 9
    assert data.questions[0].answers == ("nine", "9")
    assert data.notes == ("1 evaluation question asked before is merged: 'again' into 'q0'",)


def test_a_file_that_is_not_read_is_said(tmp_path: Path) -> None:
    data = load_data(folder(tmp_path / "d", questions=rows("one", 2, 2)))
    assert data.notes == ("questions.jsonl is not read, since there is a test.jsonl",)


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ({"train": None, "test": None}, ArbiterError, "or add questions.jsonl to have it split"),
        ({"test": None, "questions": TEST}, ArbiterError, "both train.jsonl and questions.jsonl; rename"),
        ({"test": None}, ArbiterError, "train.jsonl: 9 rows cannot be split into 2 parts by document"),
        ({"train": None}, ArbiterError, "has no dev.jsonl and no train.jsonl to take dev questions from"),
        ({}, ArbiterError, "has no dev.jsonl, and of the training rows 9 rows cannot be split"),
        ({"dev": [TEST[0]]}, EvalError, "1 dev rows repeat an evaluation question: 'q0' repeats 'q0'"),
        ({"dev": [TRAIN[0]]}, EvalError, "1 training rows repeat a dev question: 't0' repeats 't0'"),
        ({"dev": "{oops\n"}, EvalError, "dev.jsonl: 1 faulty questions: line 1: not valid JSON"),
        ({"train": [NEAR], "test": [ASKED]}, ArbiterError, "cannot be split"),
        (
            {"train": [NEAR], "test": [ASKED], "dev": rows("dev", 1, 1)},
            ArbiterError,
            "every training row nearly",
        ),
        (
            {"test": [TEST[0], {**TEST[0], "id": "x", "answers": ["ten"]}]},
            EvalError,
            "'Test 0?' as line 1 does",
        ),
    ],
)
def test_what_is_wrong_with_the_parts_is_named(
    tmp_path: Path, parts: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        load_data(folder(tmp_path / "d", **parts), needs_dev=True, trains=parts != {"train": None})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["test.jsonl", "train.csv"])
def test_a_folder_in_the_place_of_a_file_of_rows_is_a_fault(tmp_path: Path, name: str) -> None:
    where = folder(tmp_path / "d", **{name.split(".")[0]: None})
    (where / name).mkdir()
    with pytest.raises(ArbiterError, match=rf"{name}' is no file; put its rows into a file of this name"):
        load_data(where)


@pytest.mark.parametrize("target", ["annexed/test.jsonl", "test.jsonl"])
def test_a_link_that_leads_nowhere_is_a_fault(tmp_path: Path, target: str) -> None:
    where = folder(tmp_path / "d", test=None, train=rows("one", 10, 4))
    (where / "test.jsonl").symlink_to(target)
    with pytest.raises(
        ArbiterError, match=rf"test.jsonl' is a link to '{target}', which leads nowhere .*; fetch its data"
    ):
        load_data(where)
    for name in ("test", "docs"):
        (where / f"{name}.jsonl").unlink()
    (where / "docs").symlink_to("gone")
    with pytest.raises(ArbiterError, match="docs' is a link to 'gone'"):
        load_data(where)


@pytest.mark.parametrize("name", ["test.txt", "test.xls", "Test.txt", "test.jsonl.gz", "test.jsonl.dvc", "dev.ods"])
def test_questions_in_a_form_that_is_not_read_are_a_fault(tmp_path: Path, name: str) -> None:
    where = folder(tmp_path / "d", test=None, train=rows("one", 10, 4))
    (where / "test.yaml").touch()  # a config may be called so
    load_data(where)
    (where / name).write_text("[]")
    needed = name.partition(".")[0].lower()
    with pytest.raises(ArbiterError, match=rf"{name}' is not read, and there is no {needed}.jsonl or {needed}.csv"):
        load_data(where, needs_dev=True)
    folder(where, **{needed: rows("other", 2, 2)})
    load_data(where, needs_dev=needed == "dev")


def test_documents_in_two_places_are_a_fault(tmp_path: Path) -> None:
    where = folder(tmp_path / "d")
    (where / "docs").mkdir()
    with pytest.raises(ArbiterError, match=r"has documents in docs.jsonl and docs; put them into one"):
        load_data(where)


def test_documents_beside_the_questions_are_named_where_none_are_found(tmp_path: Path) -> None:
    where = folder(tmp_path / "d", docs=None)
    for name in ("a.pdf", "README.md", "photo.png", "pages/b.pdf"):
        (where / name).parent.mkdir(exist_ok=True)
        (where / name).touch()
    data = load_data(where)
    assert data.strays == ("a.pdf", "pages/")
    (note,) = askable_arms(Config(data=where), data)[1]
    assert note.endswith("; documents are read from docs/, so move there what is meant of a.pdf, pages/")


def test_a_folder_that_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    where = folder(tmp_path / "d")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        with pytest.raises(ArbiterError, match=r"cannot read '.*test.jsonl': Permission denied; .*allow it: chmod \+r"):
            load_data(where, trains=False)
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(ArbiterError, match=r"cannot read data folder '.*d': Permission denied; .*: chmod \+rx"):
        load_data(where)


DOCUMENT, EXAMPLE = Document("d", "", "text"), Question("t", "?", ("a",))


def data_of(*, documents: bool = True, examples: bool = True) -> Data:
    return Data(Path("team"), (DOCUMENT,) * documents, (), (EXAMPLE,) * examples, ())


@pytest.mark.parametrize(
    ("documents", "examples", "arms"),
    [
        (True, True, ["base", "fewshot", "rag", "tuned", "tuned_rag", "hybrid"]),
        (False, True, ["base", "fewshot", "tuned"]),
        (True, False, ["base", "rag"]),
        (False, False, ["base"]),
    ],
)
def test_arms_are_left_out_for_want_of_a_part(documents: bool, examples: bool, arms: list[str]) -> None:
    config, notes = askable_arms(Config(data=Path("team")), data_of(documents=documents, examples=examples))
    assert list(config.arms) == arms
    assert len(notes) == 2 - documents - examples


def test_raft_rows_need_documents_even_where_the_arm_retrieves_none() -> None:
    only = dict.fromkeys(("fewshot", "rag", "tuned", "tuned_rag", "hybrid"))
    config = Config.model_validate({"data": "team", "arms": {**only, "mine": {"adapter": "raft"}}})
    assert list(askable_arms(config, data_of(documents=False))[0].arms) == ["base"]


def test_a_part_that_no_arm_needs_is_not_missed() -> None:
    only = dict.fromkeys(("fewshot", "rag", "tuned", "tuned_rag", "hybrid"))
    config = Config.model_validate({"data": "team", "arms": only})
    assert askable_arms(config, data_of(documents=False, examples=False)) == (config, ())
    assert not needs_examples(config)
    assert needs_examples(Config(data=Path("team")))


def test_no_arm_left_is_an_error_that_says_why() -> None:
    config = Config.model_validate({"data": "team", "arms": {"base": None}})
    with pytest.raises(ArbiterError, match=r"no arm can be asked: no documents .*; no training rows"):
        askable_arms(config, data_of(documents=False, examples=False))


def test_rows_in_other_formats_are_read_where_they_lie_and_said(tmp_path: Path) -> None:
    where = folder(tmp_path / "d", train=None, test=None)
    (where / "data").mkdir()
    asked = [{"role": "user", "content": "When?"}, {"role": "assistant", "content": "At nine."}]
    chats = [
        {
            "messages": [
                *asked,
                {"role": "user", "content": f"And on day {word}?"},
                {"role": "assistant", "content": word},
            ]
        }
        for word in WORDS
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(chats), where / "data" / "train-00000-of-00001.parquet")
    (where / "test.csv").write_text("Frage;Antwort\nWo?;dort\n", encoding="utf-8-sig")
    data = load_data(where)
    first, *others = data.examples  # what all of them begin with is learned once
    assert (first.text, first.answer, first.history) == ("When?", "At nine.", ())
    assert [example.answer for example in others] == list(WORDS)
    assert all(example.history == tuple(asked) for example in others)
    assert [question.text for question in data.questions] == ["Wo?"]
    assert data.notes == (
        "train-00000-of-00001.parquet is chat messages: messages",
        "test.csv is a table: question <- Frage, answer <- Antwort",
        f"{len(WORDS)} training rows hold {len(WORDS) + 1} answers, each of which is learned",
    )
    alone = [{**row, "messages": row["messages"][2:]} for row in chats]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(alone), where / "data" / "train-00000-of-00001.parquet")
    shorter = load_data(where)
    assert [row.text for row in shorter.examples] == [row.text for row in others]
    assert shorter.version != data.version


SQUAD = [
    {"id": f"{part}{i}", "question": f"{part} {word}?", "context": f"{part} says {word}.", "answers": {"text": [word]}}
    for part in ("train", "test", "dev")
    for i, word in enumerate(("amber", "birch"))
]


def test_texts_that_came_with_rows_are_documents_whichever_arms_ask(tmp_path: Path) -> None:
    parts = {part: [row for row in SQUAD if str(row["id"]).startswith(part)] for part in ("train", "test", "dev")}
    where = folder(tmp_path / "d", docs=None, **parts)
    data = load_data(where)
    texts = {document.id: document.text for document in data.documents}
    assert sorted(texts.values()) == sorted(str(row["context"]) for row in SQUAD)
    for row in (*data.examples, *data.questions):
        assert [texts[name] for name in row.document_ids] == [f"{row.text[:-1].replace(' ', ' says ')}."]
        assert row.contexts == ()
    assert data.notes[-1] == "6 texts that came with rows are documents"
    assert not data.documents_given
    for needs in ({"trains": False}, {"needs_dev": True}, {"trains": False, "needs_dev": True}):
        other = load_data(where, **needs)
        assert {document.id for document in other.documents} == texts.keys()
    # One that is not used may be wrong.
    (where / "dev.jsonl").write_text("{oops\n")
    assert len(load_data(where).documents) == 4


def test_texts_that_came_with_rows_keep_their_questions_in_one_part_of_a_split(tmp_path: Path) -> None:
    pool = [
        {"question": f"{word} {i}?", "context": f"It says {word}.", "answers": {"text": [word]}}
        for word in WORDS
        for i in range(2)
    ]
    data = load_data(folder(tmp_path / "d", docs=None, train=pool, test=None))
    assert len(data.documents) == len(WORDS)
    trained, asked = ({name for row in rows for name in row.document_ids} for rows in (data.examples, data.questions))
    assert trained.isdisjoint(asked)
    assert len(trained | asked) == len(WORDS)


def test_columns_of_all_files_are_set_in_limits(tmp_path: Path) -> None:
    where = folder(tmp_path / "d", docs=None, train=None, test=None)
    for name, text in (("train", "Wer?;Ada"), ("test", "Wo?;dort")):
        (where / f"{name}.csv").write_text(f"Titel;Text;answer\n{text};x\n")
    data = load_data(where, LimitsConfig(columns={"question": "Titel", "answer": "Text"}))
    assert (data.examples[0].text, data.questions[0].answers) == ("Wer?", ("dort",))
    assert data.examples[0].metadata == {"answer": "x"}


def test_files_of_rows_that_are_not_read_are_said_and_one_alone_is_all_there_is(tmp_path: Path) -> None:
    where = folder(tmp_path / "d")
    (where / "faq.csv").write_text("question,answer\nWho?,Ada\n")
    assert load_data(where).notes == ("not read as rows, since no part of a folder is called so: faq.csv",)
    for name in ("docs", "train", "test"):
        (where / f"{name}.jsonl").unlink()
    (where / "faq.csv").write_text("Frage;Antwort\n" + "".join(f"Was ist {word}?;{word}\n" for word in WORDS))
    data = load_data(where)
    assert len(data.examples) + len(data.questions) == len(WORDS)
    assert data.notes[1].startswith("faq.csv is split by source document into ")


def test_a_config_of_promptfoo_reads_the_files_that_it_names(tmp_path: Path) -> None:
    where = folder(tmp_path / "d", train=None, test=None)
    (where / "promptfooconfig.yaml").write_text("tests: file://cases.csv\n")
    (where / "cases.csv").write_text("question,__expected\nWhen?,nine\nWhere?,here\n")
    data = load_data(where)
    assert [(row.text, row.answers) for row in data.questions] == [("When?", ("nine",)), ("Where?", ("here",))]
    assert data.notes == ("promptfooconfig.yaml is promptfoo tests: question <- vars.question, answer <- assert",)
