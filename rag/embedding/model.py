"""A sentence-transformers folder made ready to run: `Model(folder, "float32", threads=2).vectors(["a text"])`."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag.embedding.settings import Precision
from rag.errors import RagError
from rag.torch_threads import one_thread_pool, silent_loading

# Padded tokens of a batch. all-MiniLM-L6-v2 on one thread, passages of 114 tokens: 4 texts a batch 64.5 passages/s,
# 8 64.1, 16 62.6 (docs/experiments/embedding): more than fits the cache only costs.
_BATCH_TOKENS = 1024
# A device beside the processor wants many texts at once.
_DEVICE_BATCH_TOKENS = 16_384
_MAX_BATCH_TEXTS = 64
# Of unlike length, so that one of them is padded.
_PROBES = (
    "The loan desk opens at nine.",
    "Membership is free for residents; bring proof of address to receive a card, and ask about late returns.",
)
# The least cosine to the library's vectors: rounding, and no more than rounding. all-MiniLM-L6-v2's lowest of 747
# passages were 1 - 2e-7 and .99993.
_LEAST_COSINE: dict[Precision, float] = {"float32": 0.99999, "bfloat16": 0.999}

log = logging.getLogger(__name__)


class Model:
    """A model that may be used from several threads. `window` counts the `num_special` special tokens, too.

    Texts of like length share a batch, and batches run side by side on one thread each. The usual way is one call after
    another on all of torch's threads, which meet at a barrier after every operation: beside busy processes, two threads
    were three to five times slower than one (docs/experiments/embedding).
    """

    def __init__(self, folder: Path, precision: Precision, threads: int) -> None:
        """Raises RagError if the folder is broken, or the model cannot run with the precision."""
        # A tokenizer must not be reconfigured while another thread uses it.
        self._lock = threading.Lock()
        self._is_rounded = False
        with silent_loading():
            try:
                from sentence_transformers import SentenceTransformer
                from tokenizers import Tokenizer

                self._model: Any = SentenceTransformer(str(folder), local_files_only=True).eval()
                expected = self._forward(_PROBES)
                window = self._model.max_seq_length
                # A copy that nobody reconfigures.
                tokenizer = self._model.tokenizer
                self._counter = Tokenizer.from_str(getattr(tokenizer, "backend_tokenizer", tokenizer).to_str())
            except Exception as error:
                # The libraries raise a dozen types for a broken folder; each ends here with its own words.
                reason = str(error).split("\n", 1)[0]
                raise RagError(f"embedding model {str(folder)!r} cannot be loaded: {reason}") from error
        self._counter.no_padding()
        self._counter.no_truncation()
        self.num_special: int = self._counter.num_special_tokens_to_add(is_pair=False)
        # Models without attention may read any number.
        self.window = int(window) if window is not None and math.isfinite(window) else None
        self.dimension: int = expected.shape[1]
        self.runs_on = f"torch, {precision}{self._set_precision(precision, expected)}"
        log.info("embedder=%s runs on %s", folder, self.runs_on)
        # A single batch does not queue behind those of other calls: somebody may be waiting for it.
        self._urgent, self._bulk = one_thread_pool(threads), one_thread_pool(threads)

    def token_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        encodings = self._counter.encode_batch(list(texts), add_special_tokens=False)
        return [list(encoding.offsets) for encoding in encodings]

    def vectors(self, texts: Sequence[str], progress: Callable[[int, int], None] | None = None) -> NDArray[np.float32]:
        """(n, dimension) float32 unit rows, those of the library's `encode`; `progress(done, n)` after each batch."""
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        most = self.window or math.inf
        lengths = [int(min(len(spans) + self.num_special, most)) for spans in self.token_spans(texts)]
        batches = batches_of(lengths, _BATCH_TOKENS if self._model.device.type == "cpu" else _DEVICE_BATCH_TOKENS)
        pool = self._urgent if len(batches) == 1 else self._bulk
        futures = [pool.submit(self._forward, [texts[place] for place in batch]) for batch in batches]
        done = 0
        try:
            for batch, future in zip(batches, futures, strict=True):
                vectors[batch] = future.result()
                done += len(batch)
                if progress:
                    progress(done, len(texts))
        finally:
            for future in futures:
                future.cancel()
        return vectors

    def _forward(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import torch
        from sentence_transformers.util import batch_to_device

        device = self._model.device
        with self._lock:
            features = self._model.preprocess(list(texts))
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=self._is_rounded):
            rows = self._model(batch_to_device(features, device))["sentence_embedding"].float()
        rows = torch.nn.functional.normalize(rows[:, : self._model.truncate_dim], dim=1)
        vectors: NDArray[np.float32] = rows.cpu().numpy()
        return vectors

    def _set_precision(self, precision: Precision, expected: NDArray[np.float32]) -> str:
        """Packs the products where torch can and the vectors stay what they are; says whether it has."""
        if self._model.device.type == "cpu":
            try:
                undo = pack_linears(self._model, precision)
            except (RuntimeError, AttributeError, NotImplementedError) as error:
                log.info("torch has no packed products here: %s", str(error).split("\n", 1)[0])
            else:
                if self._is_close(precision, expected):
                    return ", packed"
                undo()
        self._is_rounded = precision == "bfloat16"
        if self._is_rounded and not self._is_close(precision, expected):
            raise RagError(f"torch cannot run this model with {precision}; use the precision 'float32'")
        return ""

    def _is_close(self, precision: Precision, expected: NDArray[np.float32]) -> bool:
        try:
            return bool((self._forward(_PROBES) * expected).sum(axis=1).min() >= _LEAST_COSINE[precision])
        except Exception as error:
            # Whatever a model's code raises when its products are not torch's own.
            log.info("a model's products are left as they are: %s", str(error).split("\n", 1)[0])
            return False


def batches_of(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """The places of texts of so many tokens, by batches of like length, the longest first.

    A batch has at most `batch_tokens` tokens, padded ones included, and 64 texts; a text alone may have more.
    """
    order = sorted(range(len(lengths)), key=lambda place: lengths[place], reverse=True)
    batches: list[list[int]] = []
    start = 0
    while start < len(order):
        count = max(1, min(_MAX_BATCH_TEXTS, batch_tokens // max(1, lengths[order[start]])))
        batches.append(order[start : start + count])
        start += count
    return batches


def pack_linears(model: Any, precision: Precision) -> Callable[[], None]:
    """Replaces how every float32 torch.nn.Linear on the CPU multiplies, by oneDNN; the returned call takes it back.

    torch lays a weight out anew at every call, and its MKL uses half-width instructions on processors that are not
    Intel's. On one core of an AMD EPYC all-MiniLM-L6-v2 made 27.7 passages/s before and 64 after; the vectors are equal
    to 1e-7 (docs/experiments/embedding).

    With bfloat16 the factors are rounded to it; sums, and everything between the products, stay float32. The model can
    then only infer. Raises RuntimeError, AttributeError or NotImplementedError, the model as it was, where torch has
    not been built with oneDNN.
    """
    import torch

    dtype = getattr(torch, precision)
    packed = []
    with torch.inference_mode():
        for module in model.modules():
            # A subclass may do something else with its weight.
            if type(module) is torch.nn.Linear and module.weight.dtype == torch.float32:
                weight = torch.ops.mkldnn._reorder_linear_weight(module.weight.detach().to(dtype), None)
                bias = None if module.bias is None else module.bias.detach().to(dtype)
                packed.append((module, module.weight.data, partial(_multiply, dtype, weight, bias)))
    for module, weight, forward in packed:
        vars(module)["forward"] = forward
        # Right in shape and type for whoever asks, without the memory.
        module.weight.data = torch.zeros(1, dtype=weight.dtype).expand_as(weight)

    def undo() -> None:
        for module, weight, _ in packed:
            del module.forward
            module.weight.data = weight

    return undo


def _multiply(dtype: Any, weight: Any, bias: Any, inputs: Any) -> Any:
    import torch

    product = torch.ops.mkldnn._linear_pointwise(inputs.to(dtype), weight, bias, "none", [], "")
    return product.to(inputs.dtype)
