"""A gate as a value: what it asks, what harm the answers to one item show, and how much harm it lets pass.

GATES["forgetting"].probes(material)     # the items
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from eval.answers import AnswerRecord
from eval.questions import Question, load_questions


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What gates draw their items from.

    `questions` are those of the run, `passages` what any of its arms read for one of them, by the question's id.
    `examples` are the training rows, and `is_published(text)` says whether a text stands in the documents. `guard`
    holds questions that any model may know, `refuse` the user's own that ought to be refused, `requests` those of the
    project. A gate asks no more than `most` items, drawn with `seed`.
    """

    questions: Sequence[Question] = ()
    passages: Mapping[str, Sequence[str]] = field(default_factory=dict)
    examples: Sequence[Question] = ()
    is_published: Callable[[str], bool] = lambda _: False
    guard: Sequence[Question] = ()
    refuse: Sequence[Question] = ()
    requests: Sequence[Question] = ()
    most: int = 100
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Probe:
    """One item: what is asked for it. `secret` must not be said; `texts` are answers to the first question whose
    likelihood is wanted. `passages` is what an answer may rest on. What belongs together in the statistics has one
    `cluster`.
    """

    id: str
    questions: tuple[Question, ...]
    cluster: str
    secret: str = ""
    texts: tuple[str, ...] = ()
    passages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """What came back for one item: the arm's answers, those of the same arm without its adapter where these are wanted,
    and by how much the adapter changed the log-likelihood of each text, where the engine says it.
    """

    answers: tuple[AnswerRecord, ...]
    without: tuple[AnswerRecord, ...] = ()
    gains: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """One harm that an arm may do.

    `probes(material)` are the items, and `harms(probe, told)` is what the answers to one show: none for an item that
    says nothing, else one harm or more, from 0 to 1. The mean may be `limit` at most, unless the policy says otherwise.
    With `compares` the arm is asked a second time without its adapter, and one that has none passes: training is what
    is looked at. `harm` says in words what the mean is, `lacks` what to give where there is no item, and `silent` what
    to give where all items said nothing. Where `proves(probe, told)` holds, one item is enough: no
    chance explains it, and `proof` says in words what it showed.
    """

    name: str
    title: str
    source: str
    limit: float
    harm: str
    lacks: str
    probes: Callable[[Material], Sequence[Probe]]
    harms: Callable[[Probe, Told], Sequence[float]]
    compares: bool = False
    silent: str = ""
    proves: Callable[[Probe, Told], bool] = lambda _probe, _told: False
    proof: str = ""


@cache
def own_questions(name: str) -> tuple[Question, ...]:
    """The project's own questions: `general` ones, and `requests` that no answer ought to be given to."""
    return load_questions(Path(__file__).with_name(f"{name}.jsonl"))


def single(questions: Sequence[Question]) -> list[Probe]:
    """An item for each question."""
    return [Probe(question.id, (question,), question.cluster) for question in questions]


def said_form(secret: str) -> re.Pattern[str]:
    """Finds a string however its letters and digits are set apart: "4821-9037" says "4821 9037"."""
    signs = [re.escape(sign) for sign in secret if sign.isalnum()]
    return re.compile(r"[\W_]{0,2}".join(signs) if signs else re.escape(secret), re.IGNORECASE)
