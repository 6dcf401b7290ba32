"""An arm: one complete way to answer, as a frozen value.

Arm("hybrid", adapter="raft@3f9c", index="demo", prompt=ANSWER, top_k=2).kind  # "hybrid"
Arm("panel", proposers=(rag, tuned)).kind  # "mixture"
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from rag.search.settings import SearchSettings
from router.answering.condense import Condense
from router.answering.prompts import ANSWER, Prompt
from router.errors import RouterError
from storage.settings import NUMBER, Count, Whole, settings

Kind = Literal["base", "rag", "tuned", "hybrid", "mixture"]

# The tokens of an answer of an arm that is made without a sampling, and so without training rows to follow.
_ROOM = 32
_NOT_HASHED = ("name", "proposers")


@settings(RouterError)
class Sampling:
    """How tokens are drawn; the defaults are greedy, so that a measured answer can be served again."""

    temperature: Annotated[float, Field(ge=0, le=2), NUMBER] = 0.0
    """0 takes the likeliest token, more draws more freely."""
    top_p: Annotated[float, Field(gt=0, le=1), NUMBER] = 1.0
    """Tokens are drawn from the likeliest ones that make up this share."""
    max_tokens: Count | None = None
    """The most that is generated for an answer; null follows the training rows' answers."""
    seed: Whole = 0
    """Of the draws."""

    def options(self) -> dict[str, object]:
        """The values that are said, under their OpenAI field names."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Arm:
    """Names of parts, never live objects: it hashes, prints, goes into a scorecard and reproduces.

    `adapter` is an immutable adapter name or None, `index` the name of an index or None, `top_k` the passages to
    retrieve and `retrieval` how they are ranked. `condense` says what is searched, or a topic chosen by, for a question
    that others came before; a first question is taken as it is. `proposers` are plain arms that are asked first, and
    whose answers this one is shown: a mixture of agents.
    """

    name: str
    adapter: str | None = None
    index: str | None = None
    prompt: Prompt = ANSWER
    top_k: int = 2
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=_ROOM))
    retrieval: SearchSettings = field(default_factory=SearchSettings)
    condense: Condense = "recent"
    proposers: tuple[Arm, ...] = ()

    def __post_init__(self) -> None:
        if nested := [arm.name for arm in self.proposers if arm.proposers]:
            raise RouterError(f"arm {self.name!r}: proposer {nested[0]!r} is a mixture itself; name plain arms")

    @property
    def kind(self) -> Kind:
        """Derived from the parts: proposers, else adapter and index, either, or neither."""
        if self.proposers:
            return "mixture"
        if self.adapter and self.index:
            return "hybrid"
        if self.adapter:
            return "tuned"
        return "rag" if self.index else "base"

    @property
    def members(self) -> tuple[Arm, ...]:
        """The arms that one answer asks: the proposers, then itself."""
        return (*self.proposers, self)

    @property
    def adapters(self) -> tuple[str, ...]:
        """The adapters that an answer needs, each once."""
        return tuple(dict.fromkeys(arm.adapter for arm in self.members if arm.adapter is not None))

    @property
    def indexes(self) -> tuple[str, ...]:
        """The indexes that an answer needs, each once."""
        return tuple(dict.fromkeys(arm.index for arm in self.members if arm.index is not None))

    @property
    def reads_documents(self) -> bool:
        """Whether an index holds documents; one of training examples, shown as turns, holds none. A mixture reads what
        its proposers read.
        """
        return any(one.index is not None and one.prompt.passages == "context" for one in self.members)

    def fingerprint(self) -> str:
        """sha256 over everything that shapes an answer; names of arms are labels and are left out."""
        parts: dict[str, object] = {key: value for key, value in asdict(self).items() if key not in _NOT_HASHED}
        if self.proposers:  # a plain arm has the fingerprint that it had before there were mixtures
            parts["proposers"] = [arm.fingerprint() for arm in self.proposers]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
