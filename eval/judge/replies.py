"""What can be wrong with a judge's replies although they parsed: `fault_of(replies)`; used by eval/judge/asking.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def fault_of(replies: Sequence[Any], *, gold_is_first: bool = False) -> str | None:
    """What makes a judge's well-formed replies worthless; ragas turns several of these into a score of 0 or above 1.

    `gold_is_first`: the first list of claims is the gold answer's, not the answer's.
    """
    listed, verdicts = 0, list[int]()
    for number, reply in enumerate(replies):
        match type(reply).__name__:
            case "ClaimDecompositionOutput":
                listed, verdicts = len(reply.claims), []
                is_gold = number > 0 or gold_is_first  # only an answer may well claim nothing
                if is_gold and not reply.claims:
                    return "the judge found no claim in the gold answer"
            case "StatementGeneratorOutput":
                listed, verdicts = len(reply.statements), []
            case "NLIStatementOutput":
                verdicts = [ruling.verdict for ruling in reply.statements]
                if len(verdicts) != listed:
                    return f"the judge ruled on {len(verdicts)} of {listed} statements"
            case "ContextRecallOutput":
                verdicts = [ruling.attributed for ruling in reply.classifications]
            case "AnswerRelevanceOutput":
                verdicts = [reply.noncommittal]
                if not reply.question.strip():
                    return "the judge wrote no question for the answer"
            case "DiscreteResponseModel":
                verdicts = []  # one of the values that were offered, or it would not have parsed
            case _:
                verdicts = [reply.verdict]
        for verdict in verdicts:
            if verdict not in (0, 1):
                return f"the judge gave the verdict {verdict!r}, which is neither 0 nor 1"
    return None
