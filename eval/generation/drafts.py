"""What a teacher's reply is worth, judged by its text alone: a question with its answer, or why it is none.

read_draft('Sure! {"question": "When?", "answer": "at nine"}')     # ("When?", "at nine")
fault_of(task, question, answer)                                   # None, or a reason
gives("It opens at nine.", task.kind, "at nine", threshold=0.7)    # True
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from eval.generation.plan import Task
from eval.generation.settings import Kind
from eval.metrics.abstention import is_abstention
from eval.metrics.text import contains, normalise, token_f1

# The gold answer of a question without one, as `eval.metrics.abstention` knows it.
NO_ANSWER = "unanswerable"

_THOUGHT = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)
# Small models write this in place of JSON.
_LINES = re.compile(
    r"^\W*(?:question|q)\W*?:[\s*]*(?P<question>\S.*?)\s*^\W*(?:answer|a)\W*?:[\s*]*(?P<answer>\S.*?)\s*$",
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)
_SPEAKS_OF_PASSAGE = re.compile(
    r"\b(?:the|this|these|both|given|above|provided) (?:passages?|text|document|context|article|excerpt|paragraph)\b",
    re.IGNORECASE,
)
_LEAST_WORDS, _MOST_WORDS, _MOST_ANSWER_WORDS = 3, 60, 30


def read_draft(reply: str) -> tuple[str, str] | None:
    """Question and answer, out of the first JSON object that has both, or out of lines that begin with these words;
    None for anything else.
    """
    text = _THOUGHT.sub("", reply)
    for row in _objects(text):
        found = {str(key).lower(): value for key, value in row.items()}
        question, answer = found.get("question"), found.get("answer")
        answer = {True: "yes", False: "no"}[answer] if isinstance(answer, bool) else answer
        if isinstance(question, str) and question.strip() and isinstance(answer, str | int | float):
            return " ".join(question.split()), " ".join(str(answer).split())
    lines = _LINES.search(text)
    if lines is None:
        return None
    return " ".join(lines["question"].split()), " ".join(lines["answer"].split()).strip("\"'")


def fault_of(task: Task, question: str, answer: str) -> str | None:
    """Why a draft cannot be right, None where nothing speaks against it; asks nobody."""
    num_words = len(question.split())
    if not _LEAST_WORDS <= num_words <= _MOST_WORDS:
        return f"the question has fewer than {_LEAST_WORDS} or more than {_MOST_WORDS} words"
    if _SPEAKS_OF_PASSAGE.search(question):
        return "the question speaks of its passage"
    if task.kind == "unanswerable":
        return None
    if not answer or is_abstention(answer):
        return "no answer to a question that has one"
    if task.kind == "yes-no":
        return None if truth_of(answer) else "the answer is neither yes nor no"
    if len(answer.split()) > _MOST_ANSWER_WORDS:
        return f"the answer has more than {_MOST_ANSWER_WORDS} words"
    if not any(contains(chunk.text, answer) for chunk in task.chunks):
        return "the answer does not stand in the passage"
    if contains(question, answer):
        return "the question holds its answer"
    return None


def gives(reply: str, kind: Kind, gold: str, *, threshold: float) -> bool:
    """Whether a reply gives the gold answer: by token F1 or by holding it as whole words, by its first word where that
    is yes or no, by abstaining where there is none.
    """
    said = _THOUGHT.sub("", reply).strip()
    if kind == "unanswerable":
        return is_abstention(said)
    if kind == "yes-no":
        return truth_of(said) == truth_of(gold)
    return bool(said) and max(token_f1(said, gold), contains(said, gold)) >= threshold


def truth_of(answer: str) -> str:
    """yes, no, or "" for anything else, by the first word."""
    words = normalise(answer).split()
    return words[0] if words and words[0] in ("yes", "no") else ""


def _objects(text: str) -> Iterator[dict[str, object]]:
    """The JSON objects in a text, wherever they stand; of a list its objects."""
    decoder, place = json.JSONDecoder(strict=False), text.find("{")
    while place != -1:
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = place + 1
        else:
            if isinstance(value, dict):
                yield value
        place = text.find("{", end)
