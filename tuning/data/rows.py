"""What a training reads, in the words of the model: prompt messages and an answer to learn, or what else there is.

closed_book_rows(examples, prompt.render)                              answers from memory
raft_rows(examples, contexts, is_golden, prompt.render, num_passages=2, seed=0)    from passages with distractors
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tuning.data.examples import Question
from tuning.data.formats.given import Message

P = TypeVar("P")
"""A passage. Nothing here looks inside one; the caller's functions do."""

Render = Callable[[Sequence[Message], Sequence[P]], Sequence[Message]]
"""Conversation and passages -> prompt messages. The one that serves is given, so that training and serving agree."""


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """What the model sees, and what it shall answer; the loss is taken on the completion alone."""

    prompt: tuple[Message, ...]
    completion: str

    @property
    def content(self) -> list[object]:
        """All of it, for JSON."""
        return [_plain(self.prompt), self.completion]


@dataclass(frozen=True, slots=True)
class PairRow:
    """What the model sees, the answer that it shall rather give, and the one that it shall rather not."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str

    @property
    def content(self) -> list[object]:
        """All of it, for JSON."""
        return [_plain(self.prompt), self.chosen, self.rejected]


@dataclass(frozen=True, slots=True)
class RatedRow:
    """What the model sees, an answer to it, and whether it is wanted."""

    prompt: tuple[Message, ...]
    answer: str
    is_wanted: bool

    @property
    def content(self) -> list[object]:
        """All of it, for JSON."""
        return [_plain(self.prompt), self.answer, self.is_wanted]


@dataclass(frozen=True, slots=True)
class TextWindow:
    """Tokens of a text in their order, of which the first `num_read` are only read."""

    ids: tuple[int, ...]
    num_read: int = 0

    @property
    def content(self) -> list[object]:
        """All of it, for JSON."""
        return [list(self.ids), self.num_read]


Row = TrainingRow | PairRow | RatedRow | TextWindow
KINDS: Mapping[type, str] = {
    TrainingRow: "examples",
    PairRow: "preference pairs",
    RatedRow: "answers that are rated",
    TextWindow: "documents",
}
"""What rows are called."""


def _plain(messages: Sequence[Message]) -> list[dict[str, object]]:
    return [dict(message) for message in messages]


def closed_book_rows(examples: Sequence[Question], render: Render[P]) -> list[TrainingRow]:
    """One row an example, without passages."""
    return [TrainingRow(tuple(render(example.messages, ())), example.answer) for example in examples]


def raft_rows(
    examples: Sequence[Question],
    contexts: Sequence[Sequence[P]],
    is_golden: Callable[[Question, P], bool],
    render: Render[P],
    *,
    num_passages: int,
    golden_fraction: float = 0.8,
    seed: int,
) -> list[TrainingRow]:
    """One row an example with up to `num_passages` of its context; `contexts[i]` is ranked, best first.

    RAFT (Zhang et al. 2024, arXiv 2403.10131, section 3): with probability `golden_fraction` (P = 0.8 there) the best
    golden passage among the best-ranked distractors, at a random position; otherwise distractors alone, from which the
    model can only learn the answer by heart. An example without a golden passage keeps its context as retrieved; one
    whose context holds no distractor keeps its golden passage. Every example draws from a generator of its own (seed
    and id), so its row does not depend on which others are trained with it.
    """
    rows = []
    for example, context in zip(examples, contexts, strict=True):
        rng = random.Random(f"{seed}:{example.id}")
        golden = [passage for passage in context if is_golden(example, passage)]
        distractors = [passage for passage in context if not is_golden(example, passage)]
        if not golden:
            shown = list(context[:num_passages])
        elif rng.random() < golden_fraction or not distractors:
            shown = [golden[0], *distractors[: num_passages - 1]]
            rng.shuffle(shown)
        else:
            shown = distractors[:num_passages]
        rows.append(TrainingRow(tuple(render(example.messages, shown)), example.answer))
    return rows
