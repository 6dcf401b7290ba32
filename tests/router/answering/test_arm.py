import json
from dataclasses import asdict

import pytest

from router.answering.arm import Arm, Sampling
from router.answering.prompts import ANSWER, FEWSHOT
from storage.records import from_json


@pytest.mark.parametrize(
    ("adapter", "index", "kind"),
    [(None, None, "base"), (None, "docs", "rag"), ("a@1", None, "tuned"), ("a@1", "docs", "hybrid")],
)
def test_kind_follows_from_the_parts(adapter: str | None, index: str | None, kind: str) -> None:
    assert Arm("x", adapter=adapter, index=index).kind == kind


def test_an_arm_survives_json() -> None:
    arm = Arm("few", index="examples", prompt=FEWSHOT, top_k=4, sampling=Sampling(temperature=0.5, max_tokens=9))
    assert from_json(Arm, json.dumps(asdict(arm))) == arm


def test_fingerprint_ignores_the_label_only() -> None:
    arm = Arm("one", adapter="a@1", index="docs")
    assert arm.fingerprint() == Arm("two", adapter="a@1", index="docs").fingerprint()
    for other in (
        Arm("one", adapter="a@2", index="docs"),
        Arm("one", adapter="a@1", index="other"),
        Arm("one", adapter="a@1", index="docs", top_k=3),
        Arm("one", adapter="a@1", index="docs", sampling=Sampling(max_tokens=9)),
        Arm("one", adapter="a@1", index="docs", prompt=FEWSHOT),
        Arm("one", adapter="a@1", index="docs", condense="last"),
    ):
        assert other.fingerprint() != arm.fingerprint()
    assert arm.prompt is ANSWER
