import json
from pathlib import Path

import pytest

from eval.errors import EvalError
from rag.errors import RagError
from serving.data import examples_as_documents, load_data
from serving.errors import ServingError
from tuning.errors import TuningError
from tuning.examples import Example

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
    some = load_data(where, train_rows=4, questions=3, seed=1)
    assert (len(some.examples), len(some.questions)) == (4, 3)
    assert [q.id for q in some.questions] == sorted(q.id for q in some.questions)
    assert load_data(where, train_rows=4, questions=3, seed=1) == some
    draws = [load_data(where, train_rows=4, questions=3, seed=seed).examples for seed in range(6)]
    drawn = {tuple(example.id for example in draw) for draw in draws}
    assert len(drawn) > 1


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
        ({"docs": None}, ServingError, "has neither docs.jsonl nor docs/"),
        ({"train": None}, ServingError, "has no train.jsonl (training rows)"),
        ({"test": None}, ServingError, "has no test.jsonl (evaluation questions)"),
        ({"docs": '{"id": 1\n'}, RagError, "docs.jsonl:1"),
        ({"train": '{"question": "a", "answers": ["b"]}\n{oops\n'}, TuningError, "train.jsonl:2"),
        ({"test": "{oops\n"}, TuningError, "test.jsonl:1"),
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


def test_missing_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="no data folder"):
        load_data(tmp_path / "none")
    with pytest.raises(ServingError, match="is empty"):
        load_data(tmp_path)


def test_examples_carry_their_answer_into_the_index() -> None:
    (document,) = examples_as_documents([Example("t1", "When?", "nine", ("desk",), {})])
    assert (document.id, document.text, document.metadata) == ("t1", "When?", {"answer": "nine"})
