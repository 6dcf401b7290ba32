"""Where a judge is and how it is asked: `JudgeEndpoint("http://127.0.0.1:9000/v1", "my-judge")`."""

from __future__ import annotations

import os

from eval.errors import EvalError
from storage.settings import Above0, Count, HttpUrl, settings


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
        """The key, "none" where the variable is not set."""
        return os.environ.get(self.api_key_env) or "none"
