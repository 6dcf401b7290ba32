"""Texts to unit vectors: `SentenceTransformerEmbedder(folder).embed(["a text"])`."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rag.embedding.loading import Loaded, load_model
from rag.embedding.prefixes import Prefixes, find_prefixes
from rag.embedding.settings import EmbedderSettings
from rag.embedding.workers import Workers
from rag.errors import RagError

# Texts whose token ids are held at once.
_SLAB = 4096


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

    def count_tokens(self, text: str) -> int:
        """Tokens of the text in this model, without special tokens and without truncation."""


class SentenceTransformerEmbedder:
    """A sentence-transformers model in a local folder, loaded at first use and never before.

    Texts of like length share a batch, and batches run side by side on one thread each (rag/embedding/workers.py).
    """

    def __init__(
        self,
        model: str | Path,
        settings: EmbedderSettings = EmbedderSettings(),
        *,
        name: str | None = None,
        cache: Path | None = None,
    ) -> None:
        """`name` is the identity if the caller knows one (model@revision), else the folder's name and content hash.

        `cache` is the folder for models in the format of the backend `openvino`. Raises RagError if `model` is no
        folder of a sentence-transformers model.
        """
        self._folder = Path(model)
        if not (self._folder / "modules.json").is_file():
            raise RagError(
                f"no embedding model in {str(model)!r}; give a folder of sentence-transformers (with its modules.json)"
            )
        known = find_prefixes(self._folder, name or self._folder.resolve().name)
        self.prefixes = Prefixes(
            query=known.query if settings.query_prefix is None else settings.query_prefix,
            passage=known.passage if settings.passage_prefix is None else settings.passage_prefix,
        )
        self._given_name = name
        self._settings = settings
        self._cache = cache
        self._workers = Workers(settings.threads)
        self._load_lock = threading.Lock()
        self._loaded: Loaded | None = None

    @cached_property
    def name(self) -> str:
        """The model's name, with everything after it that makes its vectors others."""
        parts = [self._model_name]
        if self._settings.precision != "float32":
            parts.append(f"{self._settings.backend}-{self._settings.precision}")
        parts += [f"{kind}={text}" for kind, text in asdict(self.prefixes).items() if text]
        return "|".join(parts)

    @cached_property
    def dimension(self) -> int:
        return self._load().dimension

    @cached_property
    def max_tokens(self) -> int | None:
        loaded = self._load()
        if loaded.max_tokens is None:
            return None
        return max(0, loaded.max_tokens - loaded.num_special - self.count_tokens(self.prefixes.passage))

    @property
    def num_workers(self) -> int | None:
        """Batches that run at once; None until the first long call has measured it."""
        return self._workers.chosen

    @property
    def runs_on(self) -> str:
        """What runs the model in the end, for logs and reports: `torch, packed`, `openvino`, ..."""
        return self._load().runs_on

    def count_tokens(self, text: str) -> int:
        return len(self.token_spans([text])[0])

    def token_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return self._load().token_spans(texts)

    def embed_query(self, query: str) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self._embed([self.prefixes.query + query], None)[0]
        return vector

    def embed(self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None) -> NDArray[np.float32]:
        prefix = self.prefixes.passage
        return self._embed([prefix + text for text in texts] if prefix else texts, progress)

    def _embed(self, texts: Sequence[str], progress: Callable[[int, int], None] | None) -> NDArray[np.float32]:
        loaded = self._load()
        vectors = np.empty((len(texts), loaded.dimension), dtype=np.float32)
        done = 0
        for start in range(0, len(texts), _SLAB):
            batches = loaded.batches(texts[start : start + _SLAB])
            sizes = [batch.num_tokens for batch in batches]
            with contextlib.closing(self._workers.run(loaded.forward, batches, sizes)) as results:
                for batch, rows in results:
                    vectors[np.array(batch.rows) + start] = rows
                    done += len(batch.rows)
                    if progress:
                        progress(done, len(texts))
        return vectors

    @cached_property
    def _model_name(self) -> str:
        return self._given_name or f"{self._folder.resolve().name}@{_folder_hash(self._folder)}"

    def _load(self) -> Loaded:
        with self._load_lock:
            if self._loaded is None:
                self._loaded = load_model(
                    self._folder,
                    backend=self._settings.backend,
                    precision=self._settings.precision,
                    key=self._model_name,
                    cache=self._cache,
                    workers=self._workers,
                )
            return self._loaded


def _folder_hash(folder: Path) -> str:
    """Hash (12 hex) over names and contents of the model's files; papers and hidden files aside."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        inner = file.relative_to(folder)
        if not file.is_file() or file.suffix == ".md" or any(part.startswith(".") for part in inner.parts):
            continue
        digest.update(f"{inner.as_posix()} {file.stat().st_size}\n".encode())
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:12]
