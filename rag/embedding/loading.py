"""A sentence-transformers folder made ready to run: `load_model(folder, backend="torch", precision="float32", ...)`.

Every shorter way is compared with the library's own `encode` on a few texts before it is taken.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rag.embedding.batches import BATCH_TOKENS, Batch, Tokenizer
from rag.embedding.exported import export_model
from rag.embedding.forward import Forward, open_openvino, torch_forward
from rag.embedding.packed_linear import pack_linears
from rag.embedding.settings import Backend, Precision
from rag.embedding.workers import Workers
from rag.errors import RagError
from rag.torch_threads import silent_loading, torch_threads

# Of unlike length, so that one of them is padded.
_PROBES = (
    "The loan desk opens at nine.",
    "Membership is free for residents; bring proof of address to receive a card, and ask about late returns.",
)
# The least cosine to float32's vectors: rounding, and no more than rounding. all-MiniLM-L6-v2's lowest of 747 passages
# were 1 - 2e-7, .99993 and .989.
_LEAST_COSINE: dict[Precision, float] = {"float32": 0.99999, "bfloat16": 0.999, "int8": 0.95}
# A device beside the processor wants many texts at once.
_DEVICE_BATCH_TOKENS = 16_384

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that can be called from several threads. `max_tokens` counts the `num_special` special tokens, too."""

    dimension: int
    max_tokens: int | None
    num_special: int
    runs_on: str
    batches: Callable[[Sequence[str]], list[Batch]]
    forward: Callable[[Batch], NDArray[np.float32]]
    token_spans: Callable[[Sequence[str]], list[list[tuple[int, int]]]]


def load_model(
    folder: Path, *, backend: Backend, precision: Precision, key: str, cache: Path | None, workers: Workers
) -> Loaded:
    """The model of `folder` on a backend; `key` is its identity and `cache` the folder for its exported forms.

    Raises RagError if the folder is broken, a package is missing, or the backend's vectors are not the model's.
    """
    with silent_loading():
        try:
            from sentence_transformers import SentenceTransformer

            model = SentenceTransformer(
                str(folder), local_files_only=True, device="cpu" if backend != "torch" else None
            )
            expected = _encode(model, _PROBES)
            max_tokens = _window(model)
            tokenizer = Tokenizer(model.tokenizer, max_tokens)
        except Exception as error:
            # The libraries raise a dozen types for a broken folder; each ends here with its own words.
            reason = str(error).split("\n", 1)[0]
            raise RagError(f"embedding model {str(folder)!r} cannot be loaded: {reason}") from error
    runs_on, forward = _open(model, tokenizer, expected, backend, precision, key, cache, workers)
    batch_tokens = BATCH_TOKENS if model.device.type == "cpu" else _DEVICE_BATCH_TOKENS
    log.info("embedder=%s runs on %s", key, runs_on)
    return Loaded(
        dimension=expected.shape[1],
        max_tokens=max_tokens,
        num_special=tokenizer.num_special,
        runs_on=runs_on,
        batches=lambda texts: tokenizer.batches(texts, batch_tokens),
        forward=forward,
        token_spans=tokenizer.spans,
    )


def _window(model: Any) -> int | None:
    """Tokens that the model reads of a text; models without attention may read any number."""
    window = model.max_seq_length
    return int(window) if window is not None and math.isfinite(window) else None


def _open(
    model: Any,
    tokenizer: Tokenizer,
    expected: NDArray[np.float32],
    backend: Backend,
    precision: Precision,
    key: str,
    cache: Path | None,
    workers: Workers,
) -> tuple[str, Callable[[Batch], NDArray[np.float32]]]:
    """What runs the model, in words and as a function of a batch."""
    (probe,) = tokenizer.batches(_PROBES)
    wanted = expected[list(probe.rows)]

    def cosine(forward: Forward) -> float:
        return float((forward(probe.inputs) * wanted).sum(axis=1).min())

    if backend == "torch":
        return _open_torch(model, lambda forward: _is_close(cosine, forward, precision), precision)
    if cache is None:
        raise RagError(f"the embedding backend {backend!r} needs a folder for its form of the model; give cache")
    file = export_model(model, probe.inputs, cache, key=key, is_int8=precision == "int8")
    try:
        forward = open_openvino(file, precision, workers.limit)
        least = cosine(forward)
    except Exception as error:
        # OpenVINO does not promise the types of what it raises for a file that it does not take.
        reason = str(error).strip().split("\n", 1)[0]
        raise RagError(
            f"{backend} cannot run {str(file)!r}: {reason}; delete its folder to have it made anew, or use the backend "
            "'torch'"
        ) from error
    if not least >= _LEAST_COSINE[precision]:
        raise RagError(
            f"{backend} with {precision} gives other vectors than the model {key!r} does (cosine {least:.4f}); "
            "use the backend 'torch'"
        )
    return f"{backend}, {precision}", lambda batch: forward(batch.inputs)


def _open_torch(
    model: Any, is_right: Callable[[Forward], bool], precision: Precision
) -> tuple[str, Callable[[Batch], NDArray[np.float32]]]:
    """The shortest way that gives the model's vectors: packed products, plain ones, the library's `encode`."""
    packing: Literal["float32", "bfloat16"] = "bfloat16" if precision == "bfloat16" else "float32"
    plain = torch_forward(model)
    if model.device.type == "cpu":
        try:
            undo = pack_linears(model, packing)
        except (RuntimeError, AttributeError, NotImplementedError) as error:
            log.info("torch has no packed products here: %s", str(error).split("\n", 1)[0])
        else:
            if is_right(plain):
                return f"torch, {precision}, packed", lambda batch: plain(batch.inputs)
            undo()
    forward = torch_forward(model, packing)
    if is_right(forward):
        return f"torch, {precision}", lambda batch: forward(batch.inputs)
    if precision != "float32":
        raise RagError(f"torch cannot run this model with {precision}; use the precision 'float32'")
    return "sentence-transformers", lambda batch: _encode(model, batch.texts)


def _is_close(cosine: Callable[[Forward], float], forward: Forward, precision: Precision) -> bool:
    try:
        return cosine(forward) >= _LEAST_COSINE[precision]
    except Exception as error:
        # Whatever a model's code raises when it is called in another way than its library does.
        log.info("a model is run by its library: %s", str(error).split("\n", 1)[0])
        return False


def _encode(model: Any, texts: Sequence[str]) -> NDArray[np.float32]:
    """The library's own way, one call at a time: it reconfigures the tokenizer."""
    with torch_threads(1):
        vectors: NDArray[np.float32] = model.encode(
            list(texts), prompt="", normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True
        )
    return vectors.astype(np.float32)
