"""What a config says of an evaluation: the judge it asks, and how a race spends its questions.

JudgeEndpoint("http://127.0.0.1:9000/v1", "my-judge")
"""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import Field

from eval.errors import EvalError
from storage.settings import NUMBER, Above0, Count, HttpUrl, settings


@settings(EvalError)
class JudgeEndpoint:
    """An OpenAI-compatible model for the metrics of a judge."""

    url: HttpUrl
    """Where it is, ending in /v1."""
    model: str
    """What it is called there."""
    api_key_env: str = "OPENAI_API_KEY"
    """The environment variable that holds its key."""
    concurrency: Count = 4
    """Scores in flight at once."""
    timeout_s: Above0 = 60.0
    """How long one request may take; it is repeated once."""
    max_tokens: Count = 1024
    """The most that is generated for a reply."""

    @property
    def api_key(self) -> str:
        """The key, "none" where the variable is not set, or to nothing."""
        return os.environ.get(self.api_key_env, "").strip() or "none"


@settings(EvalError)
class RaceSettings:
    """Questions are spent in batches, and arms that are shown to be worse drop out. A batch is asked only if it is
    expected to fit the caps, the held-out questions included; null is no cap.
    """

    batch: Count = 20
    """The most questions between looks; a small file has smaller batches, of 2 at least."""
    held_out: Annotated[float, Field(ge=0, lt=1), NUMBER] = 0.0
    """The share of questions that only the finalists are asked, after the race, to estimate the winner again."""
    max_questions: Count | None = None
    """Questions in all."""
    max_tokens: Count | None = None
    """Tokens of all arms' answers."""
    max_minutes: Above0 | None = None
    """Minutes of this start."""
    max_cost: Above0 | None = None
    """What all arms' answers may cost, in the currency of the policy's prices."""
