"""A gate's items asked of an arm: what harm each shows, as a value that is kept and judged later.

measured = measure(GATES["forgetting"], arm, material, ask)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

from eval.answers import AnswerRecord
from eval.errors import one_line
from eval.gates.gate import Gate, Material, Probe, Told, said_form
from eval.questions import Question
from router.answering.arm import Arm

_SHOWN, _CHARACTERS = 3, 160


class Ask(Protocol):
    """Who asks an arm, and keeps what it said."""

    def answers(self, arm: Arm, questions: Sequence[Question]) -> Sequence[AnswerRecord]:
        """The arm's answer to every question, in order."""
        ...

    def likelihoods(self, arm: Arm, texts: Sequence[tuple[Question, str]]) -> Sequence[float | None]:
        """The log-likelihood of each text as the arm's answer to its question, up to a number that all of a question
        have in common; None where the engine does not say it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Example:
    """An item that harm was found in."""

    question: str
    answer: str
    without: str | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """What one gate found of one arm: harms of 0 to 1, each with the cluster that it belongs to.

    `num_items` is how many items there were: `num_judged` of them showed harm or none, `num_failed` got no answer, and
    of `num_unweighed` the engine said too little to tell. `num_proofs` is how many showed what no chance explains.
    `lacks` says what to give where there is no harm to judge; `free` why there is none to look for.
    """

    gate: str
    arm: str
    harms: tuple[float, ...] = ()
    clusters: tuple[str, ...] = ()
    num_items: int = 0
    num_judged: int = 0
    num_failed: int = 0
    num_unweighed: int = 0
    num_proofs: int = 0
    lacks: str = ""
    free: str = ""
    examples: tuple[Example, ...] = ()


def without_adapter(arm: Arm) -> Arm:
    """The same arm on the model as it was before the training, and so its proposers."""
    proposers = tuple(map(without_adapter, arm.proposers))
    return replace(arm, name=f"{arm.name} without its adapter", adapter=None, proposers=proposers)


def measure(gate: Gate, arm: Arm, material: Material, ask: Ask) -> Measured:
    """Ask the gate's items, each answer once, and see what harm they show."""
    if gate.compares and not arm.adapters:
        return Measured(gate.name, arm.name, free=f"arm {arm.name!r} has no adapter, so nothing was trained")
    probes = list(gate.probes(material))
    if not probes:
        return Measured(gate.name, arm.name, lacks=gate.lacks)
    told = list(_told(gate, arm, probes, ask))
    found = [() if _has_failed(one) else tuple(gate.harms(probe, one)) for probe, one in zip(probes, told, strict=True)]
    harms = tuple(harm for one in found for harm in one)
    num_failed = sum(map(_has_failed, told))
    lacks = ""
    if not harms:
        lacks = gate.silent if num_failed < len(probes) and gate.silent else "no item got an answer; measure again"
    worst = sorted((i for i, one in enumerate(found) if max(one, default=0.0) > 0), key=lambda i: -max(found[i]))
    return Measured(
        gate.name,
        arm.name,
        harms,
        tuple(probe.cluster for probe, one in zip(probes, found, strict=True) for _ in one),
        num_items=len(probes),
        num_judged=sum(map(bool, found)),
        num_failed=num_failed,
        num_unweighed=sum(
            bool(probe.texts) and not (harm or one.gains or _has_failed(one))
            for probe, one, harm in zip(probes, told, found, strict=True)
        ),
        num_proofs=sum(
            gate.proves(probe, one) for probe, one in zip(probes, told, strict=True) if not _has_failed(one)
        ),
        lacks=lacks,
        examples=tuple(islice((_example(probes[i], told[i]) for i in worst), _SHOWN)),
    )


def _told(gate: Gate, arm: Arm, probes: Sequence[Probe], ask: Ask) -> Iterator[Told]:
    questions = [question for probe in probes for question in probe.questions]
    answers = iter(ask.answers(arm, questions))
    without = iter(ask.answers(without_adapter(arm), questions) if gate.compares else ())
    gains = _gains(arm, probes, ask)
    for probe in probes:
        count = len(probe.questions)
        own, other = tuple(islice(answers, count)), tuple(islice(without, count))
        yield Told(own, other, gains.get(probe.id))


def _gains(arm: Arm, probes: Sequence[Probe], ask: Ask) -> Mapping[str, tuple[float, ...]]:
    """By how much the adapter changed the log-likelihoods of each item's texts; nothing of an item where one lacks."""
    texts = [(probe.questions[0], text) for probe in probes for text in probe.texts]
    if not texts:
        return {}
    pairs = zip(ask.likelihoods(arm, texts), ask.likelihoods(without_adapter(arm), texts), strict=True)
    gains: dict[str, tuple[float, ...]] = {}
    for probe in probes:
        both = islice(pairs, len(probe.texts))
        found = [after - before for after, before in both if after is not None and before is not None]
        if probe.texts and len(found) == len(probe.texts):
            gains[probe.id] = tuple(found)
    return gains


def _has_failed(told: Told) -> bool:
    return any(record.error is not None for record in (*told.answers, *told.without))


def _example(probe: Probe, told: Told) -> Example:
    # What must not be said is not written down either.
    def shown(text: str) -> str:
        return one_line(said_form(probe.secret).sub("…", text) if probe.secret else text, _CHARACTERS)

    # Of several answers the last is the one that ought to have been as the first.
    other = told.without[-1] if told.without else told.answers[0] if len(told.answers) > 1 else None
    question = shown(probe.questions[-1].text)
    return Example(question, shown(told.answers[-1].text), None if other is None else shown(other.text))
