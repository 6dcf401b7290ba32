"""What a config says of a teacher, a model by URL: what adapters learn from one, and of questions that are made from
documents who writes them, how many, and which are kept.

GenerateSettings(questions=40, teacher=TeacherSettings("http://127.0.0.1:9000/v1", "large-model"))
"""

from __future__ import annotations

import os
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from eval.errors import EvalError
from storage.settings import Above0, Count, HttpUrl, Share, Whole, settings

Kind = Literal["fact", "multi-hop", "yes-no", "unanswerable", "format"]
KINDS: tuple[Kind, ...] = ("fact", "multi-hop", "yes-no", "unanswerable", "format")


@settings(EvalError)
class TeacherSettings:
    """An OpenAI-compatible model that writes questions, or that adapters learn from."""

    url: HttpUrl
    """Where it is, ending in /v1."""
    model: str
    """What it is called there."""
    api_key_env: str = "OPENAI_API_KEY"
    """The environment variable that holds its key."""
    concurrency: Count = 4
    """Requests in flight at once."""
    timeout_s: Above0 = 60.0
    """How long one request may take."""
    retries: Whole = 2
    """How often a request is made again when it fails or takes too long."""

    @property
    def label(self) -> str:
        """What people are told that it is."""
        return f"{self.model} at {bare_url(self.url)}"

    @property
    def identity(self) -> str:
        """What shapes its replies."""
        return f"{self.model} {bare_url(self.url)}"

    @property
    def api_key(self) -> str:
        """The key, "none" where the variable is not set, or to nothing."""
        return os.environ.get(self.api_key_env, "").strip() or "none"


@settings(EvalError)
class DistillSettings:
    """The larger model that adapters with objective `distill` or `gkd` learn from, and what it may be asked."""

    teacher: TeacherSettings | None = None
    """Where it is; `gkd` needs one on vLLM, with the base model's tokenizer."""
    max_requests: Count | None = None
    """The most requests of a command, those of earlier starts that are remembered included; null is no limit."""
    max_tokens: Count | None = None
    """The most tokens of prompts and replies, counted in the same way; null is no limit."""


@settings(EvalError)
class GenerateSettings:
    """Questions made from documents (`arbiter data generate`)."""

    teacher: TeacherSettings | None = None
    """Who writes them; null is the config's own model, which is poor at it where it is the embedded one."""
    questions: Whole = 40
    """How many to evaluate on."""
    examples: Whole = 40
    """How many to train on, from other documents than those."""
    kinds: tuple[Kind, ...] = KINDS
    """All by default. `fact` asks for what stands in a passage, `format` for the same in a given form, `multi-hop` for
    what takes two passages, `yes-no` for a truth, `unanswerable` for what the documents do not say."""
    threshold: Share = 0.7
    """How near the teacher must come to a gold answer to have given it: its token F1, or 1 where it holds the gold. It
    must with the passages and must not without."""
    tries: Count = 3
    """The most drafts for each question that is wanted."""
    max_requests: Count | None = None
    """The most requests, those of earlier starts that are remembered included; null is no limit."""
    max_tokens: Count | None = None
    """The most tokens of prompts and replies, counted in the same way; null is no limit."""
    take_proposed: bool = False
    """Use questions that nobody has reviewed yet."""

    def __post_init__(self) -> None:
        if not self.kinds:
            raise ValueError(f"kinds is empty; give some of {', '.join(KINDS)}")
        if not self.questions and not self.examples:
            raise ValueError("questions and examples are both 0; ask for some of either")


def bare_url(url: str) -> str:
    """Without a name and a password, which are for nobody to read."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")
