from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from fakes.comparison import Comparison

from eval.questions import Question
from eval.report.slices import Slice, SliceTable, collection_of, cut_questions, find_slices
from router.answering.arm import Arm
from router.deciding.policy import Policy
from router.deciding.scorecard import ArmScores, RaceRecord, Scorecard
from router.errors import RouterError

Column = Sequence[float | None]


def asked(kinds: Sequence[str], documents: Sequence[str] = ()) -> list[Question]:
    return [
        Question(f"q{i}", "one two", ("x",), documents[i : i + 1] and (documents[i],), {"kind": kind})
        for i, kind in enumerate(kinds)
    ]


def scored(questions: Sequence[Question], columns: dict[str, Column], race: RaceRecord | None = None) -> Scorecard:
    ids, nothing = tuple(q.id for q in questions), (None,) * len(questions)
    arms = tuple(
        ArmScores(Arm(name), {"f1": tuple(values)}, nothing, nothing, nothing) for name, values in columns.items()
    )
    return Scorecard(ids, tuple(q.cluster for q in questions), "f1", arms, race=race)


def table_of(kinds: Sequence[str], columns: dict[str, Column], **options: object) -> SliceTable:
    questions = asked(kinds)
    return find_slices(scored(questions, columns), questions, chosen="a", policy=Policy(), **options)  # type: ignore[arg-type]


def by_value(table: SliceTable) -> dict[str, Slice]:
    return {found.value: found for found in table.slices}


def test_a_slice_prefers_the_arm_that_wins_it_beyond_chance() -> None:
    # On 12 notes b is always right and a never; on 12 facts it is the other way round.
    table = table_of(["note"] * 12 + ["fact"] * 12, {"a": [0.0] * 12 + [1.0] * 12, "b": [1.0] * 12 + [0.0] * 12})
    note, fact = by_value(table)["note"], by_value(table)["fact"]
    assert (note.num_questions, note.rival, note.num_pairs, note.prefers) == (12, "b", 12, "b")
    assert note.difference is not None
    assert note.difference.mean == 1.0
    assert note.difference.low > 0
    # Exact McNemar of 12 to 0 is 2 / 2**12; one rival to pick from, two slices for Holm.
    assert note.p_holm == pytest.approx(2 * 2 / 2**12)
    # The chosen arm wins the facts: its best rival is named, and not preferred, however significant.
    assert (fact.rival, fact.prefers) == ("b", None)
    assert fact.difference is not None
    assert fact.difference.mean == -1.0
    assert (table.num_comparisons, table.num_left_out) == (2, 0)


def test_picking_the_best_of_many_arms_is_paid_for() -> None:
    # b wins 8 of 8 notes: p is 2 / 2**8 alone, and 4 arms to pick from make it 8 / 2**8; Holm doubles that to 1 / 16.
    wins, level = [1.0] * 8 + [0.0] * 8, [0.0] * 16
    columns: dict[str, Column] = {"a": level, "b": wins, "c": level, "d": level, "e": level}
    note = by_value(table_of(["note"] * 8 + ["fact"] * 8, columns))["note"]
    assert note.p_holm == pytest.approx(1 / 16)
    assert (note.rival, note.prefers) == ("b", None)
    alone = by_value(table_of(["note"] * 8 + ["fact"] * 8, {"a": level, "b": wins}))["note"]
    assert alone.p_holm == pytest.approx(2 * 2 / 2**8)
    assert alone.prefers == "b"


def test_means_are_of_the_slice_alone() -> None:
    table = table_of(["note"] * 8 + ["fact"] * 8, {"a": [1.0] * 6 + [0.0] * 10, "b": [None] * 8 + [1.0] * 8})
    note = by_value(table)["note"]
    assert note.means["a"] is not None
    assert note.means["a"].mean == 0.75
    assert note.means["b"] is None


def test_only_questions_that_both_arms_were_scored_on_are_compared() -> None:
    # A race dropped b after 8 of 16 notes; c was dropped after 3, too few to say anything.
    late: Column = [1.0] * 8 + [None] * 8
    soon: Column = [1.0] * 3 + [None] * 13
    table = table_of(
        ["note"] * 16 + ["fact"] * 8, {"a": [0.0] * 24, "b": [*late, *[0.0] * 8], "c": [*soon, *[0.0] * 8]}
    )
    note = by_value(table)["note"]
    assert (note.rival, note.num_pairs, note.num_questions) == ("b", 8, 16)
    assert table.num_comparisons == 1 + 2


def test_a_slice_without_a_rival_is_shown_and_not_compared() -> None:
    table = table_of(["note"] * 8 + ["fact"] * 8, {"a": [1.0] * 16, "b": [None] * 8 + [0.0] * 8})
    note = by_value(table)["note"]
    assert (note.rival, note.difference, note.p_holm, note.prefers) == (None, None, None, None)


def test_excluded_arms_are_not_preferred() -> None:
    columns: dict[str, Column] = {"a": [0.0] * 24, "b": [1.0] * 24, "c": [0.0] * 24}
    table = table_of(["note"] * 12 + ["fact"] * 12, columns, excluded={"b"})
    assert {found.rival for found in table.slices} == {"c"}
    assert set(table.slices[0].means) == {"a", "b", "c"}


def test_graded_scores_can_survive_many_comparisons() -> None:
    kinds = [f"kind {i % 6}" for i in range(240)]
    columns: dict[str, Column] = {
        name: [0.4 + (i * k) % 7 / 100 for i in range(240)] for k, name in enumerate("acdef", 1)
    }
    # On the 40 questions of kind 3, b is ahead of a by 0.5 and 0.2 in turn; elsewhere it is behind.
    columns["b"] = [
        (columns["a"][i] or 0.0) + (0.5 if i // 6 % 2 else 0.2) if kind == "kind 3" else 0.3 + i % 3 / 100
        for i, kind in enumerate(kinds)
    ]
    table = table_of(kinds, columns)
    assert table.num_comparisons == 30
    assert [found.value for found in table.slices if found.prefers] == ["kind 3"]
    # All 40 go one way: 2 of 2**40 patterns of signs, by 5 arms and 6 slices.
    assert by_value(table)["kind 3"].p_holm == pytest.approx(2**-39 * 5 * 6, rel=0.01)


def test_bounds_hold_for_all_slices_at_once() -> None:
    rng = random.Random(1)
    kinds = [f"kind {i % 4}" for i in range(160)]
    columns: dict[str, Column] = {name: [round(rng.random(), 3) for _ in kinds] for name in "abc"}
    wide = by_value(table_of(kinds, columns))["kind 0"].difference
    narrow = by_value(table_of(kinds, columns, max_slices=1))["kind 0"].difference
    assert wide is not None
    assert narrow is not None
    assert wide.mean == narrow.mean
    assert wide.high - wide.low > narrow.high - narrow.low


def test_bounds_stay_open_where_all_questions_agree() -> None:
    (note, _) = table_of(["note"] * 8 + ["fact"] * 8, {"a": [0.0] * 16, "b": [1.0] * 16}).slices
    assert note.difference is not None
    # Eight of eight: mean 0.8 of ten with the made-up ones, variance 0.9 - 0.64, t at 0.0125 with 7 degrees is 2.841.
    assert note.difference.low == pytest.approx(0.8 - 2.8412 * math.sqrt(0.26 / 9), abs=1e-3)
    assert note.difference.high == 1.0


def test_questions_about_one_document_prove_nothing() -> None:
    questions = asked(["note"] * 8 + ["fact"] * 8, ["doc"] * 8 + [f"f{i}" for i in range(8)])
    card = scored(questions, {"a": [0.0] * 16, "b": [1.0] * 16})
    note = next(s for s in find_slices(card, questions, chosen="a", policy=Policy()).slices if s.value == "note")
    assert note.difference is not None
    assert (note.difference.low, note.difference.high, note.p_holm, note.prefers) == (-1.0, 1.0, 1.0, None)


def test_after_a_race_looking_early_is_paid_for() -> None:
    questions = asked(["note"] * 40 + ["fact"] * 40)
    columns: dict[str, Column] = {"a": [0.0] * 80, "b": [1.0] * 40 + [0.0] * 40}
    race = RaceRecord(0, 25, 80, (), (), "questions spent", 160, 160)
    fixed, raced = (
        by_value(find_slices(scored(questions, columns, how), questions, chosen="a", policy=Policy()))["note"]
        for how in (None, race)
    )
    assert fixed.p_holm is not None
    assert raced.p_holm is not None
    assert fixed.p_holm < raced.p_holm < 0.05
    assert raced.prefers == "b"
    assert fixed.difference is not None
    assert raced.difference is not None
    assert 0 < raced.difference.low < fixed.difference.low


def test_equal_arms_are_almost_never_preferred() -> None:
    rng = random.Random(7)
    wrong = 0
    for _ in range(5):
        kinds = [rng.choice("wxyz") for _ in range(80)]
        columns: dict[str, Column] = {name: [float(rng.random() < 0.5) for _ in kinds] for name in "abcd"}
        wrong += any(found.prefers for found in table_of(kinds, columns).slices)
    # The chance of any wrong name is at most 5% a table, and less with exact tests on few pairs.
    assert wrong == 0


def test_more_slices_than_the_bound_are_counted() -> None:
    kinds = [f"kind {i % 5}" for i in range(50)]
    table = table_of(kinds, {"a": [0.0] * 50, "b": [1.0] * 50}, max_slices=2)
    assert (len(table.slices), table.num_left_out) == (2, 3)


def test_the_comparison_is_sliced_by_kind(comparison: Comparison) -> None:
    table = find_slices(comparison.scorecard, comparison.questions, chosen="hybrid", policy=Policy())
    found = by_value(table)
    assert [found[kind].num_questions for kind in ("fact", "format")] == [12, 8]
    assert found["fact"].rival == "rag"
    # Notes: tuned r r r r r w r w, hybrid r r r r r w r r: one question apart.
    assert found["format"].rival == "tuned"
    assert found["format"].difference is not None
    assert found["format"].difference.mean == pytest.approx(-1 / 8)
    assert not any(s.prefers for s in table.slices)


def test_an_unknown_arm_is_named(comparison: Comparison) -> None:
    with pytest.raises(RouterError, match="no arm 'oracle'"):
        find_slices(comparison.scorecard, comparison.questions, chosen="oracle", policy=Policy())


def test_a_lone_arm_has_means_and_no_comparisons(comparison: Comparison) -> None:
    alone = replace(comparison.scorecard, arms=comparison.scorecard.arms[:1])
    table = find_slices(alone, comparison.questions, chosen="base", policy=Policy())
    assert table.num_comparisons == 0
    assert {found.rival for found in table.slices} == {None}


@pytest.mark.slow
def test_slices_of_a_usual_run_take_seconds() -> None:
    rng = random.Random(3)
    questions = [
        Question(
            f"q{i}",
            "word " * rng.randint(3, 20),
            ("x",),
            (f"book-{i % 9}/{i}",),
            {"kind": rng.choice("abc"), "views": rng.randint(1, 10**6)},
        )
        for i in range(300)
    ]
    card = scored(questions, {name: [round(rng.random(), 3) for _ in questions] for name in "abcdef"})
    started = time.process_time()
    assert len(find_slices(card, questions, chosen="a", policy=Policy()).slices) == 19
    assert time.process_time() - started < 5


def tagged(*values: object, key: str = "kind", text: str = "one two three") -> list[Question]:
    """A question per value, all of one length, with `key` in its metadata unless the value is None."""
    return [
        Question(f"q{i}", text, ("x",), metadata={} if value is None else {key: value})
        for i, value in enumerate(values)
    ]


def cuts_of(questions: list[Question], **options: int) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(cut.name, cut.value, cut.members) for cut in cut_questions(questions, **options)]


def test_kinds_are_cut_with_the_most_frequent_first() -> None:
    assert cuts_of(tagged("note", "fact", "fact", None)) == [("kind", "fact", (1, 2)), ("kind", "note", (0,))]


def test_cuts_that_are_too_small_are_left_out() -> None:
    assert cuts_of(tagged("note", "fact", "fact"), min_questions=2) == [("kind", "fact", (1, 2))]


@pytest.mark.parametrize(
    ("question", "collection"),
    [
        (Question("q", "?", ("x",), ("loans/fees",)), "loans"),
        (Question("q", "?", ("x",), ("a/b/c", "d/e")), "a/b"),
        (Question("q", "?", ("x",), ("squad-Doctor_Who-008",)), "squad-Doctor_Who"),
        (Question("q", "?", ("x",), ("wiki#12",)), "wiki"),
        (Question("q", "?", ("x",), ("kinds-of-member",)), "kinds-of-member"),
        (Question("q", "?", ("x",), ("17",)), None),
        (Question("q", "?", ("x",), ("a/b",), {"collection": "faq"}), "faq"),
        (Question("q", "?", ("x",)), None),
    ],
)
def test_a_collection_is_named_or_read_from_the_gold_document(question: Question, collection: str | None) -> None:
    assert collection_of(question) == collection


def test_lengths_are_cut_in_terciles() -> None:
    questions = [Question(f"q{i}", "word " * n, ("x",)) for i, n in enumerate([9, 1, 5, 2, 8, 4])]
    assert cuts_of(questions) == [
        ("length in words", "1 to 2", (1, 3)),
        ("length in words", "4 to 5", (2, 5)),
        ("length in words", "8 to 9", (0, 4)),
    ]


def test_equal_lengths_are_not_torn_apart() -> None:
    questions = [Question(f"q{i}", "word " * n, ("x",)) for i, n in enumerate([3, 3, 3, 3, 4, 9])]
    assert [value for _, value, _ in cuts_of(questions)] == ["3", "4 to 9"]


def test_numbers_with_many_values_are_cut_at_their_quartiles() -> None:
    cuts = cuts_of(tagged(*(n * 1000 for n in range(16)), key="popularity"))
    assert [(name, value) for name, value, _ in cuts] == [
        ("popularity", "0 to 3,000"),
        ("popularity", "4,000 to 7,000"),
        ("popularity", "8,000 to 11,000"),
        ("popularity", "12,000 to 15,000"),
    ]
    # No question is in two quartiles or in none.
    assert sorted(i for _, _, members in cuts for i in members) == list(range(16))


def test_numbers_with_few_values_are_categories() -> None:
    assert [cut[:2] for cut in cuts_of(tagged(1, 2, 2, 0.5, key="level"))] == [
        ("level", "2"),
        ("level", "0.5"),
        ("level", "1"),
    ]


@pytest.mark.parametrize(
    "values",
    [
        ["same", "same", "same"],
        [f"text {i}" for i in range(13)],
        [*range(13), "a word among the numbers"],
        [["a"], ["b"], {"c": 1}],
        [float("nan"), float("inf"), 1, 1],
        ["", "  ", "a"],
    ],
)
def test_metadata_that_is_no_category_and_no_number_is_not_cut(values: list[object]) -> None:
    assert cuts_of(tagged(*values, key="tag")) == []


def test_yes_and_no_are_categories() -> None:
    assert cuts_of(tagged(True, False, True, key="seen")) == [("seen", "yes", (0, 2)), ("seen", "no", (1,))]


def test_the_same_questions_are_cut_once() -> None:
    questions = [
        Question(f"q{i}", "one two", ("x",), metadata={"kind": kind, "topic": kind.upper()})
        for i, kind in enumerate(["a", "b", "a"])
    ]
    assert [name for name, _, _ in cuts_of(questions)] == ["kind", "kind"]


def test_no_questions_have_no_cuts() -> None:
    assert cut_questions([]) == ()
