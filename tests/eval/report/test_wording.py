import pytest

from eval.report.wording import (
    as_amount,
    as_duration,
    as_line,
    as_percent,
    as_signed_amount,
    as_size,
    break_even_words,
    flip_words,
)
from router.deciding.costs import BreakEven
from router.deciding.flips import WEIGHTS, Flip
from router.deciding.scorecard import RaceRecord


@pytest.mark.parametrize(
    ("share", "words"), [(1.0, ">99%"), (0.995, ">99%"), (0.99, "99%"), (0.5, "50%"), (0.01, "1%"), (0.0, "<1%")]
)
def test_a_probability_never_claims_certainty(share: float, words: str) -> None:
    assert as_percent(share) == words


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (None, "unknown"),
        (0.0, "0"),
        (0.00755, "0.00755"),
        (0.000004, "4e-06"),
        (12.3456, "12.3"),
        (-123.4, "-123"),
        (1234.5, "1,234"),
        (1_999_999.0, "1,999,999"),
    ],
)
def test_amounts_have_three_digits_and_no_exponent_where_people_read_them(amount: float | None, words: str) -> None:
    assert as_amount(amount) == words


def test_a_signed_amount_has_its_sign() -> None:
    assert (as_signed_amount(0.5), as_signed_amount(0.0), as_signed_amount(-0.5)) == ("+0.5", "+0", "-0.5")


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.25, "4.2 s"), (59.7, "1 min 0 s"), (101.2, "1 min 41 s"), (3720.0, "1 h 2 min")]
)
def test_durations_are_said_in_the_largest_units(seconds: float, words: str) -> None:
    assert as_duration(seconds) == words


@pytest.mark.parametrize(
    ("num_bytes", "words"), [(12, "12 bytes"), (81_000, "81.0 kB"), (19_540_000, "19.5 MB"), (2.5e9, "2.5 GB")]
)
def test_sizes_are_said_in_the_largest_units(num_bytes: float, words: str) -> None:
    assert as_size(num_bytes) == words


def test_nested_provenance_is_one_line() -> None:
    assert as_line({"torch": "2.1", "seeds": [7, 8]}) == "torch 2.1, seeds 7, 8"


def test_every_weight_that_can_flip_has_words() -> None:
    for weight in WEIGHTS:
        assert " were 2 instead of 1: then rag" in flip_words(Flip(weight, 1.0, "base", 2.0, "rag"))


def test_a_flip_very_near_shows_that_the_numbers_differ() -> None:
    words = flip_words(Flip("margin", 0.05, "base", 0.050004, "rag"))
    assert words == "the margin were 0.050004 instead of 0.05: then rag"


def test_a_flip_to_nothing_is_said() -> None:
    assert flip_words(Flip("prices.prompt", 1.0, "base", 2.0)).endswith("no arm would keep the limits")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (BreakEven("a", "b", "at once", 0.0, None, 0.0, 12), "a is cheaper than b from the first question"),
        (
            BreakEven("a", "b", "from", 120_000.0, None, 0.0, 12),
            "a is cheaper than b from 120,000 questions (10,000 a month)",
        ),
        (BreakEven("a", "b", "until", 0.0, 600.0, 0.0, 12), "a is cheaper than b until 600 questions (50 a month)"),
        (BreakEven("a", "b", "never", None, None, None, 12), "a never gets cheaper than b"),
        (BreakEven("a", "b", "equal", None, None, None, 12), "a and b cost the same"),
        (BreakEven("a", "b", "unknown", None, None, None, 12), "unknown against b: a cost was not measured"),
    ],
)
def test_every_break_even_is_a_clause(found: BreakEven, words: str) -> None:
    assert break_even_words(found) == words


def test_a_race_says_its_share_and_the_cap_that_ended_it() -> None:
    race = RaceRecord((10, 20), 20, (), (), "budget spent", 30, 120, budget="tokens")
    assert race.summary == "30 of 120 answers were needed (25%); it ended because the budget (tokens) was spent"
