from __future__ import annotations

import itertools

import pytest

from eval.errors import EvalError
from eval.generation.plan import Task, divide, names_in, plan, without_tasks
from eval.generation.settings import KINDS
from rag.chunking.chunk import Chunk

_LONG = "has stood beside the old river road ever since the great flood of the valley"


def chunk(name: str, document: str, text: str = "") -> Chunk:
    return Chunk(name, document, "", text or f"{name} {_LONG}", 0)


def test_no_document_is_on_both_sides_and_shares_are_kept() -> None:
    chunks = [chunk(f"{document}-{i}", document) for document in "abcdefgh" for i in range(5)]
    test, train = divide(chunks, questions=30, examples=10, seed=3)
    assert (len(test), len(train)) == (30, 10)
    assert not {one.document_id for one in test} & {one.document_id for one in train}
    assert divide(chunks, questions=30, examples=10, seed=3) == (test, train)


def test_copies_of_a_document_stay_on_one_side() -> None:
    chunks = [chunk("a", name, f"The same words {_LONG}") for name in ("one", "two")] + [chunk("b", "three")]
    test, train = divide(chunks, questions=1, examples=1, seed=0)
    assert {frozenset(one.document_id for one in side) for side in (test, train)} == {
        frozenset({"one", "two"}),
        frozenset({"three"}),
    }


def test_one_side_takes_all_and_short_passages_are_in_neither() -> None:
    chunks = [chunk("a", "x"), chunk("b", "x", "Page 3 of 7")]
    assert divide(chunks, questions=1, examples=0, seed=0) == ((chunks[0],), ())
    assert divide(chunks, questions=0, examples=1, seed=0) == ((), (chunks[0],))
    with pytest.raises(EvalError, match=r"one document, which .* generate\.examples=0"):
        divide(chunks, questions=1, examples=1, seed=0)
    with pytest.raises(EvalError, match="no passage of the documents has 12 words"):
        divide(chunks[1:], questions=1, examples=0, seed=0)


def test_every_passage_has_every_kind_once_and_the_first_tasks_are_of_all_documents_and_kinds() -> None:
    chunks = [
        chunk(f"{document}{i}", document)
        for document, number in zip("abcde", (1, 2, 3, 4, 5), strict=True)
        for i in range(number)
    ]
    kinds = ("fact", "yes-no", "unanswerable", "format")
    tasks = list(plan(chunks, kinds, part="test", seed=1))
    pairs = [(task.kind, task.chunks[0].id) for task in tasks]
    assert sorted(pairs) == sorted(itertools.product(kinds, [one.id for one in chunks]))
    assert {task.chunks[0].document_id for task in tasks[:5]} == set("abcde")
    assert {task.kind for task in tasks[:5]} == set(kinds)
    assert tasks == list(plan(chunks, kinds, part="test", seed=1))
    assert tasks != list(plan(chunks, kinds, part="test", seed=2))


def test_two_passages_are_joined_by_the_rarest_name_and_another_document_comes_first() -> None:
    chunks = [
        chunk("a", "one", f"Here Ada Lovell of Thornby {_LONG}"),
        chunk("b", "one", f"Again Ada Lovell {_LONG} without more"),
        chunk("c", "two", f"There Ada Lovell {_LONG} by Thornby"),
        chunk("d", "three", f"Nobody that we know {_LONG}"),
    ]
    tasks = list(plan(chunks, ("multi-hop",), part="test", seed=0))
    joined = {task.chunks[0].id: (task.chunks[1].id, task.bridge) for task in tasks}
    assert joined == {"a": ("c", "Thornby"), "b": ("c", "Ada Lovell"), "c": ("a", "Thornby")}
    assert next(task for task in tasks if task.chunks[0].id == "a").document_ids == ("one", "two")
    alone = list(plan(chunks[3:], KINDS, part="test", seed=0))
    assert without_tasks(KINDS, alone) == ("no two passages share a name, so there are no questions: multi-hop",)
    assert without_tasks(KINDS[:1], [Task("test", "fact", (chunks[0],))]) == ()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("The mill of Ada Lovell stands. It is old.", {"Ada Lovell"}),
        ("Then came Thornby and the Wexcombe bridge.", {"Thornby", "Wexcombe"}),
        ("Nobody came. Everybody left.", set()),
        ("In Łódź lives Žofie.", {"In Łódź", "Łódź", "Žofie"}),
        ("I said that I would", set()),
    ],
)
def test_names_are_runs_of_capitalised_words_with_and_without_what_begins_a_sentence(
    text: str, names: set[str]
) -> None:
    assert names_in(text) == names
