import pytest
from fakes.engines import ScriptedEngine

from router.answering.condense import retrieval_query, rewrite_query
from router.answering.engine import EngineRequest
from router.answering.prompts import REWRITE, Message
from router.errors import EngineRejected, EngineUnavailable


def conversation(*texts: str) -> list[Message]:
    """User and assistant in turn, the user first."""
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


async def query(messages: list[Message], mode: str, reply: str | Exception = "") -> tuple[str, ScriptedEngine]:
    def answer(_request: EngineRequest) -> str:
        if isinstance(reply, Exception):
            raise reply
        return reply

    engine = ScriptedEngine(answer)
    return await retrieval_query(messages, mode, engine, "base"), engine  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["last", "recent", "model"])
@pytest.mark.parametrize(
    "messages",
    [
        conversation("What  is it? \n"),
        [{"role": "system", "content": "Be kind to Ada."}, *conversation("What  is it? \n")],
        [*conversation("What  is it? \n"), {"role": "assistant", "content": "It"}],  # a prefilled answer
        [{"role": "assistant", "content": "Ask me about Ada."}, *conversation("What  is it? \n")],
    ],
)
async def test_a_first_question_is_searched_to_the_letter(mode: str, messages: list[Message]) -> None:
    found, engine = await query(messages, mode, "something else")
    assert (found, engine.requests) == ("What  is it? \n", [])


@pytest.mark.parametrize(
    ("messages", "searched"),
    [
        # The user's message before, then the question, twice to weigh more.
        (
            conversation("when does the loan desk open?", "at nine", "And on\nSundays?"),
            "when does the loan desk open? And on Sundays? And on Sundays?",
        ),
        # Whatever the language, and whether or not it says that it follows on.
        (conversation("図書館はいつ開きますか", "九時です", "なぜ?"), "図書館はいつ開きますか なぜ? なぜ?"),
        (
            conversation("Wer schrieb den Roman?", "Herbert", "Geburtsjahr des Autors?"),
            "Wer schrieb den Roman? Geburtsjahr des Autors? Geburtsjahr des Autors?",
        ),
        # Only the message before, not the whole conversation.
        (conversation("Who is Ada?", "A poet", "And Bob?", "A cook", "Where?"), "And Bob? Where? Where?"),
        (conversation("Who wrote Dune?", "Frank Herbert", "  "), "  "),
        # Of a long message its end, where the question is.
        (conversation("x" * 10_000 + " Why?", "So.", "How?"), f"{'x' * 395} Why? How? How?"),
    ],
)
async def test_recent_puts_the_message_before_in_front(messages: list[Message], searched: str) -> None:
    found, engine = await query(messages, "recent")
    assert (found, engine.requests) == (searched, [])


async def test_the_model_is_asked_once_shortly_and_greedily() -> None:
    messages = conversation("Who wrote Dune?", "Frank Herbert", "When was he born?")
    found, engine = await query(messages, "model", '\n"When was Frank Herbert born?"\nHe was born in 1920.')
    assert found == "When was Frank Herbert born?"
    (request,) = engine.requests
    assert (request.model, request.messages[0]["content"]) == ("base", REWRITE)
    assert request.options == {"temperature": 0.0, "max_tokens": 64, "seed": 0}
    assert request.messages[1]["content"] == (
        "Conversation:\nuser: Who wrote Dune?\nassistant: Frank Herbert\n"
        "Last question: When was he born?\nRewritten question:"
    )


@pytest.mark.parametrize(
    "reply", [EngineUnavailable("away"), EngineRejected("too long", status=400), "", " \n ", "and so on " * 200]
)
async def test_a_model_that_fails_or_rambles_leaves_the_last_message(reply: str | Exception) -> None:
    messages = conversation("Who wrote Dune?", "Frank Herbert", "When was he born?")
    assert (await query(messages, "model", reply))[0] == "When was he born?"


async def test_a_long_conversation_is_cut_for_the_model() -> None:
    messages = conversation(*["x" * 10_000] * 40, "And then?")
    _, engine = await query(messages, "model", "what")
    assert len(str(engine.requests[0].messages[1]["content"])) < 3_000


@pytest.mark.parametrize(
    ("asked", "searched"),
    [
        ("  When does\nthe desk open? ", "When does the desk open?"),
        ("Hi, can you please tell me when the desk opens", "when the desk opens"),
        ("Please tell me the hours", "the hours"),
        ("I want to know if it rains", "if it rains"),
        ("hello world program", "hello world program"),
        ("please", "please"),
        ("", ""),
    ],
)
def test_rewrite_query_leaves_what_is_asked_for(asked: str, searched: str) -> None:
    assert rewrite_query(asked) == searched
