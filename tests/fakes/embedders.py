"""An embedder without a model, which can be slow or held up."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray


class WordTokens:
    """What an embedder says of tokens: they are words."""

    max_tokens: int | None = None

    def token_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [[word.span() for word in re.finditer(r"\S+", text)] for text in texts]


class WordEmbedder(WordTokens):
    """Bags of words, each word hashed to an axis. Passages wait for `gate` and take `seconds_per_text`; queries never.

    `started` is set when the first passage is embedded.
    """

    dimension = 1024

    def __init__(self, name: str = "words@1", *, seconds_per_text: float = 0.0) -> None:
        self.name = name
        self.seconds_per_text = seconds_per_text
        self.num_embedded = 0
        self.started = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def embed(self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None) -> NDArray[np.float32]:
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            self.started.set()
            assert self.gate.wait(20)
            time.sleep(self.seconds_per_text)
            vectors[row] = self.embed_query(text)
            self.num_embedded += 1
            if progress:
                progress(row + 1, len(texts))
        return vectors

    def embed_query(self, query: str) -> NDArray[np.float32]:
        vector = np.zeros(self.dimension, dtype=np.float32)
        for word in re.findall(r"\w+", query.casefold()) or [""]:
            vector[int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "little") % self.dimension] += 1
        normed: NDArray[np.float32] = vector / np.linalg.norm(vector)
        return normed
