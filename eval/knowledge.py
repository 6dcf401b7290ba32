"""What a model knows of answers before it learns them, and what that says of teaching it: Gekhman et al. 2024
(arxiv.org/abs/2405.05904, section 3).

knowledge = Knowledge({"q1": degree_of(greedy=[True, False], sampled=[False, True, False])})
knowledge.share("unknown"), forecast(knowledge)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from router.deciding.statistics import Interval, mean_interval

Degree = Literal["known", "maybe", "weakly", "unknown"]
"""By several prompts: every likeliest answer is right, some are, none is but some that are drawn, none at all."""
DEGREES: tuple[Degree, ...] = ("known", "maybe", "weakly", "unknown")


@dataclass(frozen=True, slots=True)
class Knowledge:
    """How well each row's answer is known, by its id. `are_labels` says that most answers are those of a set, which is
    learned and not known.
    """

    degrees: Mapping[str, Degree]
    are_labels: bool = False

    def count(self, *degrees: Degree) -> int:
        """How many rows are of these degrees."""
        return sum(degree in degrees for degree in self.degrees.values())

    def share(self, *degrees: Degree) -> Interval:
        """Of all rows, with its 95% interval."""
        return mean_interval([float(degree in degrees) for degree in self.degrees.values()], list(self.degrees))


def degree_of(*, greedy: Sequence[bool], sampled: Sequence[bool]) -> Degree:
    """How well an answer is known, from which of the likeliest answers to several prompts are right, and which of those
    that were drawn.
    """
    if all(greedy):
        return "known"
    if any(greedy):
        return "maybe"
    return "weakly" if any(sampled) else "unknown"


def forecast(knowledge: Knowledge) -> str:
    """Whether a training on these rows will bring out what the model knows, or teach it what it does not."""
    if knowledge.are_labels:
        return (
            "most answers are labels: which of them belongs to a text is learned, not known, so that the degrees say "
            "nothing against training"
        )
    unknown, known = knowledge.share("unknown"), knowledge.share("known", "maybe")
    if unknown.low > 0.5:
        return (
            f"the model does not know {unknown.mean:.0%} of the answers: such rows are learned last and by heart, and "
            "teach it to make up others (Gekhman et al. 2024); give these facts as documents, or train on the rows "
            "that are known, and watch what was known (guard.jsonl, patience)"
        )
    if known.low > 0.5:
        return (
            f"the model can give {known.mean:.0%} of the answers already: a training brings them out, and teaches "
            "their form"
        )
    return (
        f"of the answers {known.mean:.0%} can be given already and {unknown.mean:.0%} are not known: too near each "
        "other to say which a training would do; ask more rows, or train with a guard (guard.jsonl, patience)"
    )
