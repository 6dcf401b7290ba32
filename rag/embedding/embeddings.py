"""The embeddings of chunks, each text embedded once: `embed_chunks(chunks, embedder, store, index_name="faq", ...)`."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from rag.chunking.chunk import Chunk, embedding_text
from rag.embedding.embedder import Embedder
from rag.errors import RagError
from rag.store import pending
from rag.store.pending import Embedding
from storage.database import Database

# What is embedded is committed about so often: what a stopped run loses at most.
_COMMIT_EVERY_S = 3.0
# So many texts at first, while the pace is not known, and at most.
_FEWEST, _MOST = 128, 2048


def text_hash(chunk: Chunk) -> str:
    """Hash (hex) of what is embedded for the chunk."""
    return hashlib.sha256(embedding_text(chunk).encode()).hexdigest()


def embed_chunks(
    chunks: Iterable[Chunk],
    embedder: Embedder,
    store: Database,
    *,
    index_name: str,
    origin: str,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, Embedding], int]:
    """The chunks' embeddings by `text_hash`, and how many of them the embedder had to make.

    The others come from the rows: of any index of the same embedder, and of runs that were stopped. What is made is
    committed as it comes, under the index and the origin, for the next run to find. `progress(done, total)` counts what
    has to be made. Raises RagError if the embedder returns anything but finite vectors of its dimension.
    """
    # Not their texts, which with titles and headings are strings of their own: made batch by batch.
    by_hash = {text_hash(chunk): chunk for chunk in chunks}
    with store.read() as rows:
        embeddings = pending.known(rows, embedder.name, by_hash)
    # Neighbours of like length fill batches without padding; the longest come first, so the pace only rises.
    missing = sorted(by_hash.keys() - embeddings.keys(), key=lambda key: (-len(embedding_text(by_hash[key])), key))
    if not missing:
        return embeddings, 0
    dimension = embedder.dimension  # Loads the model, which is not to be counted as embedding.
    start, size = 0, _FEWEST
    while start < len(missing):
        batch = missing[start : start + size]
        texts = [embedding_text(by_hash[key]) for key in batch]
        clock = time.perf_counter()
        vectors = embedder.embed(texts, progress=progress and partial(_report, progress, start, len(missing)))
        embed_s = (time.perf_counter() - clock) / len(batch)
        if vectors.shape != (len(batch), dimension) or not np.isfinite(vectors).all():
            raise RagError(f"embedder {embedder.name!r} returned no valid vectors for {texts[0]!r:.60} and others")
        made = {key: Embedding(vector, embed_s) for key, vector in zip(batch, vectors, strict=True)}
        pending.keep(store, index_name, origin, embedder.name, made, now=time.time())
        embeddings.update(made)
        start += len(batch)
        size = round(min(max(_COMMIT_EVERY_S / max(embed_s, 1e-6), _FEWEST), _MOST))
    return embeddings, len(missing)


def _report(progress: Callable[[int, int], None], start: int, total: int, done: int, _: int) -> None:
    progress(start + done, total)
