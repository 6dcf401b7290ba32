"""Which metrics may decide."""

import dataclasses
import json
from pathlib import Path

import pytest

from arbiter.config.schema import Config
from arbiter.config.sections import STANDARD_ARMS
from arbiter.scoring import find_judge
from eval.errors import EvalError
from eval.judge.certificate import Certificate, store_certificate
from eval.judge.measures import Agreement, Calls
from router.deciding.statistics import Interval

NONE = Interval(0.0, -0.1, 0.1)
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
    arms=dict.fromkeys(STANDARD_ARMS, NONE),
)


def deciding_by(metric: object, *, data: str = "data", labels: str | None = None) -> Config:
    judge = {"url": URL, "model": MODEL}
    return Config.model_validate(
        {"data": data, "eval": {"judge": judge, "labels": labels}, "policy": {"metric": metric}}
    )


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


def test_a_certificate_decides_by_its_metric_among_its_arms_alone(tmp_path: Path) -> None:
    store_certificate(tmp_path, GOOD)
    with pytest.raises(
        EvalError, match="'judge_faithfulness' cannot decide: a certificate is measured by judge_correct"
    ):
        find_judge(deciding_by("judge_faithfulness"), tmp_path)
    store_certificate(tmp_path, dataclasses.replace(GOOD, arms={"rag": NONE}))
    with pytest.raises(EvalError, match=r"its certificate covers rag, not base, fewshot.*\"arm\": ..."):
        find_judge(deciding_by("judge_correctness"), tmp_path)
    assert find_judge(deciding_by("judge_correctness"), tmp_path, ["rag"]) is not None
    assert find_judge(deciding_by("token_f1"), tmp_path) is not None


def test_labels_of_people_cover_an_arm_that_the_certificate_does_not(tmp_path: Path) -> None:
    store_certificate(tmp_path, dataclasses.replace(GOOD, arms={"rag": NONE}))
    config = deciding_by("judge_correctness", labels="labels.jsonl", data=str(tmp_path))
    rows = [{"arm": "base", "question_id": f"q{i}", "label": i % 2} for i in range(30)]
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert find_judge(config, tmp_path, ["base", "rag"]) is not None
    with pytest.raises(EvalError, match="not tuned"):
        find_judge(config, tmp_path, ["base", "tuned"])
