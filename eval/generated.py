"""Questions that a model wrote from documents: how their rows say so, and what a decision on them must not hide.

count_generated(questions)   # Generated(num=40, num_unreviewed=12, num_all=52)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from eval.questions import Question

# The key in a row's metadata: who wrote it from what, and whether a person has looked at it.
GENERATED = "generated"
# The file beside such rows in which they are looked through.
REVIEW = "to_review.jsonl"


@dataclass(frozen=True, slots=True)
class Generated:
    """How many questions a model wrote, how many of them nobody has looked at, and how many there are in all."""

    num: int
    num_unreviewed: int
    num_all: int


def count_generated(questions: Sequence[Question]) -> Generated:
    """Counted by what the rows say in their metadata."""
    told = [found for row in questions if isinstance(found := row.metadata.get(GENERATED), dict)]
    return Generated(len(told), sum(not isinstance(one.get("reviewed"), str) for one in told), len(questions))


def generated_warnings(questions: Sequence[Question]) -> Iterator[str]:
    """A sentence for the top of a decision that rests on such questions."""
    found = count_generated(questions)
    if found.num:
        looked = f"{found.num_unreviewed or 'all'} of them {_were(found.num_unreviewed)}"
        looked += " not reviewed by anybody (arbiter data review)" if found.num_unreviewed else " reviewed"
        yield (
            f"{found.num} of the {found.num_all} questions {_were(found.num)} written by a model from the documents; "
            f"{looked}."
        )


def generated_doubts(questions: Sequence[Question]) -> Iterator[str]:
    """What would have to be true for a decision on such questions to be wrong."""
    if (found := count_generated(questions)).num:
        yield (
            f"If people ask otherwise than the model that wrote {found.num} of the {found.num_all} questions, which "
            "had the answer before its eyes, another arm may answer them better."
        )


def _were(number: int) -> str:
    return "was" if number == 1 else "were"
