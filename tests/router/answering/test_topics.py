"""Which adapter of a set answers."""

from pathlib import Path

import pytest
from fakes.embedders import WordEmbedder
from fakes.engines import FixedRetriever, ScriptedEngine, passage
from fakes.topics import write_set

from router.answering.answerer import Answerer
from router.answering.arm import Arm
from router.answering.prompts import Message
from router.answering.topics import TopicChooser, choosers
from router.errors import RouterError
from tuning.export.adapters import Adapter


@pytest.fixture
def made(tmp_path: Path) -> Adapter:
    return write_set(tmp_path, WordEmbedder(), {"tide": 3, "loan": 4})


def said(*texts: str) -> list[Message]:
    """A conversation, the user's turn first."""
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def test_a_question_goes_to_its_topic_and_a_far_one_to_none(made: Adapter) -> None:
    chooser = TopicChooser.of(made, WordEmbedder())
    tide, loan = (member.name for member in made.members)
    assert chooser.choose("When is the tide high?") == tide
    assert chooser.choose("How long is a loan?") == loan
    assert chooser.choose("Who wrote this?") is None


async def test_the_answer_says_which_adapter_gave_it(made: Adapter) -> None:
    engine = ScriptedEngine(lambda request: f"{request.model} says")
    answers = Answerer(engine, {}, "org/base", choosers([made], WordEmbedder()))
    arm, (tide, loan) = Arm("memory", adapter=made.name), (member.name for member in made.members)
    for question, chosen in (("the tide", tide), ("a loan", loan), ("something else", "org/base")):
        prepared = await answers.prepare(arm, said(question))
        answer = await answers.answer(prepared)
        assert (prepared.chosen, answer.chosen, answer.text) == (chosen, chosen, f"{chosen} says")
        assert (prepared.query, prepared.passages) == (question, ())
    plain = await answers.answer(await answers.prepare(Arm("base"), said("the tide")))
    assert plain.chosen is None


async def test_a_follow_up_is_chosen_for_by_what_it_follows(made: Adapter) -> None:
    answers = Answerer(ScriptedEngine(lambda _: "noon"), {}, "org/base", choosers([made], WordEmbedder()))
    turns = said("When is the tide high?", "at noon", "And tomorrow?")
    recent = await answers.prepare(Arm("memory", adapter=made.name), turns)
    last = await answers.prepare(Arm("memory", adapter=made.name, condense="last"), turns)
    assert (recent.chosen, last.chosen) == (made.members[0].name, "org/base")


async def test_an_arm_may_both_retrieve_and_choose(made: Adapter) -> None:
    retriever = FixedRetriever(passage("The tide is high at noon."))
    answers = Answerer(
        ScriptedEngine(lambda _: "noon"), {"docs": retriever}, "org/base", choosers([made], WordEmbedder())
    )
    prepared = await answers.prepare(Arm("both", adapter=made.name, index="docs", top_k=1), said("the tide"))
    assert (prepared.chosen, len(prepared.passages)) == (made.members[0].name, 1)


def test_another_embedder_cannot_choose(made: Adapter) -> None:
    with pytest.raises(RouterError, match=r"chooses by embedder 'words@1', and this one is 'words@2'"):
        choosers([made], WordEmbedder("words@2"))
