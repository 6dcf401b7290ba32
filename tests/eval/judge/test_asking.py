"""Replies that parse and are worth nothing."""

from types import SimpleNamespace
from typing import Any

import pytest

from eval.judge.asking import fault_of


def reply(kind: str, **fields: Any) -> Any:
    """A reply of ragas's class `kind`, told apart by its name alone."""
    return type(kind, (SimpleNamespace,), {})(**fields)


def rulings(*verdicts: int) -> list[SimpleNamespace]:
    return [SimpleNamespace(verdict=verdict) for verdict in verdicts]


@pytest.mark.parametrize(
    ("replies", "fault"),
    [
        (
            [
                reply("StatementGeneratorOutput", statements=["a", "b"]),
                reply("NLIStatementOutput", statements=rulings(1, 0)),
            ],
            None,
        ),
        (
            [
                reply("StatementGeneratorOutput", statements=["a", "b"]),
                reply("NLIStatementOutput", statements=rulings(1)),
            ],
            "1 of 2",
        ),
        ([reply("ContextPrecisionOutput", verdict=7)], "verdict 7"),
        ([reply("ClaimDecompositionOutput", claims=[])], None),  # an answer may well claim nothing
        (
            [reply("ClaimDecompositionOutput", claims=["a"]), reply("ClaimDecompositionOutput", claims=[])],
            "no claim in the gold",
        ),
        ([reply("AnswerRelevanceOutput", noncommittal=0, question=" ")], "no question"),
        ([reply("DiscreteResponseModel", reason="r", value="correct")], None),
        ([], None),
    ],
)
def test_worthless_replies_are_told_from_good_ones(replies: list[Any], fault: str | None) -> None:
    found = fault_of(replies)
    assert (found is None) if fault is None else (found is not None and fault in found)


def test_where_the_gold_answer_is_taken_apart_first_it_must_claim_something() -> None:
    assert "no claim in the gold" in str(fault_of([reply("ClaimDecompositionOutput", claims=[])], gold_is_first=True))
