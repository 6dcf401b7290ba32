"""What a model gives texts, as log-probabilities of their labels: `sums_of(model, texts, padding)`.

`Beginning` is the model that a training begins with: it reads what is compared with it once, before the first step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tuning.objectives.objective import EncodedRow
from tuning.objectives.texts import token_log_probs
from tuning.training.forecast import SHORT_AND_LONG, total_seconds
from tuning.training.loading import Precision, device
from tuning.training.measuring import padded

_ROWS = 8


def sums_of(model: Any, texts: Sequence[EncodedRow], padding: int) -> list[float]:
    """The log-probability of each text's labels together. The model is left as it was found."""
    sums = [0.0] * len(texts)
    for places, found in _read(model, texts, _batches(texts), padding):
        for place, total in zip(places, found, strict=True):
            sums[place] = total
    return sums


@dataclass(kw_only=True, eq=False)
class Beginning:
    """What the model that a training begins with gives texts, `sums` once it has read them.

    It is kept in the file `path`, so that a training that was stopped goes on with the same numbers; `packages` are the
    installed versions. `told(done, total)` is called on the way, in texts. With `only_foretells` a few are read, and
    `left_s` is how long the rest would take.
    """

    texts: Sequence[EncodedRow]
    path: Path
    precision: Precision
    packages: Mapping[str, str]
    padding: int
    told: Callable[[int, int], None]
    save_every_s: float
    only_foretells: bool
    sums: list[float] = field(default_factory=list)
    left_s: float = 0.0

    def read(self, model: Any) -> None:
        """Let the model read the texts, from where an earlier reading was stopped."""
        batches = _batches(self.texts)
        sums, done = self._kept()
        if done < len(batches):
            if model.device.type != device():
                model.to(device())
            with torch.autocast(device(), torch.bfloat16, enabled=self.precision == "bf16"):
                if self.only_foretells:
                    self.left_s = self._seconds(model, batches[done:])
                else:
                    self._read(model, batches, sums, done)
        self.sums = sums.tolist()

    def _read(self, model: Any, batches: Sequence[list[int]], sums: torch.Tensor, done: int) -> None:
        saved = time.monotonic()
        for batch, found in _read(model, self.texts, batches[done:], self.padding):
            sums[batch] = torch.tensor(found)
            done += 1
            if done == len(batches) or time.monotonic() - saved >= self.save_every_s:
                self._keep(sums, done)
                saved = time.monotonic()
            self.told(min(done * _ROWS, len(self.texts)), len(self.texts))

    def _seconds(self, model: Any, batches: Sequence[list[int]]) -> float:
        """How long reading these batches will take, from two that are read and forgotten."""
        sizes, points = [_size(self.texts, batch) for batch in batches], []
        for share in SHORT_AND_LONG:
            place = round(share * (len(batches) - 1))
            began = time.perf_counter()
            list(_read(model, self.texts, [batches[place]], self.padding))
            points.append((sizes[place], time.perf_counter() - began))
        return total_seconds(points, sizes)

    def _kept(self) -> tuple[torch.Tensor, int]:
        """What was read so far, and how many batches of it."""
        if self.path.exists():
            kept = torch.load(self.path)
            if kept["made_by"] == self._made_by and len(kept["sums"]) == len(self.texts):
                return kept["sums"], kept["done"]
        return torch.zeros(len(self.texts)), 0

    def _keep(self, sums: torch.Tensor, done: int) -> None:
        draft = self.path.with_suffix(".draft")
        torch.save({"made_by": self._made_by, "sums": sums, "done": done}, draft)
        draft.replace(self.path)

    @property
    def _made_by(self) -> dict[str, str]:
        return {**self.packages, "precision": self.precision}


def _batches(texts: Sequence[EncodedRow]) -> list[list[int]]:
    """Places of texts that are read together, of similar length."""
    by_length = sorted(range(len(texts)), key=lambda place: len(texts[place].input_ids))
    return [by_length[start : start + _ROWS] for start in range(0, len(texts), _ROWS)]


def _size(texts: Sequence[EncodedRow], batch: Sequence[int]) -> int:
    """Tokens with the padding."""
    return len(batch) * max(len(texts[place].input_ids) for place in batch)


def _read(
    model: Any, texts: Sequence[EncodedRow], batches: Sequence[list[int]], padding: int
) -> Iterator[tuple[list[int], list[float]]]:
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for batch in batches:
                inputs = padded([texts[place] for place in batch], padding, model.device)
                yield batch, token_log_probs(model, inputs).sum(1).tolist()
    finally:
        model.train(was_training)
