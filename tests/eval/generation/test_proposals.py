from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval.errors import EvalError
from eval.generated import GENERATED
from eval.generation.proposals import GoldPassage, Origin, Proposal, as_set, read_proposals, set_files, write_text
from eval.metrics.abstention import is_unanswerable
from eval.questions import load_questions
from tuning.data.examples import load_examples

NOW = "2026-01-02T03:04:05+00:00"


def proposal(name: str, **parts: object) -> Proposal:
    row: dict[str, object] = {
        "id": name,
        "status": "proposed",
        "question": f"When was {name} built?",
        "answers": ("1801",),
        "kind": "fact",
        "part": "test",
        "passages": (GoldPassage(f"c-{name}", f"d-{name}", "Built in 1801."),),
        "origin": Origin("large at http://x/v1", "3f9c12ab"),
    }
    return Proposal(**{**row, **parts})  # type: ignore[arg-type]


def test_the_file_is_read_as_it_was_written_and_may_be_edited_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "to_review.jsonl"
    rows = (proposal("a"), proposal("b", status="rejected", reviewed=NOW), proposal("c", reviewed=False))
    path.write_text(write_text(rows))
    assert read_proposals(path) == rows
    assert list(json.loads(path.read_text().splitlines()[0]))[:4] == ["id", "status", "question", "answers"]
    path.write_text(path.read_text().replace('"proposed"', '"accepted"', 1).replace('["1801"]', '"in 1801"', 1))
    edited = read_proposals(path)[0]
    assert (edited.status, edited.answers) == ("accepted", ("in 1801",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "acepted"}, "status is 'acepted' (did you mean 'accepted'?); give one of proposed, accepted"),
        ({"status": None}, "status is None"),
        ({"question": " "}, "question or answers are empty"),
        ({"answers": []}, "question or answers are empty"),
        ({"answers": 7}, "answers"),
        ({"kind": "riddle"}, "kind"),
        ({"extra": 1}, "extra"),
        ({"id": "a"}, "id 'a' was already used on line 1"),
    ],
)
def test_what_a_hand_got_wrong_is_said_with_its_line(change: dict[str, object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "to_review.jsonl"
    rows = [json.loads(line) for line in write_text([proposal("a"), proposal("b")]).splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in (rows[0], rows[1] | change)))
    with pytest.raises(EvalError) as fault:
        read_proposals(path)
    assert "line 2" in str(fault.value)
    assert message in str(fault.value)


def test_only_what_is_accepted_becomes_the_set_with_its_provenance(tmp_path: Path) -> None:
    rows = [
        proposal("a", status="accepted", reviewed="2025-01-01T00:00:00+00:00"),
        proposal("b", status="accepted"),  # by hand
        proposal("c", status="accepted", reviewed=False, part="train"),
        proposal("d"),
        proposal("e", status="rejected", reviewed=NOW),
        proposal("f", status="accepted", kind="unanswerable", answers=("unanswerable",)),
    ]
    parts = as_set(rows, take_proposed=False, now=NOW)
    for name, text in set_files(parts).items():
        (tmp_path / name).write_text(text)
    test, train = load_questions(tmp_path / "test.jsonl"), load_examples(tmp_path / "train.jsonl")
    assert ([row.id for row in test], [row.id for row in train]) == (["a", "b", "f"], ["c"])
    assert [row.metadata[GENERATED]["reviewed"] for row in (*test, *train)] == [  # type: ignore[index]
        "2025-01-01T00:00:00+00:00",
        NOW,
        NOW,
        False,
    ]
    assert (test[0].document_ids, test[0].metadata["kind"]) == (("d-a",), "fact")
    assert test[0].metadata[GENERATED] == {
        "teacher": "large at http://x/v1",
        "prompt": "3f9c12ab",
        "documents": ["d-a"],
        "passages": ["c-a"],
        "status": "accepted",
        "reviewed": "2025-01-01T00:00:00+00:00",
    }
    assert [is_unanswerable(row) for row in test] == [False, False, True]


def test_proposed_ones_are_taken_where_that_is_wanted_and_rejected_ones_never() -> None:
    rows = [proposal("d"), proposal("e", status="rejected", reviewed=NOW)]
    (taken,) = as_set(rows, take_proposed=True, now=NOW)["test"]
    assert (taken.id, taken.metadata[GENERATED]["reviewed"]) == ("d", None)  # type: ignore[index]
    assert set_files(as_set(rows, take_proposed=False, now=NOW)) == {}
