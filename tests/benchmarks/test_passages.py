from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from eval.questions import Question
from rag.chunking.chunk import ChunkSettings
from rag.documents.document import Document

passages = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "passages.py")))

DESK = Document("desk", "Desk", "The desk opens at nine. Nine people work there.", {"part": "A"})
FINES = Document("fines", "Desk", "A late book costs ten  cents.", {"part": "A"})


def _question(name: str, answers: tuple[str, ...], *document_ids: str) -> Question:
    return Question(name, name, answers, document_ids)


@pytest.mark.parametrize("name", passages.CHUNKINGS)
def test_a_chunkings_name_is_what_it_is_read_from(name: str) -> None:
    assert passages.name_of(passages.chunking(name)) == name


def test_a_chunking_may_name_its_parents_size() -> None:
    assert passages.chunking("parent_child:120/20/240") == ChunkSettings(120, 20, "parent_child", 240)
    assert passages.chunking("structure:90/0") == ChunkSettings(90, 0, "structure")


def test_the_gold_is_every_place_of_an_answer_in_a_gold_document() -> None:
    case = passages.answer_case(
        "set",
        (DESK, FINES),
        [
            _question("when", ("nine",), "desk"),
            _question("cost", ("a dollar", "Ten Cents"), "fines"),
            _question("part of a word", ("pens",), "desk"),
            _question("elsewhere", ("nine",), "fines"),
            _question("nowhere", ("nine",)),
        ],
    )

    assert [gold.places for gold in case.golds] == [(("desk", 18, 22), ("desk", 24, 28)), (("fines", 18, 28),)]
    assert case.num_left_out == 3


def test_joined_documents_keep_their_golds_in_place() -> None:
    case = passages.answer_case("set", (DESK, FINES), [_question("cost", ("ten cents",), "fines")])

    joined = passages.joined(case, "part")

    (document,) = joined.documents
    (gold,) = joined.golds
    ((name, start, end),) = gold.places
    assert (document.id, document.title, document.text) == ("A", "Desk", f"{DESK.text}\n\n{FINES.text}")
    assert (name, document.text[start:end], gold.question.document_ids) == ("A", "ten  cents", ("A",))


def test_questions_of_pages_are_headings_that_stand_once_and_golds_prose_under_them() -> None:
    prose = "Every reader may borrow up to ten books for three weeks.\n\n"
    page = Document(
        "page",
        "Library",
        f"# Top\n\n{prose}## Loans\n\nToo short.\n\n{prose}"
        f"## Code\n\n```\n{prose}```\n\n## Notes\n\n{prose}## Notes\n\n{prose}",
    )

    case = passages.page_case("pages", (page,), 10)

    (gold,) = case.golds
    ((_, start, end),) = gold.places
    assert gold.question.text == "Library: Loans"
    assert page.text[start:end] == prose.strip()
    assert page.text.index("## Loans") < start < page.text.index("## Code")
    assert case.num_left_out == 1


# Three tokens of two characters each, a title of one token.
RANKED = [(("a", 10, 16), [2, 4, 6], 1), (("b", 0, 6), [2, 4, 6], 1)]


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (1, []),
        (3, [("a", 10, 14)]),
        (4, [("a", 10, 16)]),
        (5, [("a", 10, 16)]),
        (6, [("a", 10, 16), ("b", 0, 2)]),
        (99, [("a", 10, 16), ("b", 0, 6)]),
    ],
)
def test_passages_fill_a_budget_and_the_last_is_cut(budget: int, expected: list[tuple[str, int, int]]) -> None:
    assert passages.fill(RANKED, budget) == expected


@pytest.mark.parametrize(
    ("wanted", "is_held"),
    [(("a", 2, 5), True), (("a", 1, 5), False), (("a", 2, 6), False), (("b", 2, 5), False)],
)
def test_a_place_holds_what_lies_in_it_whole(wanted: tuple[str, int, int], is_held: bool) -> None:
    assert passages.holds(("a", 2, 5), wanted) == is_held


def test_the_table_holds_each_chunking_against_the_first() -> None:
    questions = [_question(f"q{number}", ("nine",), "desk") for number in range(10)]
    case = passages.answer_case("set", (DESK, FINES), questions)
    found = {
        "tokens:120/20": passages.Given(2, {1: [0.0] * 10, 2: [0.0] * 10, 3: [1.0] * 10}, {2: [1.0] * 10}),
        "tokens:60/10": passages.Given(1000, {1: [0.0] * 10, 2: [1.0] * 10, 3: [1.0] * 10}, {2: [1.0] * 10}),
    }

    first, second = passages.table(case, found, [1, 2, 3]).split("\n")[-2:]

    assert first.startswith("| tokens:120/20 | 2 | 1.000 | 0.000 | 0.000 | 1.000 |")
    assert second.startswith("| tokens:60/10 | 1,000 | 1.000 | 0.000 | 1.000 | 1.000 |")
    assert "+1.000" in second
