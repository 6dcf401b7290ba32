from __future__ import annotations

from typing import Any

import pytest

from tuning.data.formats.messages import Turn, history_of, last_exchange, read_messages

WHEN, NINE = {"role": "user", "content": "When?"}, {"role": "assistant", "content": "At nine."}


@pytest.mark.parametrize(
    "messages",
    [
        [{"from": "human", "value": "When?"}, {"from": "gpt", "value": "At nine."}],
        [{"role": "User", "content": "When?"}, {"role": "Chatbot", "content": "At nine."}],
        [{"role": "customer", "text": "When?"}, {"role": "agent", "text": "At nine."}],
        [{"sender": "user", "text": "When?"}, {"sender": "bot", "text": "At nine."}],
        [{"role": "user", "parts": [{"text": "When?"}]}, {"role": "model", "parts": [{"text": "At nine."}]}],
        [{"human": "When?", "assistant": "At nine."}],
        [{"user": "When?", "assistant": "At nine."}],
        [{"inputs": {"question": "When?"}, "outputs": {"answer": "At nine."}}],
    ],
)
def test_who_speaks_is_read_in_any_spelling(messages: Any) -> None:
    assert [turn.message for turn in read_messages(messages)] == [WHEN, NINE]


def test_every_answer_to_a_user_is_learned_unless_its_weight_is_none() -> None:
    turns = [Turn("system", "Be brief."), Turn("assistant", "Hello!")]
    turns += [Turn("user", "When?"), Turn("assistant", "At nine.")]
    turns += [Turn("user", "Where?"), Turn("assistant", "Here.", is_learned=False)]
    turns += [Turn("user", "Who?"), Turn("assistant", " ")]
    turns += [Turn("user", "Why?"), Turn("assistant", "So.")]
    found = last_exchange(turns)
    assert (found.question, found.answer, len(found.history)) == ("Why?", "So.", 8)
    assert [found.history[place]["content"] for place in found.learned] == ["At nine."]


@pytest.mark.parametrize(
    "before", [[["When?", "At nine."]], [WHEN, NINE], [{"question": "When?", "answer": "At nine."}]]
)
def test_a_history_is_read_however_it_is_written(before: Any) -> None:
    assert history_of("Be brief.", before) == (({"role": "system", "content": "Be brief."}, WHEN, NINE), ())
    assert history_of(None, before, is_learned=True) == ((WHEN, NINE), (1,))


def test_a_weight_in_a_history_says_what_is_learned() -> None:
    assert history_of(None, [WHEN, {**NINE, "weight": 1}])[1] == (1,)
    assert history_of(None, [WHEN, {**NINE, "weight": 0}], is_learned=True)[1] == ()
    with pytest.raises(ValueError, match="`history` must be a list of messages"):
        history_of(None, [1])
