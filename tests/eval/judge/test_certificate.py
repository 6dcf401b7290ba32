"""What passes, what fails and with which words, and how a certificate is kept."""

import dataclasses
import json
from pathlib import Path

import pytest

from eval.errors import EvalError
from eval.judge.certificate import (
    Certificate,
    find_certificate,
    judge_identity,
    judge_standing,
    not_covered,
    store_certificate,
)
from eval.judge.measures import Agreement, Calls, LengthBias, PositionBias, Repeatability
from router.deciding.statistics import Interval

URL, MODEL = "http://judge.test/v1", "m"
GOOD = Certificate(
    url=URL,
    model=MODEL,
    prompt_version="p",
    labels="l",
    issued_at=1_700_000_000.0,
    agreement=Agreement(60, 30, Interval(0.95, 0.86, 0.98), Interval(0.9, 0.79, 1.0)),
    repeats=Repeatability(30, Interval(0.1, 0.03, 0.26), 0.02),
    position=PositionBias(40, Interval(0.2, 0.1, 0.35), Interval(0.1, -0.05, 0.25), Interval(0.8, 0.7, 0.9)),
    length=LengthBias(38, 0.7, 0.65, Interval(0.05, -0.04, 0.14)),
    calls=Calls(200, {"no JSON": 4}, 150.0, 20.0, 2.3e-5, 0.4),
    arms={"base": Interval(0.02, -0.1, 0.14), "rag": Interval(-0.05, -0.2, 0.1)},
)


def test_a_judge_within_every_threshold_is_certified() -> None:
    assert GOOD.reasons() == ()
    assert GOOD.is_certified
    assert GOOD.not_measured() == ()
    assert judge_standing(MODEL, GOOD) == (
        True,
        "the judge 'm' is certified: kappa 0.90 (0.79 to 1.00) on 60 labelled answers; "
        "it passes more than people do by: base +0.02, rag -0.05",
    )


@pytest.mark.parametrize(
    ("metrics", "arms", "reason"),
    [
        (["judge_correctness"], ["base"], None),
        ([], ["tuned"], "covers base, rag, not tuned; label 5 answers or more of each arm"),
        (
            ["judge_correctness", "judge_faithfulness"],
            [],
            "is measured by judge_correctness and covers no other metric",
        ),
    ],
)
def test_a_certificate_covers_its_metric_and_its_arms(metrics: list[str], arms: list[str], reason: str | None) -> None:
    found = not_covered(GOOD, metrics, arms)
    assert (found is None) if reason is None else (found is not None and reason in found)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"agreement": None}, "no usable verdict on any labelled answer"),
        (
            {"agreement": Agreement(29, 15, Interval(1, 1, 1), Interval(1, 1, 1))},
            "29 labelled answers with a verdict are too few; 30 are needed",
        ),
        (
            {"agreement": Agreement(60, 57, Interval(1, 1, 1), Interval(1, 1, 1))},
            "57 are right and 3 wrong; agreement needs 5 of each",
        ),
        (
            {"agreement": Agreement(60, 30, Interval(0.75, 0.6, 0.9), Interval(0.5, 0.39, 0.61))},
            "kappa 0.50 (0.39 to 0.61), its lower bound must reach 0.4",
        ),
        (
            {"calls": Calls(100, {"time-out": 4, "HTTP 500": 2}, None, None, None, 1.0)},
            "6% of 100 asks gave no usable verdict (4 time-out, 2 HTTP 500); at most 5% may",
        ),
        ({"repeats": Repeatability(30, Interval(0.2, 0.1, 0.4), 0.05)}, "asked again, 20% of 30 verdicts change"),
        (
            {"position": PositionBias(40, Interval(0.45, 0.3, 0.6), Interval(0, -0.1, 0.1), Interval(0.7, 0.6, 0.8))},
            "position bias: for 45% of 40 pairs the winner depends on the order",
        ),
        (
            {"position": PositionBias(40, Interval(0.4, 0.3, 0.6), Interval(-0.4, -0.5, -0.3), Interval(0.7, 0, 1))},
            "position bias: the second response is preferred, by -0.40 (-0.50 to -0.30)",
        ),
        (
            {"length": LengthBias(38, 0.9, 0.6, Interval(0.3, 0.1, 0.5))},
            "length bias: the longer response is preferred for its length; agreement with people differs by 0.30 (0.10",
        ),
    ],
)
def test_each_threshold_fails_alone_with_its_number(change: dict[str, object], reason: str) -> None:
    failed = dataclasses.replace(GOOD, **change)  # type: ignore[arg-type]
    assert len(failed.reasons()) == 1
    assert reason in failed.reasons()[0]
    is_certified, line = judge_standing(MODEL, failed)
    assert not is_certified
    assert line.startswith("the judge 'm' failed its certification: its metrics are diagnostics; ")
    assert reason in line


def test_a_bias_that_may_be_chance_does_not_fail() -> None:
    chance = dataclasses.replace(GOOD, length=LengthBias(20, 0.8, 0.6, Interval(0.3, -0.01, 0.6)))
    assert chance.is_certified


def test_biases_that_were_not_measured_are_said_so_and_do_not_fail() -> None:
    partial = dataclasses.replace(GOOD, position=None, length=None, repeats=None)
    assert partial.is_certified
    assert partial.not_measured() == ("repeat variance", "position bias", "length bias")
    assert judge_standing(MODEL, partial)[1].endswith("not measured: repeat variance, position bias, length bias")


def test_a_certificate_is_found_again_by_url_and_model(tmp_path: Path) -> None:
    for certificate in (
        GOOD,
        dataclasses.replace(GOOD, position=None, agreement=None),
    ):
        path = store_certificate(tmp_path, certificate)
        assert path.parent == tmp_path / "judges"
        assert find_certificate(tmp_path, URL, MODEL) == certificate
        assert find_certificate(tmp_path, URL + "/", MODEL) == certificate
    assert [path.name for path in (tmp_path / "judges").iterdir()] == [f"{judge_identity(URL, MODEL)}.json"]
    assert find_certificate(tmp_path, URL, "other") is None
    assert find_certificate(tmp_path, "http://other.test/v1", MODEL) is None


def test_the_stored_form_says_the_outcome_to_machines() -> None:
    row = json.loads(json.dumps(GOOD.to_dict(), allow_nan=False))
    assert (row["is_certified"], row["reasons"], row["nan_rate"]) == (True, [], 0.02)


@pytest.mark.parametrize("text", ["", '{"url": "x"}', "[]", '{"url'])
def test_a_torn_certificate_is_refused(tmp_path: Path, text: str) -> None:
    store_certificate(tmp_path, GOOD).write_text(text)
    with pytest.raises(EvalError, match="certify the judge again"):
        find_certificate(tmp_path, URL, MODEL)


def test_a_judge_without_a_certificate_is_said_to_have_none() -> None:
    assert judge_standing(MODEL, None) == (False, "the judge 'm' is not certified: its metrics are diagnostics")
