from __future__ import annotations

import pytest

from eval.generation.drafts import fault_of, gives, read_draft
from eval.generation.plan import Task
from eval.generation.settings import Kind
from rag.chunking.chunk import Chunk

PASSAGE = Chunk("c", "d", "", "The mill at Thornby was built in 1801 by Ada Lovell.", 0)


@pytest.mark.parametrize(
    "reply",
    [
        '{"question": "When was it  built?", "answer": "1801"}',
        '{"Question": "When was it built?", "Answer": 1801}',
        'Sure, here it is:\n```json\n{"question": "When was it built?", "answer": "1801"}\n```\nAnything else?',
        '<think>{"question": "no", "answer": "no"}</think>{"question": "When was it built?", "answer": "1801"}',
        'A {curly} word, then [{"question": "When was it built?", "answer": "1801"}]',
        '{"difficulty": 3} {"question": "When was it\nbuilt?", "answer": "1801"}',
        "Question: When was it built?\nAnswer: 1801",
        "**Question:** When was it built?\n\n**Answer:** 1801",
        'Q: When was it built?\nA: "1801"',
    ],
)
def test_a_question_is_found_in_whatever_is_around_it(reply: str) -> None:
    assert read_draft(reply) == ("When was it built?", "1801")


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "The passage is about a mill.",
        '{"question": "When was it built?"}',
        '{"question": "", "answer": "1801"}',
        '{"question": ["When"], "answer": "1801"}',
        '{"question": "When was it built?", "answer": null}',
        "<think>a question would be ...",
        "{" * 5000,
    ],
)
def test_anything_else_is_none(reply: str) -> None:
    assert read_draft(reply) is None


def test_a_truth_in_json_is_yes_or_no() -> None:
    assert read_draft('{"question": "Was it built?", "answer": true}') == ("Was it built?", "yes")


@pytest.mark.parametrize(
    ("kind", "question", "answer", "fault"),
    [
        ("fact", "When was the mill built?", "1801", None),
        ("fact", "When was the mill built?", "in 1802", "does not stand in the passage"),
        ("format", "When was the mill built?", "1802", "does not stand in the passage"),
        ("multi-hop", "When was the mill built?", "1802", "does not stand in the passage"),
        ("fact", "Was the mill of 1801 built when?", "1801", "holds its answer"),
        ("fact", "What does the passage say of the mill?", "1801", "speaks of its passage"),
        ("fact", "Who sailed through Drake Passage to Thornby?", "Ada Lovell", None),
        ("fact", "When?", "1801", "fewer than 3 or more than 60 words"),
        ("fact", "When was the mill built?", "", "no answer to a question that has one"),
        ("fact", "When was the mill built?", "It is not mentioned in the text", "no answer to a question that has one"),
        ("yes-no", "Was the mill built in 1801?", "yes", None),
        ("yes-no", "Was the mill built in 1801?", "1801", "neither yes nor no"),
        ("unanswerable", "How tall is the mill?", "unanswerable", None),
        ("unanswerable", "How tall is the mill in the text?", "unanswerable", "speaks of its passage"),
    ],
)
def test_words_alone_may_speak_against_a_draft(kind: Kind, question: str, answer: str, fault: str | None) -> None:
    found = fault_of(Task("test", kind, (PASSAGE,)), question, answer)
    assert found is None if fault is None else fault in str(found)


def test_a_long_answer_is_no_short_one() -> None:
    text = " ".join(f"w{i}" for i in range(40))
    task = Task("test", "fact", (Chunk("c", "d", "", text, 0),))
    assert "more than 30 words" in str(fault_of(task, "What are the words?", text))


@pytest.mark.parametrize(
    ("reply", "kind", "gold", "is_given"),
    [
        ("1801", "fact", "1801", True),
        ("It was built in 1801.", "fact", "1801", True),  # it holds the gold
        ("Ada Lovell, the builder", "fact", "Ada Lovell", True),
        ("Lovell", "fact", "Ada Lovell", False),  # F1 2/3 is below 0.7
        ("the mill of Ada Lovell", "fact", "the mill of Ada M. Lovell", True),  # 4 of 4 and 4 of 5: F1 8/9
        ("unknown", "fact", "1801", False),
        ("", "fact", "1801", False),
        ("<think>1801</think>unknown", "fact", "1801", False),
        ("Yes, it was.", "yes-no", "yes", True),
        ("No.", "yes-no", "yes", False),
        ("unknown", "yes-no", "no", False),
        ("unanswerable", "unanswerable", "unanswerable", True),
        ("The passages do not say.", "unanswerable", "unanswerable", True),
        ("Twelve feet", "unanswerable", "unanswerable", False),
    ],
)
def test_an_answer_is_given_by_f1_by_holding_it_by_its_first_word_or_by_abstaining(
    reply: str, kind: Kind, gold: str, is_given: bool
) -> None:
    assert gives(reply, kind, gold, threshold=0.7) is is_given
