"""Texts to batches of token ids, those of like length together: `Tokenizer(tokenizer, 256).batches(texts)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Padded tokens of a batch. all-MiniLM-L6-v2 on one thread, passages of 114 tokens: 4 texts a batch 64.5 passages/s,
# 8 64.1, 16 62.6 (docs/experiments/embedding): more than fits the cache only costs.
BATCH_TOKENS = 1024
_MAX_BATCH_TEXTS = 64

Inputs = Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Batch:
    """The texts at the positions `rows`, and their token ids, (n, t) int64 each."""

    rows: tuple[int, ...]
    texts: tuple[str, ...]
    inputs: Inputs

    @property
    def num_tokens(self) -> int:
        """Padded ones included: what the batch costs."""
        return int(self.inputs["input_ids"].size)


class Tokenizer:
    """A model's tokenizer in two copies that nobody reconfigures: one truncates to the model's window, one counts."""

    def __init__(self, tokenizer: Any, max_tokens: int | None) -> None:
        """`tokenizer` is one of transformers or of tokenizers, `max_tokens` its window with special tokens."""
        import tokenizers

        content = getattr(tokenizer, "backend_tokenizer", tokenizer).to_str()
        self._counter = tokenizers.Tokenizer.from_str(content)
        self._encoder = tokenizers.Tokenizer.from_str(content)
        for copy in (self._counter, self._encoder):
            copy.no_padding()
            copy.no_truncation()
        if max_tokens is not None:
            self._encoder.enable_truncation(max_tokens, direction=getattr(tokenizer, "truncation_side", "right"))
        self._pad_id = getattr(tokenizer, "pad_token_id", 0) or 0
        self._pads_left = getattr(tokenizer, "padding_side", "right") == "left"
        self._has_types = "token_type_ids" in getattr(tokenizer, "model_input_names", ())
        self.num_special: int = self._counter.num_special_tokens_to_add(is_pair=False)

    def spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """For each text the (start, end) characters of its tokens, without special tokens and without truncation."""
        encodings = self._counter.encode_batch(list(texts), add_special_tokens=False)
        return [list(encoding.offsets) for encoding in encodings]

    def batches(self, texts: Sequence[str], batch_tokens: int = BATCH_TOKENS) -> list[Batch]:
        """Batches of at most `batch_tokens` padded tokens, or of one text, that hold every text once."""
        ids = [encoding.ids for encoding in self._encoder.encode_batch_fast(list(texts))]
        order = sorted(range(len(ids)), key=lambda row: len(ids[row]), reverse=True)
        found: list[Batch] = []
        start = 0
        while start < len(order):
            longest = max(1, len(ids[order[start]]))
            rows = order[start : start + max(1, min(_MAX_BATCH_TEXTS, batch_tokens // longest))]
            inputs = self._padded([ids[row] for row in rows], longest)
            found.append(Batch(tuple(rows), tuple(texts[row] for row in rows), inputs))
            start += len(rows)
        return found

    def _padded(self, ids: Sequence[Sequence[int]], length: int) -> Inputs:
        tokens = np.full((len(ids), length), self._pad_id, dtype=np.int64)
        mask = np.zeros_like(tokens)
        for row, text_ids in enumerate(ids):
            place = slice(length - len(text_ids), length) if self._pads_left else slice(0, len(text_ids))
            tokens[row, place] = text_ids
            mask[row, place] = 1
        inputs = {"input_ids": tokens, "attention_mask": mask}
        if self._has_types:
            inputs["token_type_ids"] = np.zeros_like(tokens)
        return inputs
