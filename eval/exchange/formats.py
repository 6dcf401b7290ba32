"""The names of the formats that `arbiter import` reads; apart, since the command line is to start fast."""

from __future__ import annotations

from typing import Literal

Tool = Literal["autorag", "ragchecker", "ragas"]
Format = Literal[
    "autorag",
    "ragchecker",
    "ragas",
    "chat",
    "sharegpt",
    "completion",
    "alpaca",
    "pairs",
    "openai-pairs",
    "openai-evals",
    "squad",
    "squad-rows",
    "deepeval",
    "promptfoo",
    "promptfoo-table",
    "choices",
    "table",
]
"""The three that say what a system answered, and those of `tuning.data.formats`."""
