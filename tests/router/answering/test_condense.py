import pytest
from fakes.engines import ScriptedEngine

from router.answering.condense import retrieval_query, rewrite_query
from router.answering.engine import EngineRequest
from router.answering.prompts import REWRITE, Message
from router.errors import EngineRejected, EngineUnavailable, RouterError


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
        # What the exchange before names, then the question, twice to weigh more.
        (
            conversation("Who wrote the novel Dune?", "Frank Herbert", "When was he born?"),
            "Dune Frank Herbert When was he born? When was he born?",
        ),
        # Only the last exchange; a name that the question has already is not said again.
        (
            conversation("Who is Ada?", "A poet", "And Bob?", "Born in 1905", "Was Bob ever there?"),
            "Born 1905 Was Bob ever there? Was Bob ever there?",
        ),
        # Nothing named: the question before, whole.
        (
            conversation("when does the loan desk open?", "at nine", "And on Sundays?"),
            "when does the loan desk open? And on Sundays? And on Sundays?",
        ),
        (conversation("図書館はいつ開きますか", "九時です", "なぜ?"), "図書館はいつ開きますか なぜ? なぜ?"),
        # Whoever changes the subject is not held back.
        (
            conversation("Who wrote Dune?", "Frank Herbert", "How tall is the Eiffel Tower?"),
            "How tall is the Eiffel Tower?",
        ),
        (conversation("Who wrote Dune?", "Frank Herbert", "  "), "  "),
    ],
)
async def test_recent_adds_what_was_named_to_a_question_that_leans_on_it(
    messages: list[Message], searched: str
) -> None:
    found, engine = await query(messages, "recent")
    assert (found, engine.requests) == (searched, [])


async def test_recent_takes_names_and_not_everything_from_a_long_answer() -> None:
    answer = "The novel is long. " * 200 + "In 1965 it appeared in Philadelphia."
    found, _ = await query(conversation("Tell me of Dune", answer, "Where was it printed?"), "recent")
    assert found == "Dune 1965 Philadelphia Where was it printed? Where was it printed?"


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


async def test_a_conversation_without_a_question_is_refused() -> None:
    with pytest.raises(RouterError, match="no user message"):
        await query([{"role": "system", "content": "x"}], "recent")


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
