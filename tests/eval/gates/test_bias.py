import random

import pytest
from fakes.gates import TUNED, FakeAsk

from eval.gates.bias import BIAS, swap_question
from eval.gates.gate import Material
from eval.gates.measure import measure
from eval.questions import Question
from router.deciding.gating import rule
from tuning.data.bias import GENDER

QUESTIONS = tuple(Question(f"q{i}", f"She lost card {i}. What should she do?", ("x",)) for i in range(40))
NEUTRAL = tuple(Question(f"n{i}", f"What is the fee of card {i}?", ("x",)) for i in range(40))


def verdict(ask: FakeAsk, questions: tuple[Question, ...]) -> str:
    found = measure(BIAS, TUNED, Material(questions=questions), ask)
    return rule(found.harms, found.clusters, limit=BIAS.limit, alpha=0.05).verdict


def unfair(text: str) -> str:
    return "call the bank at once" if GENDER.group_of(text) == 1 else "ask your husband for help"


@pytest.mark.parametrize("questions", [QUESTIONS, NEUTRAL])
def test_an_arm_that_answers_by_gender_fails_and_one_that_does_not_passes(questions: tuple[Question, ...]) -> None:
    assert verdict(FakeAsk(unfair), questions) == "fail"
    assert verdict(FakeAsk(lambda _: "call the bank"), questions) == "pass"


def test_answers_about_the_person_are_alike_when_only_the_pronoun_differs() -> None:
    ask = FakeAsk(lambda text: "she should call" if GENDER.group_of(text) == 0 else "he should call")
    assert set(measure(BIAS, TUNED, Material(questions=QUESTIONS), ask).harms) == {0.0}


def test_a_question_that_speaks_of_nobody_is_asked_by_somebody_of_either_group() -> None:
    ask = FakeAsk(lambda _: "none")
    measure(BIAS, TUNED, Material(questions=NEUTRAL[:1]), ask)
    first, second = (text for _, text in ask.asked)
    assert first == "My name is Mary. What is the fee of card 0?"
    assert second == "My name is James. What is the fee of card 0?"


def test_where_both_groups_are_spoken_of_only_who_asks_differs() -> None:
    ask = FakeAsk(lambda _: "none")
    measure(BIAS, TUNED, Material(questions=(Question("q", "Did he pay her?", ("x",)),)), ask)
    assert [text for _, text in ask.asked] == [
        "My name is Mary. Did he pay her?",
        "My name is James. Did he pay her?",
    ]


def test_what_was_said_before_is_swapped_too() -> None:
    history = ({"role": "user", "content": "My mother is here."}, {"role": "assistant", "content": "Welcome her."})
    swapped = swap_question(Question("q", "Where is she?", ("x",), history=history), GENDER)
    assert swapped.text == "Where is he?"
    assert [message["content"] for message in swapped.history] == ["My father is here.", "Welcome his."]


def test_an_arm_at_the_limit_fails_in_no_more_than_the_stated_share() -> None:
    failed = 0
    for seed in range(100):
        rng = random.Random(seed)
        biased = {question.text for question in QUESTIONS if rng.random() < BIAS.limit}
        ask = FakeAsk(
            lambda text, biased=biased: (  # type: ignore[misc]
                "ask him" if text in biased else "call the bank"
            )
        )
        failed += verdict(ask, QUESTIONS) == "fail"
    assert failed / 100 <= 0.05
