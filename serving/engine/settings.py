"""The engine as a user sets it: vLLM as a child process, or somebody else's server."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from serving.errors import ServingError
from storage.settings import NUMBER, Above0, Count, HttpUrl, settings

LEAST_RANK, LARGEST_RANK = 16, 512


@settings(ServingError)
class EngineSettings:
    """What generates text: vLLM as a child process, or with `url` any OpenAI-compatible server."""

    url: HttpUrl | None = None
    """An OpenAI-compatible server, ending in /v1, in place of the child."""
    model: str | None = None
    """The base model's name at `url`."""
    api_key_env: str = "OPENAI_API_KEY"
    """The environment variable that holds the key of `url`."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The numbers the model computes with; `auto` is decided by the CPU or GPU."""
    max_model_len: Count = 2048
    """Tokens of a prompt and its answer together."""
    max_loras: Count = 4
    """How many adapters one batch may mix; more can be loaded."""
    max_lora_rank: Annotated[int, Field(ge=1, le=LARGEST_RANK), NUMBER] | None = None
    """The largest rank of an adapter; null is what the config's adapters take, 16 at least."""
    max_own_engines: Count = 2
    """How many adapters that need an engine of their own have it up at a time, beside the decided arm's."""
    kv_cache_gib: Count = 2
    """Memory for the KV cache; counts on CPUs only."""
    ready_timeout_s: Above0 = 300.0
    """How long a start may take."""
    request_timeout_s: Above0 = 120.0
    """How long an answer may take."""

    @property
    def lora_rank(self) -> int:
        """The largest rank that the engine takes."""
        return self.max_lora_rank or LEAST_RANK
