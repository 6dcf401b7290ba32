from __future__ import annotations

import pytest

from tuning.data.quality import faults_of

SENTENCE = "The desk opens at nine in the morning on every working day of the week, and it closes again at six"


@pytest.mark.parametrize(
    ("question", "answer", "faults"),
    [
        ("When does it open?", "At nine.", ()),
        ("When does it open?", "card_arrival", ()),
        ("When does it open?", f"{SENTENCE}.", ()),
        ("When does it open?", f'{SENTENCE}, "as it says."', ()),
        ("图书馆几点开门?", "九点。", ()),
        ("How are <div> and <span> told apart?", "By layout.", ("markup in the text",)),
        ("When does it open?<br>", "At nine.", ("markup in the text",)),
        ("When does it open?", "At nine &amp; ten.", ("markup in the text",)),
        ("Is 3 < 5 and 5 > 3?", "Yes.", ()),
        ("Wo ist das CafÃ©?", "Dort.", ("letters that were decoded wrongly",)),
        ("Where\ufffds it?", "There.", ("letters that were decoded wrongly",)),
        ("1234 5678 90!!", "A number.", ("a question of hardly any letters",)),
        ("7 + 5?", "12", ()),
        ("when does  it open?", "When does it open?", ("the answer is the question again",)),
        ("Who?", "As an AI language model, I cannot say.", ("the answer speaks as an AI model",)),
        ("When?", SENTENCE, ("the answer breaks off",)),
        ("When?", "no no no no " * 6 + ".", ("the answer repeats itself",)),
    ],
)
def test_what_is_wrong_is_seen_in_the_words(question: str, answer: str, faults: tuple[str, ...]) -> None:
    assert faults_of(question, answer) == faults


def test_a_row_may_have_several() -> None:
    assert faults_of("<p>??!!..</p>123", "As an AI model I cannot <br>") == (
        "markup in the text",
        "a question of hardly any letters",
        "the answer speaks as an AI model",
    )
