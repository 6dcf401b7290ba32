from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from arbiter.console import Console
from arbiter.data_stage.questions.review import review
from eval.errors import EvalError
from eval.generation.proposals import GoldPassage, Origin, Part, Proposal, read_proposals, write_text
from eval.questions import load_questions

NOW = "2026-01-02T03:04:05+00:00"


def proposal(name: str, part: Part = "test") -> Proposal:
    passage = GoldPassage(f"c-{name}", f"d-{name}", "Built  in\n1801.")
    return Proposal(
        name, "proposed", f"When was {name} built?", ("1801",), "fact", part, (passage,), Origin("large", "3f9c")
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "to_review.jsonl"
    path.write_text(write_text([proposal("a"), proposal("b"), proposal("c", "train"), proposal("d")]))
    return path


def lines(text: str) -> Callable[[], str]:
    return io.StringIO(text).readline


def look(path: Path, text: str, **options: bool) -> tuple[str, dict[str, object], str]:
    err = io.StringIO()
    console = Console(stderr=err, stdout=io.StringIO())
    said, row = review(path, console=console, read=lines(text), now=lambda: NOW, **options)
    return said, row, err.getvalue()


def statuses(path: Path) -> list[str]:
    return [row.status for row in read_proposals(path)]


def test_questions_are_accepted_edited_rejected_and_skipped(path: Path) -> None:
    said, row, shown = look(path, "a\ne\nWhen was the mill built?\n1801 | in 1801\nr\ns\n")
    assert statuses(path) == ["accepted", "accepted", "rejected", "proposed"]
    test = load_questions(path.with_name("test.jsonl"))
    assert [(one.text, one.answers) for one in test] == [
        ("When was a built?", ("1801",)),
        ("When was the mill built?", ("1801", "in 1801")),
    ]
    assert [one.reviewed for one in read_proposals(path)] == [NOW, NOW, NOW, None]
    assert not path.with_name("train.jsonl").exists()
    assert (row["accepted"], row["rejected"], row["proposed"], row["test"], row["train"]) == (2, 1, 1, 2, 0)
    assert "1 are left to review, and not used until then; the same command goes on" in said
    assert "1 of 4: fact, to evaluate on, from d-a" in shown
    assert "  passage: Built in 1801.\n  question: When was a built?\n  answer: 1801" in shown


def test_a_person_quits_and_goes_on_later(path: Path) -> None:
    look(path, "a\nq\n")
    _, _, shown = look(path, "a\n")
    assert "1 of 3: fact, to evaluate on, from d-b" in shown
    assert statuses(path) == ["accepted", "accepted", "proposed", "proposed"]


@pytest.mark.parametrize("text", ["", "e\n", "e\nOther?\n", "what?\n\n"])
def test_the_end_of_the_lines_rules_nothing(text: str, path: Path) -> None:
    look(path, text)
    assert statuses(path) == ["proposed"] * 4


def test_an_edit_without_words_keeps_them(path: Path) -> None:
    look(path, "e\n\n\n")
    first = read_proposals(path)[0]
    assert (first.status, first.question, first.answers) == ("accepted", "When was a built?", ("1801",))


def test_a_ruling_is_in_the_file_before_the_next_is_asked(path: Path) -> None:
    seen = []

    def read() -> str:
        seen.append(statuses(path).count("accepted"))
        return "a\n"

    review(path, console=Console(stderr=io.StringIO(), stdout=io.StringIO()), read=read)
    assert seen == [0, 1, 2, 3]


def test_all_that_is_left_may_be_accepted_and_counts_as_not_reviewed(path: Path) -> None:
    look(path, "r\nq\n")
    said, row, shown = look(path, "", accepts_all=True)
    assert statuses(path) == ["rejected", "accepted", "accepted", "accepted"]
    assert "3 questions were accepted without a look, and count as not reviewed" in said
    assert shown == ""
    rows = [json.loads(line) for line in path.with_name("test.jsonl").read_text().splitlines()]
    assert [one["metadata"]["generated"]["reviewed"] for one in rows] == [False, False]
    assert row["files"] == [str(path.with_name("test.jsonl")), str(path.with_name("train.jsonl"))]


def test_proposed_ones_may_be_used_and_that_is_said(path: Path) -> None:
    said, row, _ = look(path, "r\nq\n", take_proposed=True)
    assert (row["test"], row["train"]) == (2, 1)
    assert "3 questions are used that nobody has reviewed" in said


def test_a_set_whose_questions_are_all_rejected_is_gone(path: Path) -> None:
    look(path, "", accepts_all=True)
    path.write_text(path.read_text().replace('"accepted"', '"rejected"'))
    _, row, _ = look(path.parent, "")  # the folder stands for its file
    assert (row["test"], row["files"]) == (0, [])
    assert not path.with_name("test.jsonl").exists()


def test_a_faulty_file_stays_as_it_is(path: Path) -> None:
    path.write_text(path.read_text() + "{\n")
    before = path.read_text()
    with pytest.raises(EvalError, match="line 5"):
        look(path, "a\n")
    assert path.read_text() == before
