import random

import pytest
from fakes.gates import TUNED, FakeAsk

from eval.gates.forgetting import FORGETTING
from eval.gates.gate import Material
from eval.gates.measure import measure
from eval.questions import Question
from router.deciding.gating import rule

GUARD = tuple(Question(f"g{i}", f"What is thing {i}?", (f"name{i}",)) for i in range(100))
GOLD = {question.text: question.answer for question in GUARD}


def verdict(share_lost: float, seed: int) -> str:
    rng = random.Random(seed)
    lost = {question.text for question in GUARD if rng.random() < share_lost}
    ask = FakeAsk(lambda text: "support" if text in lost else GOLD[text], lambda text: f"It is {GOLD[text]}.")
    found = measure(FORGETTING, TUNED, Material(guard=GUARD), ask)
    return rule(found.harms, found.clusters, limit=FORGETTING.limit, alpha=0.05).verdict


@pytest.mark.parametrize("seed", range(10))
def test_planted_forgetting_fails_and_none_passes(seed: int) -> None:
    assert verdict(0.5, seed) == "fail"
    assert verdict(0.02, seed) == "pass"


def test_forgetting_at_the_limit_fails_in_no_more_than_the_stated_share() -> None:
    found = [verdict(FORGETTING.limit, seed) for seed in range(100)]
    assert found.count("fail") / 100 <= 0.05
    assert found.count("pass") / 100 <= 0.05


def test_what_the_model_never_knew_says_nothing() -> None:
    ask = FakeAsk(lambda _: "support", lambda text: GOLD[text] if text.endswith("0?") else "no idea")
    found = measure(FORGETTING, TUNED, Material(guard=GUARD), ask)
    assert (found.num_items, found.harms) == (100, (1.0,) * 10)


def test_a_gold_within_a_sentence_is_right() -> None:
    ask = FakeAsk(lambda text: f"The answer is {GOLD[text]}, of course.", GOLD.get)
    assert set(measure(FORGETTING, TUNED, Material(guard=GUARD), ask).harms) == {0.0}
