"""Texts to unit vectors: `SentenceTransformerEmbedder(folder).embed(["a text"])`."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rag.errors import RagError

# Up to here a call runs on one torch thread. Medians of one query, all-MiniLM-L6-v2, two cores shared with other work:
# 13 to 21 ms on one thread, 10 to 504 ms on two; beside one more process that never rests 73 ms on one, 409 on two.
_SMALL_BATCH = 4

# torch's thread count belongs to the process, and a tokenizer must not be reconfigured while another thread uses it.
_TORCH_LOCK = threading.Lock()


class Embedder(Protocol):
    """What an index needs of an embedding model; must be callable from several threads."""

    @property
    def name(self) -> str:
        """Identity of the model and its weights: vectors are comparable if and only if the names are equal."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""

    def embed(self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None) -> NDArray[np.float32]:
        """Vectors of n texts in their order: (n, dimension) float32 unit rows. `progress(done, n)` after each batch."""

    def embed_query(self, query: str) -> NDArray[np.float32]:
        """The unit vector of a question, (dimension,) float32; some models want questions told from passages."""

    def token_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """For each text the (start, end) characters of its tokens, without special tokens and without truncation."""

    def count_tokens(self, text: str) -> int:
        """Tokens of the text in this model, without special tokens and without truncation."""


class SentenceTransformerEmbedder:
    """A sentence-transformers model in a local folder, loaded at first use and never before."""

    def __init__(
        self, model: str | Path, *, name: str | None = None, batch_size: int = 32, threads: int | None = None
    ) -> None:
        """`name` is the identity if the caller knows one (model@revision), else the folder's name and content hash.

        `threads` is torch's thread count for batches (default: as torch has it). Raises RagError if `model` is no
        folder of a sentence-transformers model.
        """
        self._folder = Path(model)
        self._given_name = name
        self._batch_size = batch_size
        self._threads = threads
        self._load_lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None
        if batch_size < 1 or (threads is not None and threads < 1):
            raise RagError(f"batch_size and threads must be at least 1, not {batch_size!r} and {threads!r}")
        if not (self._folder / "modules.json").is_file():
            raise RagError(
                f"no embedding model in {str(model)!r}; give a folder of sentence-transformers (with its modules.json)"
            )

    @cached_property
    def name(self) -> str:
        return self._given_name or f"{self._folder.resolve().name}@{_folder_hash(self._folder)}"

    @cached_property
    def dimension(self) -> int:
        return int(self._load()[0].get_embedding_dimension())

    def count_tokens(self, text: str) -> int:
        return len(self._load()[1].encode(text, add_special_tokens=False).ids)

    def token_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        encodings = self._load()[1].encode_batch(list(texts), add_special_tokens=False)
        return [list(encoding.offsets) for encoding in encodings]

    def embed_query(self, query: str) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self.embed([query])[0]
        return vector

    def embed(self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None) -> NDArray[np.float32]:
        model = self._load()[0]
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        threads = 1 if len(texts) <= _SMALL_BATCH else self._threads
        # Texts of like length share a batch, so that little is padded; the longest first, so that memory peaks at once.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]), reverse=True)
        for start in range(0, len(order), self._batch_size):
            batch = order[start : start + self._batch_size]
            with _torch_threads(threads):
                vectors[batch] = model.encode(
                    [texts[i] for i in batch],
                    batch_size=self._batch_size,
                    normalize_embeddings=True,
                    show_progress_bar=False,
                )
            done = start + len(batch)
            if done < len(order):
                # Python's locks are not fair: without a pause, a query waits until the whole indexing run is over.
                time.sleep(0.001)
            if progress:
                progress(done, len(order))
        return vectors

    def _load(self) -> tuple[Any, Any]:
        """The model, and a copy of its tokenizer that counts without truncating."""
        with self._load_lock:
            if self._loaded is None:
                import tokenizers
                from sentence_transformers import SentenceTransformer

                with _silent_loading():
                    try:
                        model = SentenceTransformer(str(self._folder), local_files_only=True)
                        counter = tokenizers.Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())
                    except Exception as error:
                        # The libraries raise a dozen types for a broken folder; each ends here with its own words.
                        reason = str(error).split("\n", 1)[0]
                        raise RagError(f"embedding model {str(self._folder)!r} cannot be loaded: {reason}") from error
                counter.no_truncation()
                counter.no_padding()
                self._loaded = model, counter
            return self._loaded


@contextlib.contextmanager
def _torch_threads(threads: int | None) -> Iterator[None]:
    import torch

    with _TORCH_LOCK:
        before = torch.get_num_threads()
        if threads is None or threads == before:
            yield
            return
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@contextlib.contextmanager
def _silent_loading() -> Iterator[None]:
    """No progress bar for 0.1 s of reading weights."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


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
