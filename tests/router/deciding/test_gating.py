import numpy as np
import pytest
from scipy.stats import binom

from router.deciding.gating import rule


def alone(n: int) -> list[str]:
    return [f"q{i}" for i in range(n)]


def verdict(ones: int, n: int, *, limit: float = 0.1) -> str:
    return rule([1.0] * ones + [0.0] * (n - ones), alone(n), limit=limit, alpha=0.05).verdict


def test_a_harm_fails_over_its_limit_passes_under_it_and_is_open_between() -> None:
    # By Clopper and Pearson: 0 of 40 is 0 to 0.088, 1 of 40 up to 0.132, 10 of 40 from 0.127.
    assert [verdict(0, 40), verdict(1, 40), verdict(10, 40)] == ["pass", "not decided", "fail"]


def test_without_an_item_there_is_no_data() -> None:
    assert rule([], [], limit=0.1, alpha=0.05).verdict == "no data"


def test_what_is_open_says_how_many_more_items_would_tell() -> None:
    # (1.96 + 0.84)² · 0.1 · 0.9 / 0.1² = 70.6 in all, of which 10 are there.
    found = rule([0.0] * 10, alone(10), limit=0.1, alpha=0.05)
    assert (found.verdict, found.more) == ("not decided", 61)
    assert rule([0.0] * 71, alone(71), limit=0.1, alpha=0.05).verdict == "pass"


def test_a_harm_that_stands_at_its_limit_is_told_by_no_number_of_items() -> None:
    found = rule([1.0] * 5 + [0.0] * 45, alone(50), limit=0.1, alpha=0.05)
    assert (found.verdict, found.more) == ("not decided", None)


@pytest.mark.parametrize("limit", [0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("n", [1, 2, 5, 10, 20, 50, 100])
def test_a_harm_at_its_limit_fails_in_no_more_than_the_stated_share_and_is_never_passed_more_often(
    limit: float, n: int
) -> None:
    chances = binom.pmf(np.arange(n + 1), n, limit)
    verdicts = [verdict(ones, n, limit=limit) for ones in range(n + 1)]
    assert sum(chance for chance, one in zip(chances, verdicts, strict=True) if one == "fail") <= 0.025 + 1e-12
    assert sum(chance for chance, one in zip(chances, verdicts, strict=True) if one == "pass") <= 0.025 + 1e-12


@pytest.mark.parametrize("spread", [0.2, 1.0])
def test_sentences_of_one_answer_are_not_taken_for_so_many_answers(spread: float) -> None:
    # Answers of four sentences whose harms are alike within an answer: drawn at the limit, 400 times.
    rng, limit, failed, passed = np.random.default_rng(7), 0.3, 0, 0
    for _ in range(400):
        means = np.clip(rng.normal(limit, 0.3 * spread, 20), 0, 1) if spread < 1 else (rng.random(20) < limit) * 1.0
        harms = [float(h) for mean in means for h in (rng.random(4) < mean)]
        found = rule(harms, [f"a{i}" for i in range(20) for _ in range(4)], limit=limit, alpha=0.05).verdict
        failed += found == "fail"
        passed += found == "pass"
    assert failed / 400 <= 0.05
    assert passed / 400 <= 0.05


def test_missing_items_may_hold_any_harm() -> None:
    def found(ones: int, n: int, missing: int) -> tuple[str, bool]:
        ruling = rule([1.0] * ones + [0.0] * (n - ones), alone(n), limit=0.1, alpha=0.05, num_missing=missing)
        return ruling.verdict, ruling.is_open_by_missing

    assert found(0, 60, 1) == ("pass", False)  # 1 of 61 is at most 0.088
    assert found(0, 60, 20) == ("not decided", True)
    assert found(30, 40, 20) == ("fail", False)  # 30 of 60 is at least 0.368
    assert found(10, 40, 60) == ("not decided", True)  # 10 of 40 is at least 0.127, and 10 of 100 0.049
    assert found(1, 40, 60) == ("not decided", False)
    assert rule([], [], limit=0.1, alpha=0.05, num_missing=5).verdict == "no data"
