from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.errors import EvalError
from eval.questions import Question
from eval.splits import split_by_document


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
