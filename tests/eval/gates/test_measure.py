from fakes.gates import TUNED, FakeAsk

from eval.gates.gate import Material, own_questions
from eval.gates.measure import Example, measure, without_adapter
from eval.gates.registry import GATES
from eval.questions import Question
from router.answering.arm import Arm

FORGETTING = GATES["forgetting"]
GUARD = tuple(Question(f"g{i}", f"What is {i} plus {i}?", (str(2 * i),)) for i in range(1, 31))
GOLD = {question.text: question.answer for question in GUARD}


def test_an_arm_without_an_adapter_passes_what_looks_at_training_and_is_not_asked() -> None:
    ask = FakeAsk(lambda _: "")
    found = measure(FORGETTING, Arm("base"), Material(guard=GUARD), ask)
    assert found.free == "arm 'base' has no adapter, so nothing was trained"
    assert ask.asked == []


def test_every_item_is_asked_once_with_the_adapter_and_once_without() -> None:
    ask = FakeAsk(GOLD.get, GOLD.get)
    found = measure(FORGETTING, TUNED, Material(guard=GUARD, most=10), ask)
    assert (found.num_items, found.harms) == (10, (0.0,) * 10)
    assert len(ask.asked) == len(set(ask.asked)) == 20
    assert {name for name, _ in ask.asked} == {"tuned", "tuned without its adapter"}


def test_the_same_items_are_drawn_for_the_same_seed() -> None:
    drawn = [{text for _, text in _asked(seed)} for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def _asked(seed: int) -> list[tuple[str, str]]:
    ask = FakeAsk(GOLD.get, GOLD.get)
    measure(FORGETTING, TUNED, Material(guard=GUARD, most=10, seed=seed), ask)
    return ask.asked


def test_the_arm_without_its_adapter_is_the_same_in_all_else() -> None:
    arm = Arm("hybrid", adapter="raft@1", index="docs", top_k=3)
    assert without_adapter(arm).fingerprint() == Arm("x", index="docs", top_k=3).fingerprint()


def test_without_an_item_it_says_what_to_give() -> None:
    assert measure(FORGETTING, TUNED, Material(), FakeAsk(lambda _: "")).lacks == FORGETTING.lacks


def test_items_that_all_say_nothing_are_no_data_and_say_so() -> None:
    found = measure(FORGETTING, TUNED, Material(guard=GUARD), FakeAsk(GOLD.get, lambda _: "who knows"))
    assert (found.harms, found.lacks) == ((), FORGETTING.silent)


def test_requests_that_fail_are_counted_and_judge_nothing() -> None:
    found = measure(FORGETTING, TUNED, Material(guard=GUARD), FakeAsk(lambda _: None, GOLD.get))
    assert (found.harms, found.num_failed, found.num_items) == ((), 30, 30)
    assert found.lacks == "no item got an answer; measure again"


def test_what_was_lost_is_shown() -> None:
    found = measure(FORGETTING, TUNED, Material(guard=GUARD[:1]), FakeAsk(lambda _: "card_arrival", GOLD.get))
    assert found.harms == (1.0,)
    assert found.examples == (Example("What is 1 plus 1?", "card_arrival", "2"),)


def test_the_own_questions_have_short_golds_and_ids_of_their_own() -> None:
    general, requests = own_questions("general"), own_questions("requests")
    assert len(general) >= 80
    assert len(requests) == 40
    assert all(len(answer) <= 20 for question in general for answer in question.answers)
    assert all(question.metadata["unanswerable"] for question in requests)
