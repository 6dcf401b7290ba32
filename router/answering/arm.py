"""An arm: one complete way to answer, as a frozen value.

Arm("hybrid", adapter="raft@3f9c", index="demo", prompt=ANSWER, top_k=2).kind  # "hybrid"
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Literal

from rag.search.settings import SearchSettings
from router.answering.condense import Condense
from router.answering.prompts import ANSWER, Prompt

Kind = Literal["base", "rag", "tuned", "hybrid"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn; the defaults are greedy, so that a measured answer can be served again.

    `temperature` >= 0, `top_p` in (0, 1], `max_tokens` counts generated tokens.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 32
    seed: int = 0

    def options(self) -> dict[str, object]:
        """The same values under their OpenAI field names."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Arm:
    """Names of parts, never live objects: it hashes, prints, goes into a scorecard and reproduces.

    `adapter` is an immutable adapter name or None, `index` the name of an index or None, `top_k` the passages to
    retrieve and `retrieval` how they are ranked. `condense` says what is searched for a question that others came
    before; a first question is searched as it is.
    """

    name: str
    adapter: str | None = None
    index: str | None = None
    prompt: Prompt = ANSWER
    top_k: int = 2
    sampling: Sampling = field(default_factory=Sampling)
    retrieval: SearchSettings = field(default_factory=SearchSettings)
    condense: Condense = "last"

    @property
    def kind(self) -> Kind:
        """Derived from the parts: adapter and index, either, or neither."""
        if self.adapter and self.index:
            return "hybrid"
        if self.adapter:
            return "tuned"
        return "rag" if self.index else "base"

    def to_dict(self) -> dict[str, object]:
        """JSON form, `kind` included; `Arm.from_dict` reads it back."""
        return {**asdict(self), "kind": self.kind}

    @classmethod
    def from_dict(cls, row: dict[str, object]) -> Arm:
        """The arm that `to_dict` wrote."""
        parts = {key: value for key, value in row.items() if key != "kind"}
        # Arms written before there was a choice searched by vectors alone.
        retrieval = parts.pop("retrieval", {"mode": "dense"})
        prompt, sampling = parts.pop("prompt"), parts.pop("sampling")
        assert isinstance(prompt, dict)
        assert isinstance(sampling, dict)
        assert isinstance(retrieval, dict)
        return cls(
            **parts,  # type: ignore[arg-type]  # asdict's own keys
            prompt=Prompt(**prompt),
            sampling=Sampling(**sampling),
            retrieval=SearchSettings(**retrieval),
        )

    def fingerprint(self) -> str:
        """sha256 over everything that shapes an answer; the name is a label and is left out."""
        parts = {key: value for key, value in self.to_dict().items() if key not in ("name", "kind")}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
