import pytest

from router.deciding.wording import as_lead, as_level, as_score


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (0.575, "0.58"),
        (0.575 + 1e-15, "0.58"),
        (0.575 - 1e-15, "0.58"),
        (0.5749, "0.57"),
        (-0.001, "0.00"),
        (1, "1.00"),
    ],
)
def test_a_score_reads_the_same_however_it_was_summed(score: float, words: str) -> None:
    assert as_score(score) == words


@pytest.mark.parametrize(
    ("lead", "words"), [(0.575, "+0.58"), (-0.575, "-0.58"), (0.0, "+0.00"), (-0.001, "+0.00"), (-1.0, "-1.00")]
)
def test_a_lead_has_its_sign(lead: float, words: str) -> None:
    assert as_lead(lead) == words


@pytest.mark.parametrize(("alpha", "words"), [(0.05, "95%"), (0.1, "90%"), (0.025, "97.5%"), (0.001, "99.9%")])
def test_a_level_is_that_of_the_error_rate(alpha: float, words: str) -> None:
    assert as_level(alpha) == words
