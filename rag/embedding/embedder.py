"""Texts to unit vectors: `SentenceTransformerEmbedder(folder, name="org/model@1").embed(["a text"])`."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rag.embedding.model import Model
from rag.embedding.settings import EmbedderSettings, Prefixes, find_prefixes
from rag.errors import RagError


class Embedder(Protocol):
    """What an index needs of an embedding model; must be callable from several threads."""

    @property
    def name(self) -> str:
        """Identity of the model and its weights: vectors are comparable if and only if the names are equal."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""

    @property
    def max_tokens(self) -> int | None:
        """Tokens of a passage that are read, special ones aside; the rest is cut off. None if there is no limit."""

    def embed(self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None) -> NDArray[np.float32]:
        """Vectors of n texts in their order: (n, dimension) float32 unit rows. `progress(done, n)` after each batch."""

    def embed_query(self, query: str) -> NDArray[np.float32]:
        """The unit vector of a question, (dimension,) float32; some models want questions told from passages."""

    def token_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """For each text the (start, end) characters of its tokens, without special tokens and without truncation."""


class SentenceTransformerEmbedder:
    """A sentence-transformers model in a local folder, loaded at first use and never before."""

    def __init__(self, model: str | Path, settings: EmbedderSettings = EmbedderSettings(), *, name: str) -> None:
        """`name` is the identity of the weights (model@revision). Raises RagError if `model` is no such folder."""
        self._folder = Path(model)
        if not (self._folder / "modules.json").is_file():
            raise RagError(
                f"no embedding model in {str(model)!r}; give a folder of sentence-transformers (with its modules.json)"
            )
        known = find_prefixes(self._folder, name)
        self.prefixes = Prefixes(
            query=known.query if settings.query_prefix is None else settings.query_prefix,
            passage=known.passage if settings.passage_prefix is None else settings.passage_prefix,
        )
        # With everything that makes its vectors others.
        rounded = [] if settings.precision == "float32" else [f"torch-{settings.precision}"]
        before = [f"{kind}={text}" for kind, text in asdict(self.prefixes).items() if text]
        self.name = "|".join([name, *rounded, *before])
        self._settings = settings
        self._lock = threading.Lock()
        self._loaded: Model | None = None

    @property
    def model(self) -> Model:
        """The model, loaded."""
        with self._lock:
            if self._loaded is None:
                threads = self._settings.threads or _available_cores()
                self._loaded = Model(self._folder, self._settings.precision, threads)
            return self._loaded

    @property
    def dimension(self) -> int:
        return self.model.dimension

    @cached_property
    def max_tokens(self) -> int | None:
        window = self.model.window
        if window is None:
            return None
        (prefix,) = self.token_spans([self.prefixes.passage])
        return max(0, window - self.model.num_special - len(prefix))

    def token_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return self.model.token_spans(texts)

    def embed_query(self, query: str) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self.model.vectors([self.prefixes.query + query])[0]
        return vector

    def embed(self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None) -> NDArray[np.float32]:
        return self.model.vectors([self.prefixes.passage + text for text in texts], progress)


@dataclass(frozen=True, slots=True)
class NamedEmbedder:
    """The embedder that an index names. The real one is made when something is embedded, and must be the one named."""

    name: str
    make: Callable[[], Embedder]

    def __getattr__(self, attribute: str) -> Any:
        embedder = self.make()
        if embedder.name != self.name:
            raise RagError(
                f"the index was built with embedder {self.name!r}, not {embedder.name!r}; "
                "give the config that names it with --config"
            )
        return getattr(embedder, attribute)


def _available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
