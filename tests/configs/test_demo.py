"""Holds the demo corpus in `configs/demo` to the promises its README makes. Reads files only: no model, no network."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "configs" / "demo"
DESKS = ("REPAIR", "BOOKING", "PAYMENT", "MISSING", "TRAINING", "FOOD", "EVENT", "ANIMAL")
URGENCIES = ("urgent", "routine")
CODE = re.compile(rf"(?:{'|'.join(DESKS)})/(?:{'|'.join(URGENCIES)})")
NOTE_PREFIX = "Member note: "
NEAR_DUPLICATE = 0.8


@dataclass(frozen=True, slots=True)
class Row:
    """One line of train.jsonl or test.jsonl."""

    id: str
    question: str
    answers: tuple[str, ...]
    doc_ids: tuple[str, ...]
    kind: str


def tokens(text: str) -> tuple[str, ...]:
    """Lower-case words, numbers and prices; `1,140` and `£16` stay whole, so `40` and `16` are not found in them."""
    return tuple(re.findall(r"£?\d+(?:[.,]\d+)*|[^\W\d_]+", text.casefold()))


def contains(text: str, phrase: str) -> bool:
    """True when `phrase` occurs in `text` as a run of whole words, whatever the case and punctuation."""
    return f" {' '.join(tokens(phrase))} " in f" {' '.join(tokens(text))} "


def jaccard(left: str, right: str) -> float:
    """Shared words over all words of two texts, in [0, 1]."""
    a, b = set(tokens(left)), set(tokens(right))
    return len(a & b) / len(a | b)


def read_rows(split: str) -> list[Row]:
    rows = []
    for line in (DEMO / f"{split}.jsonl").read_text(encoding="utf-8").splitlines():
        raw = json.loads(line)
        assert set(raw) == {"id", "question", "answers", "doc_ids", "metadata"}, raw
        assert set(raw["metadata"]) == {"kind"}, raw
        rows.append(
            Row(raw["id"], raw["question"], tuple(raw["answers"]), tuple(raw["doc_ids"]), raw["metadata"]["kind"])
        )
    return rows


DOCUMENTS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((DEMO / "docs").glob("*.md"))}
TRAIN, TEST = read_rows("train"), read_rows("test")
ROWS = TRAIN + TEST


def of_kind(rows: list[Row], kind: str) -> list[Row]:
    return [row for row in rows if row.kind == kind]


def test_counts_are_those_of_the_readme() -> None:
    assert len(DOCUMENTS) == 64
    assert Counter(row.kind for row in TRAIN) == {"fact": 128, "format": 128}
    assert Counter(row.kind for row in TEST) == {"fact": 50, "format": 50}


def test_ids_are_unique_and_no_question_is_asked_twice() -> None:
    assert len({row.id for row in ROWS}) == len(ROWS)
    assert len({tokens(row.question) for row in ROWS}) == len(ROWS)


def test_every_document_is_a_title_and_one_paragraph_of_40_to_110_words() -> None:
    for name, text in DOCUMENTS.items():
        assert re.fullmatch(r"[a-z]+(?:-[a-z]+)*", name), name
        match = re.fullmatch(r"# (\S[^\n]*)\n\n([^\n]+)\n", text)
        assert match, name
        assert 40 <= len(match[2].split()) <= 110, name


def test_rows_name_documents_that_exist_and_every_document_is_used() -> None:
    for row in ROWS:
        assert len(row.doc_ids) == (1 if row.kind == "fact" else 0), row
        assert set(row.doc_ids) <= set(DOCUMENTS), row
    assert Counter(name for row in of_kind(TRAIN, "fact") for name in row.doc_ids) == dict.fromkeys(DOCUMENTS, 2)


def test_no_two_test_facts_come_from_one_document() -> None:
    assert max(Counter(row.doc_ids for row in of_kind(TEST, "fact")).values()) == 1


@pytest.mark.slow
def test_every_fact_answer_is_verbatim_in_its_document_and_in_no_other() -> None:
    for row in of_kind(ROWS, "fact"):
        (source,) = row.doc_ids
        assert row.answers, row
        for answer in row.answers:
            assert 1 <= len(answer.split()) <= 6, row
            assert answer in DOCUMENTS[source], (row, answer)
            others = [name for name, text in DOCUMENTS.items() if name != source and contains(text, answer)]
            assert others == [], (row, answer)


def test_no_question_contains_its_own_answer() -> None:
    for row in ROWS:
        assert not any(contains(row.question, answer) for answer in row.answers), row


@pytest.mark.slow
def test_no_test_question_is_a_near_copy_of_a_train_question() -> None:
    for asked in TEST:
        for seen in TRAIN:
            similarity = jaccard(asked.question.removeprefix(NOTE_PREFIX), seen.question.removeprefix(NOTE_PREFIX))
            assert similarity < NEAR_DUPLICATE, (asked, seen)


def test_no_fact_asked_in_the_test_is_given_by_a_train_row_of_any_document() -> None:
    """Stronger than the same answer in the same document: no train question and no train answer says it."""
    for asked in of_kind(TEST, "fact"):
        for seen in TRAIN:
            given = " | ".join((seen.question, *seen.answers))
            assert not any(contains(given, answer) for answer in asked.answers), (asked, seen)


def test_no_train_answer_and_test_answer_of_one_document_overlap() -> None:
    for asked in of_kind(TEST, "fact"):
        for seen in of_kind(TRAIN, "fact"):
            if asked.doc_ids == seen.doc_ids:
                for ours, theirs in ((a, b) for a in asked.answers for b in seen.answers):
                    assert not contains(ours, theirs), (asked, seen)


def test_every_format_row_is_a_short_note_answered_by_one_code_of_the_grammar() -> None:
    for row in of_kind(ROWS, "format"):
        assert row.question.startswith(NOTE_PREFIX), row
        assert len(row.question.split()) <= 30, row
        assert len(row.answers) == 1, row
        assert CODE.fullmatch(row.answers[0]), row


def test_only_format_rows_carry_the_note_prefix() -> None:
    assert not any(row.question.startswith(NOTE_PREFIX) for row in of_kind(ROWS, "fact"))


def test_every_code_is_trained_at_least_five_times_and_tested_at_least_three() -> None:
    trained = Counter(row.answers[0] for row in of_kind(TRAIN, "format"))
    tested = Counter(row.answers[0] for row in of_kind(TEST, "format"))
    assert set(trained) == set(tested) == {f"{desk}/{urgency}" for desk in DESKS for urgency in URGENCIES}
    assert min(trained.values()) >= 5
    assert min(tested.values()) >= 3


@pytest.mark.parametrize("label", [*DESKS, *URGENCIES])
def test_no_document_and_no_fact_uses_a_word_of_the_grammar(label: str) -> None:
    facts = [text for row in of_kind(ROWS, "fact") for text in (row.question, *row.answers)]
    for text in [*DOCUMENTS.values(), *facts]:
        assert not contains(text, label), text
        assert not contains(text, f"{label}s"), text


def test_no_document_holds_anything_shaped_like_a_routing_code() -> None:
    for name, text in DOCUMENTS.items():
        assert not re.search(r"[A-Za-z]/[A-Za-z]", text), name


def test_any_prefix_of_a_file_holds_both_kinds_and_all_desks_alike() -> None:
    """So that a run limited to the first rows still measures both kinds."""
    for rows in (TRAIN, TEST):
        assert [row.kind for row in rows] == ["fact", "format"] * (len(rows) // 2)
        first_codes = [row.answers[0] for row in of_kind(rows, "format")[:16]]
        assert len(set(first_codes)) == 16
