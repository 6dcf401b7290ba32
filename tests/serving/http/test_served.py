"""What requests see while models are added and decisions change."""

from dataclasses import replace

import pytest
from fakes.endpoints import make_served
from fakes.engines import ScriptedEngine

from router.answering.arm import Arm
from router.answering.prompts import Prompt
from serving.errors import NotFound
from serving.http.served import CurrentDecision, TunedModel

NAME = "org/base:support@3f9c01ab"
MODEL = TunedModel(Arm(NAME, adapter="support@3f9c01ab", prompt=Prompt("as given", system="")), created=1_800_000_000)


def make_current() -> CurrentDecision:
    return CurrentDecision(make_served(ScriptedEngine(lambda _: "nine")))


async def test_a_tuned_model_is_listed_and_asked_by_its_name() -> None:
    current = make_current()
    with current.hold() as before:
        current.add(MODEL)
        assert NAME not in before.names, "a request in flight ends as it began"
    assert current.served.names == ("auto", "base", "rag", "hybrid", NAME)
    assert current.served.arm(NAME) == MODEL.arm
    card = current.served.model_card(NAME)
    assert (card.created, card.root, card.parent) == (1_800_000_000, "support@3f9c01ab", "org/base")
    assert current.served.model_card("base").created == 1_700_000_000
    assert NAME not in current.served.arms, "no run has measured it"
    current.drop(NAME)
    assert NAME not in current.served.names
    with pytest.raises(NotFound):
        current.served.arm(NAME)


async def test_a_tuned_model_outlives_a_promotion_and_keeps_its_adapter() -> None:
    current = make_current()
    with current.hold():
        current.add(MODEL)
        freed = current.show(replace(current.served, decided_arm="base", tuned={}))
        assert not freed.is_set()
    assert freed.is_set()
    assert (current.served.decided_arm, current.served.arm(NAME)) == ("base", MODEL.arm)
    assert current.adapters() == {"raft@1", "support@3f9c01ab"}
