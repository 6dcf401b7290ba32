from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from fakes.teachers import FakeTeacher, chunks, teaching

from eval.generation.making import Made, Maker, least_requests, origin_of
from eval.generation.nearest import NearestPassages
from eval.generation.plan import Part, divide, plan
from eval.generation.prompts import PROMPT_VERSION
from eval.generation.proposals import Proposal
from eval.generation.settings import KINDS, Kind
from eval.generation.teacher import Budget, BudgetSpent, TeacherAway
from tests.eval.generation.conftest import Teachers


def make(
    teachers: Teachers,
    server: FakeTeacher,
    kinds: Sequence[Kind] = KINDS,
    *,
    test: int = 5,
    train: int = 5,
    budget: Budget | None = None,
    earlier: Sequence[Proposal] = (),
    tries: int = 3,
    seed: int = 0,
) -> Made:
    teacher = teachers(server.url, budget)
    sides = divide(chunks(), questions=test, examples=train, seed=seed)
    parts: tuple[Part, ...] = ("test", "train")
    plans = {part: plan(side, kinds, part=part, seed=seed) for part, side in zip(parts, sides, strict=True) if side}
    maker = Maker(teacher, origin_of("large"), chunks(), earlier=earlier)

    async def work() -> Made:
        try:
            return await maker.make(plans, {"test": test, "train": train}, tries)
        finally:
            await teacher.engine.close()  # type: ignore[attr-defined]

    return asyncio.run(work())


def test_a_good_teacher_gives_every_kind_and_no_document_is_on_both_sides(teachers: Teachers) -> None:
    with teaching() as server:
        made = make(teachers, server, test=8, train=8)
    assert (len(made.of("test")), len(made.of("train")), made.stopped) == (8, 8, None)
    assert {row.kind for row in made.proposals} == set(KINDS)
    sides = [{name for row in made.of(part) for name in row.document_ids} for part in ("test", "train")]  # type: ignore[arg-type]
    assert not sides[0] & sides[1]
    assert {row.status for row in made.proposals} == {"proposed"}
    for row in made.proposals:
        assert (row.origin.teacher, row.origin.prompt) == ("large", PROMPT_VERSION)
        assert len(row.passages) == (2 if row.kind == "multi-hop" else 1)
        (answer,) = row.answers
        if row.kind in ("fact", "multi-hop"):
            assert any(answer in passage.text for passage in row.passages)
        elif row.kind == "format":
            year = next(word for word in row.passages[0].text.split() if word.isdigit())
            assert answer in (json.dumps({"answer": year}), f"The answer is {year}.", f"Answer: {year}")
        elif row.kind == "unanswerable":
            assert answer == "unanswerable"
        else:
            assert answer in ("yes", "no")


def test_the_same_work_again_asks_nothing_and_gives_the_same(teachers: Teachers) -> None:
    with teaching() as server:
        made, asked = make(teachers, server), len(server.bodies)
        again = make(teachers, server)
        assert len(server.bodies) == asked
    assert (again.proposals, again.dropped) == (made.proposals, made.dropped)


@pytest.mark.parametrize("number", [2, 7, 12])
def test_a_teacher_that_goes_away_leaves_what_was_made_and_nothing_is_asked_twice(
    number: int, teachers: Teachers
) -> None:
    with teaching(status=lambda sent: 200 if sent < number else 401) as server:
        made = make(teachers, server, ("fact",))
        assert isinstance(made.stopped, TeacherAway)
        server.status = lambda sent: 200
        whole = make(teachers, server, ("fact",))
    assert len(whole.proposals) == 10
    answered = [text for text, sent in zip(server.asked, range(1, 1000), strict=False) if sent < number]
    assert len(set(answered)) == len(answered)
    assert not set(answered) & set(server.asked[number - 1 + 4 :])


def test_a_budget_ends_it_with_what_is_made(teachers: Teachers) -> None:
    with teaching() as server:
        made = make(teachers, server, ("fact",), train=0, budget=Budget(max_requests=9))
        assert isinstance(made.stopped, BudgetSpent)
        assert len(server.bodies) == 9
        whole = make(teachers, server, ("fact",), train=0)
        assert len(server.bodies) == 15  # five drafts, and two answers to each
    assert len(whole.proposals) == 5


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda reply, is_draft: "What a fine mill that is." if is_draft else reply, "the reply is no question"),
        (lambda reply, is_draft: reply if is_draft else "1066", "does not give the answer with the passage"),
        (
            lambda reply, is_draft: reply.replace("1", "2") if is_draft else reply,
            "the answer does not stand in the passage",
        ),
        (
            lambda reply, is_draft: reply.replace("built?", "built, as the text says?"),
            "the question speaks of its passage",
        ),
    ],
)
def test_what_a_bad_teacher_writes_is_dropped_and_counted(spoil: object, reason: str, teachers: Teachers) -> None:
    with teaching(spoil=spoil) as server:
        made = make(teachers, server, ("fact",), test=2, train=2, tries=2)
    assert made.proposals == []
    assert made.num_drafts == sum(made.reasons.values()) == 8
    assert all(reason in one for one in made.reasons)


def test_what_the_teacher_knows_without_the_passage_is_dropped(teachers: Teachers) -> None:
    years = {word for one in chunks() for word in one.text.split() if word.isdigit()}

    def knows(reply: str, is_draft: bool) -> str:
        return f"One of {' '.join(sorted(years))}." if reply == "unknown" else reply

    with teaching(spoil=knows) as server:
        made = make(teachers, server, ("fact",), test=2, train=0, tries=1)
    assert made.reasons == {"the teacher gives the answer without the passage": 2}


def test_two_passages_are_needed_or_it_is_no_multi_hop_question(teachers: Teachers) -> None:
    def one_hop(reply: str, is_draft: bool) -> str:
        if not is_draft:
            return reply
        draft = json.loads(reply)
        thing = draft["question"].split(" built by")[0].rpartition(" ")[2]
        place = next(one.text.split()[3] for one in chunks() if one.text.split()[1] == thing)
        return json.dumps({**draft, "question": f"When was the {thing} at {place} built?"})

    with teaching(spoil=one_hop) as server:
        made = make(teachers, server, ("multi-hop",), test=2, train=0, tries=1)
    assert made.reasons == {"one of its two passages is enough": 2}


def test_a_question_that_other_documents_answer_is_not_unanswerable(teachers: Teachers) -> None:
    def asks_elsewhere(reply: str, is_draft: bool) -> str:
        if not is_draft:
            return reply
        other = "theatre at Underhill" if "Underhill" not in reply else "mill at Thornby"
        return json.dumps({"question": f"When was the {other} built?", "answer": "unanswerable"})

    with teaching(spoil=asks_elsewhere) as server:
        made = make(teachers, server, ("unanswerable",), test=3, train=0, tries=1)
    assert made.reasons == {"the teacher finds an answer in the passages": 3}


def test_what_is_asked_twice_is_kept_once_whatever_the_answer(teachers: Teachers) -> None:
    def asks_alike(reply: str, is_draft: bool) -> str:
        return json.dumps({**json.loads(reply), "question": "When was it built there?"}) if is_draft else reply

    with teaching(spoil=asks_alike) as server:
        made = make(teachers, server, ("unanswerable",), test=3, train=0, tries=1)
    assert len(made.proposals) == 1
    assert made.reasons == {"asks what another question asks": 2}


def test_earlier_questions_count_are_not_repeated_and_keep_their_documents_on_their_side(teachers: Teachers) -> None:
    with teaching() as server:
        first = make(teachers, server, ("fact",), test=2, train=2)
        more = make(teachers, server, ("fact",), test=3, train=3, earlier=first.proposals)
        assert [row.id for row in more.of("test")][:2] == [row.id for row in first.of("test")]
        assert (len(more.of("test")), len(more.of("train"))) == (3, 3)
        edited = [replace(row, id=f"mine-{row.id}") for row in first.proposals]
        moved = [replace(row, part="train") for row in first.of("test")]
        assert "asks what another question asks" in make(teachers, server, ("fact",), earlier=edited).reasons
        crossed = make(teachers, server, ("yes-no",), test=10, train=0, earlier=moved, tries=1)
    assert crossed.reasons == {"its document is on the other side of the questions that are there": 2}


def test_requests_are_foreseen() -> None:
    assert least_requests(("fact",), 10) == 30
    assert least_requests(KINDS, 10) == 32  # 3 + 5 + 3 + 2 + 3 for five


def test_the_nearest_passages_share_rare_words() -> None:
    found = NearestPassages(chunks()).of("Who built the mill at Thornby?", 2)
    assert found[0].document_id == "mill-thornby"
    assert len(found) == 2
    without = NearestPassages(chunks()).of("Thornby?", 3, without=["c-mill-thornby"])
    assert without == ()
