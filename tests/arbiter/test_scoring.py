"""Which metrics may decide."""

import dataclasses
from pathlib import Path

import pytest

from arbiter.config.schema import Config
from arbiter.scoring import find_judge
from eval.errors import EvalError
from eval.judge.certificate import Certificate, store_certificate
from eval.judge.measures import Agreement, Calls
from router.deciding.statistics import Interval

URL, MODEL = "http://judge.test/v1", "m"
GOOD = Certificate(
    url=URL,
    model=MODEL,
    prompt_version="p",
    labels="l",
    issued_at=1_700_000_000.0,
    agreement=Agreement(60, 30, Interval(0.95, 0.86, 0.98), Interval(0.9, 0.79, 1.0)),
    repeats=None,
    position=None,
    length=None,
    calls=Calls(200, {}, None, None, None, 0.4),
)


def deciding_by(metric: object) -> Config:
    judge = {"url": URL, "model": MODEL}
    return Config.model_validate({"data": "data", "eval": {"judge": judge}, "policy": {"metric": metric}})


def test_an_uncertified_judge_may_not_decide_but_others_metrics_may(tmp_path: Path) -> None:
    config = deciding_by("judge_correctness")
    with pytest.raises(
        EvalError, match=r"'judge_correctness' cannot decide: the judge 'm' is not certified.*arbiter judge"
    ):
        find_judge(config, tmp_path)
    with pytest.raises(EvalError, match="'judge_correctness' cannot decide"):
        find_judge(deciding_by({"default": "token_f1", "format": "judge_correctness"}), tmp_path)
    store_certificate(tmp_path, dataclasses.replace(GOOD, agreement=None))
    with pytest.raises(EvalError, match="failed its certification"):
        find_judge(config, tmp_path)
    assert find_judge(deciding_by("token_f1"), tmp_path) is not None
    store_certificate(tmp_path, GOOD)
    assert find_judge(config, tmp_path) == GOOD
