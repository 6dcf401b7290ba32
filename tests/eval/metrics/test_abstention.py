from __future__ import annotations

import pytest

from eval.answers import AnswerRecord
from eval.metrics.abstention import ABSTENTION_SCORER, abstains, is_abstention, is_unanswerable
from eval.questions import Question


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "unanswerable",
        "Unanswerable.",
        "I don't know.",
        "I don’t know",
        "Sorry, I do not know the answer",
        "I'm not sure",
        "N/A",
        "Unknown",
        "No answer",
        "I cannot say",
        "This question cannot be answered.",
        "The answer is not in the context.",
        "That is not mentioned in the given passages",
        "The context does not mention the year.",
        "The provided documents don't say.",
        "There is not enough information to tell",
        "I am unable to determine the date.",
        "The passages give no information about it",
    ],
)
def test_these_abstain(text: str) -> None:
    assert is_abstention(text)


@pytest.mark.parametrize(
    "text",
    [
        "cedar",
        "no",
        "none",
        "Nothing",
        "Lunch is not provided",
        "He could not find his keys",
        "The unknown soldier",
        "There is no information desk on Sundays",
        "It does not contain nuts",
        "I know",
    ],
)
def test_these_are_answers(text: str) -> None:
    assert not is_abstention(text)


@pytest.mark.parametrize(
    ("golds", "metadata", "has_no_answer"),
    [
        (("unanswerable",), {}, True),
        (("No answer.", "unanswerable"), {}, True),
        (("unanswerable", "1870"), {}, False),
        (("unknown",), {}, False),  # may be a label or the truth
        (("1870",), {"unanswerable": True}, True),
        (("unanswerable",), {"unanswerable": False}, False),
        (("1870",), {"unanswerable": "yes"}, False),
    ],
)
def test_a_question_without_an_answer_is_marked_by_its_row(
    golds: tuple[str, ...], metadata: dict[str, object], has_no_answer: bool
) -> None:
    assert is_unanswerable(Question("q", "?", golds, (), metadata)) is has_no_answer


NONE = Question("q1", "Who thought so?", ("unanswerable", "keine Antwort"), (), {"unanswerable": True})
SOME = Question("q2", "Which soldier?", ("unknown", "the unknown one"))


def test_an_accepted_answer_abstains_just_where_the_question_has_none() -> None:
    assert not abstains("Unknown.", SOME)
    assert abstains("I don't know", SOME)
    assert abstains("Keine Antwort", NONE)
    assert not abstains("Humboldt", NONE)


def test_scores_say_whether_answer_and_question_agree() -> None:
    pairs = [
        (NONE, AnswerRecord("base", "q1", "I don't know")),
        (NONE, AnswerRecord("base", "q1", "Humboldt")),
        (SOME, AnswerRecord("base", "q2", "I don't know")),
        (SOME, AnswerRecord("base", "q2", "a wrong one")),
        (SOME, AnswerRecord("base", "q2", "")),
        (SOME, AnswerRecord("base", "q2", "", error="the engine answered 500")),
    ]
    seen: list[tuple[int, int]] = []
    assert ABSTENTION_SCORER.score(pairs, lambda done, total: seen.append((done, total))) == {
        "abstention": [1.0, 0.0, 0.0, 1.0, 0.0, 0.0],
        "abstained": [1.0, 0.0, 1.0, 0.0, 1.0, 0.0],
    }
    assert seen[-1] == (6, 6)
