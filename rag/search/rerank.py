"""A cross-encoder reads query and passage together: `load_reranker("cross-encoder/ms-marco-MiniLM-L6-v2")`.

Slower than comparing vectors and better at it, so it ranks only the candidates that a search has found.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from rag.errors import RagError
from rag.torch_threads import silent_loading, torch_threads

# A batch of so few pairs runs on one thread; see rag/embedding/model.py for why.
_FEW_PAIRS = 4
_BATCH_SIZE = 32


class Reranker:
    """A sentence-transformers CrossEncoder with one output, which becomes a score by the logistic function.

    May be called from several threads.
    """

    def __init__(self, model: str) -> None:
        """`model` is a folder or a model id. Raises RagError if it cannot be loaded or has several outputs."""
        if model.startswith(("/", ".", "~")) and not Path(model).expanduser().is_dir():
            raise RagError(f"no reranker in {model!r}; give a folder or an id of a sentence-transformers CrossEncoder")
        from sentence_transformers import CrossEncoder

        with silent_loading():
            try:
                self._model: Any = CrossEncoder(str(Path(model).expanduser()) if model.startswith("~") else model)
                num_outputs = self._model.num_labels
            except Exception as error:
                # The libraries raise a dozen types for a missing or broken model; each ends here with its own words.
                reason = str(error).split("\n", 1)[0]
                raise RagError(
                    f"reranker {model!r} cannot be loaded ({reason}); give a sentence-transformers CrossEncoder"
                ) from error
        if num_outputs != 1:
            raise RagError(f"reranker {model!r} has {num_outputs} outputs; give a CrossEncoder with one")
        self._name = model

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers the query, in [0, 1]. Raises RagError if the model gives what is no number."""
        import numpy as np
        import torch

        pairs = [(query, text) for text in texts]
        logits = np.empty(len(pairs), dtype=np.float64)
        # Pairs of like length share a batch, so that little is padded.
        order = sorted(range(len(pairs)), key=lambda i: len(texts[i]), reverse=True)
        for start in range(0, len(order), _BATCH_SIZE):
            batch = order[start : start + _BATCH_SIZE]
            with torch_threads(1 if len(batch) <= _FEW_PAIRS else None):
                logits[batch] = self._model.predict(
                    [pairs[i] for i in batch],
                    batch_size=_BATCH_SIZE,
                    activation_fn=torch.nn.Identity(),
                    show_progress_bar=False,
                )
        if not np.isfinite(logits).all():
            raise RagError(f"reranker {self._name!r} gives scores that are no numbers; use another model")
        # In float64 a clear difference stays one where float32's logistic function has reached 1.
        return [float(score) for score in 1 / (1 + np.exp(-np.clip(logits, -500, 500)))]


@lru_cache(maxsize=4)
def load_reranker(model: str) -> Reranker:
    """The reranker of this model id or folder, loaded once. Raises RagError naming a model that cannot be had."""
    return Reranker(model)
