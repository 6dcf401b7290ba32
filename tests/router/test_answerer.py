import pytest
from fakes.engines import FixedRetriever, ScriptedEngine, passage

from router.answerer import Answerer, cite
from router.arm import Arm, Sampling
from router.errors import RouterError

DESK = passage("The desk opens at nine.", document="desk", title="Desk")
BOAT = passage("The boat leaves at noon.", document="boat", rank=2, title="Boat")
QUESTION = [{"role": "user", "content": "When does the desk open?"}]


def answerer(reply: str = "nine") -> tuple[Answerer, ScriptedEngine, FixedRetriever]:
    engine, retriever = ScriptedEngine(lambda _request: reply), FixedRetriever(DESK, BOAT)
    return Answerer(engine, {"docs": retriever}, "base-model"), engine, retriever


@pytest.mark.parametrize(
    ("arm", "model", "num_passages"),
    [
        (Arm("base"), "base-model", 0),
        (Arm("rag", index="docs", top_k=1), "base-model", 1),
        (Arm("tuned", adapter="a@1"), "a@1", 0),
        (Arm("hybrid", adapter="a@1", index="docs", top_k=2), "a@1", 2),
    ],
)
async def test_an_arm_is_its_parts(arm: Arm, model: str, num_passages: int) -> None:
    answers, engine, _ = answerer()
    answer = await answers.answer(await answers.prepare(arm, QUESTION))
    assert answer.text == "nine"
    assert (engine.requests[0].model, len(answer.passages)) == (model, num_passages)
    assert (answer.prompt_tokens, answer.generated_tokens) == (7, 3)


async def test_the_last_user_message_is_searched_with_the_arms_k() -> None:
    answers, _, retriever = answerer()
    turns = [*QUESTION, {"role": "assistant", "content": "nine"}, {"role": "user", "content": "And the boat?"}]
    await answers.prepare(Arm("rag", index="docs", top_k=2), turns)
    assert retriever.queries == [("And the boat?", 2)]


async def test_request_options_win_over_the_arms_sampling() -> None:
    answers, _, _ = answerer()
    prepared = await answers.prepare(Arm("base", sampling=Sampling(max_tokens=5)), QUESTION, {"max_tokens": 9, "n": 2})
    assert prepared.request.options == {"temperature": 0.0, "top_p": 1.0, "max_tokens": 9, "seed": 0, "n": 2}


async def test_an_arm_without_its_index_says_what_to_do() -> None:
    answers, _, _ = answerer()
    with pytest.raises(RouterError, match="arm 'rag' needs index 'gone'"):
        await answers.prepare(Arm("rag", index="gone"), QUESTION)


async def test_a_conversation_without_a_question_is_refused() -> None:
    answers, _, _ = answerer()
    with pytest.raises(RouterError, match="no user message"):
        await answers.prepare(Arm("base"), [{"role": "system", "content": "x"}])


async def test_a_stream_says_the_same_as_an_answer_and_cites_on_its_last_delta() -> None:
    answers, _, _ = answerer("at nine")
    prepared = await answers.prepare(Arm("rag", index="docs", top_k=2), QUESTION)
    whole = await answers.answer(prepared)
    chunks = [chunk async for chunk in answers.stream(prepared)]
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == whole.text
    noted = [getattr(delta, "annotations", None) for delta in deltas]
    assert noted[:-1] == [None] * (len(noted) - 1)
    assert noted[-1] == [citation.annotation() for citation in whole.citations]
    assert noted[-1] == [{"type": "file_citation", "file_id": "desk", "filename": "Desk", "index": 7}]


@pytest.mark.parametrize(
    ("text", "cited"),
    [
        ("nine", ["desk"]),
        ("at noon, with the boat", ["boat"]),
        ("noon [1]", ["desk"]),  # a marker is the model's own word
        ("both [1] and [2]", ["desk", "boat"]),
        ("[7]", []),
        ("quarter past eleven", []),
        ("the of and", []),  # function words support nothing
        ("", []),
    ],
)
def test_cite_names_the_passages_an_answer_rests_on(text: str, cited: list[str]) -> None:
    assert [citation.document_id for citation in cite(text, (DESK, BOAT))] == cited


def test_cite_names_a_document_once() -> None:
    again = passage("Nine on weekdays.", document="desk", rank=2)
    assert len(cite("nine", (DESK, again))) == 1
