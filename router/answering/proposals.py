"""What the proposers of a mixture of agents answered, and what that adds to the mixture's own answer.

A mixture (Wang et al., "Mixture-of-Agents Enhances Large Language Model Capabilities", 2024, with one layer) asks its
proposers first, and is shown what they said: Arm("panel", proposers=(rag, tuned)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rag.passage import Passage
from router.errors import EngineRejected, EngineUnavailable, RouterError

if TYPE_CHECKING:
    from openai.types import CompletionUsage


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposer's answer, the passages of documents that it was shown, and what it took; `error` says why `text` is
    empty where it gave none.
    """

    arm: str
    text: str = ""
    error: str | None = None
    passages: tuple[Passage, ...] = ()
    prompt_tokens: int = 0
    generated_tokens: int = 0
    cached_tokens: int | None = None
    latency_ms: float = 0.0


def failure_of(arm: str, failed: Sequence[tuple[str, Exception]]) -> RouterError:
    """What is raised for a mixture of which every proposer failed, by their names and reasons: it can be tried again
    if one of them can.
    """
    message = none_answered(arm, [(name, str(error)) for name, error in failed])
    errors = [error for _, error in failed]
    if all(isinstance(error, EngineRejected) for error in errors):
        first = next(error for error in errors if isinstance(error, EngineRejected))
        return EngineRejected(message, status=first.status, param=first.param)
    is_passing = any(isinstance(error, EngineUnavailable) for error in errors)
    return EngineUnavailable(message) if is_passing else RouterError(message)


def none_answered(arm: str, failed: Sequence[tuple[str, str | None]]) -> str:
    """The same in words."""
    return f"no proposer of arm {arm!r} answered: " + "; ".join(f"{name}: {reason}" for name, reason in failed)


def all_passages(own: Sequence[Passage], proposals: Sequence[Proposal]) -> tuple[Passage, ...]:
    """A mixture's own passages, then those of its proposers that are not among them, ranked on: its answer may rest on
    any of them, and the numbers of its own stay as it was shown them.
    """
    found = {(passage.document_id, passage.text): passage for passage in own}
    for proposal in proposals:
        for passage in proposal.passages:
            found.setdefault((passage.document_id, passage.text), replace(passage, rank=len(found) + 1))
    return tuple(found.values())


def with_proposals(usage: CompletionUsage | None, proposals: Sequence[Proposal]) -> CompletionUsage | None:
    """The tokens of an answer and its proposals. Those from the prefix cache are known where every call told them."""
    from openai.types import CompletionUsage
    from openai.types.completion_usage import PromptTokensDetails

    if not proposals:
        return usage
    own = usage or CompletionUsage(prompt_tokens=0, completion_tokens=0, total_tokens=0)
    prompt = own.prompt_tokens + sum(one.prompt_tokens for one in proposals)
    generated = own.completion_tokens + sum(one.generated_tokens for one in proposals)
    cached = [own.prompt_tokens_details.cached_tokens if own.prompt_tokens_details else None]
    cached += [one.cached_tokens for one in proposals if one.error is None]
    known = [count for count in cached if count is not None]
    details = PromptTokensDetails(cached_tokens=sum(known)) if len(known) == len(cached) else None
    return CompletionUsage(
        prompt_tokens=prompt,
        completion_tokens=generated,
        total_tokens=prompt + generated,
        prompt_tokens_details=details,
    )
