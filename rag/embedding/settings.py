"""How the embedder runs, and what its model wants in front of a text: `find_prefixes(folder, "intfloat/e5-small-v2")`.

Many retrieval models are trained with such words and lose recall without them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rag.errors import RagError
from storage.settings import Count, settings

Precision = Literal["float32", "bfloat16"]


@settings(RagError)
class EmbedderSettings:
    """How the embedder runs."""

    precision: Precision = "float32"
    """The numbers that products are made of; docs/experiments/embedding compares them."""
    query_prefix: str | None = None
    """What stands before a question; null is what the model is known to want, '' nothing."""
    passage_prefix: str | None = None
    """What stands before a passage; the same."""
    threads: Count | None = None
    """Batches that run at once; null is one for each core."""


@dataclass(frozen=True, slots=True)
class Prefixes:
    """Put before a text as it is, the space at its end included; '' is none."""

    query: str = ""
    passage: str = ""


_SEARCH_PASSAGES = "Represent this sentence for searching relevant passages: "
_INSTRUCT = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "

# From the model cards, for models whose folders do not say it themselves; the first pattern found in the name counts.
_FAMILIES: tuple[tuple[str, Prefixes], ...] = (
    (r"e5-mistral|e5-\w+-instruct", Prefixes(query=_INSTRUCT)),
    (r"(^|[/-])e5-(small|base|large)", Prefixes(query="query: ", passage="passage: ")),
    (r"bge-(small|base|large)-zh", Prefixes(query="为这个句子生成表示以用于检索相关文章：")),
    (r"bge-(small|base|large)-en", Prefixes(query=_SEARCH_PASSAGES)),
    (r"nomic-embed-text|modernbert-embed", Prefixes(query="search_query: ", passage="search_document: ")),
    (r"snowflake-arctic-embed-[a-z]+-v2", Prefixes(query="query: ")),
    (r"snowflake-arctic-embed", Prefixes(query=_SEARCH_PASSAGES)),
    (r"mxbai-embed-large|uae-large", Prefixes(query=_SEARCH_PASSAGES)),
)
# The names that models give their own prompts.
_QUERY_PROMPTS = ("query", "search_query", "retrieval.query", "s2p_query")
_PASSAGE_PROMPTS = ("passage", "document", "search_document", "retrieval.passage", "corpus")


def find_prefixes(folder: Path, name: str) -> Prefixes:
    """The prompts in the model's own config_sentence_transformers.json, else those of the family that `name` is of.

    Raises RagError if the file is there and not JSON.
    """
    file = folder / "config_sentence_transformers.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError) as error:
        raise RagError(f"{str(file)!r} cannot be read: {error}; fetch the model again") from error
    prompts = config.get("prompts") if isinstance(config, dict) else None
    if isinstance(prompts, dict) and any(prompts.values()):
        default = str(prompts.get(config.get("default_prompt_name"), ""))
        return Prefixes(
            query=_first(prompts, _QUERY_PROMPTS, default), passage=_first(prompts, _PASSAGE_PROMPTS, default)
        )
    for pattern, prefixes in _FAMILIES:
        if re.search(pattern, name.casefold()):
            return prefixes
    return Prefixes()


def _first(prompts: dict[str, object], names: tuple[str, ...], default: str) -> str:
    return next((str(prompts[name]) for name in names if prompts.get(name)), default)
