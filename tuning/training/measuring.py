"""How right a model's answers are to rows that it was not trained on: `measure(model, tokenizer, rows)`.

Short answers need one forward pass: greedy decoding gives exactly the completion if and only if each of its tokens is
the likeliest after those before it. Longer ones are generated, and scored by the metric that decides.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tuning.objectives.objective import IGNORED, Batch, EncodedRow, Objective
from tuning.objectives.texts import completion_logits
from tuning.recipe import CheckRows

# The longest answers that are compared token by token; a longer one is seldom given in the very words of the gold.
_SHORT = 16
_ROWS = 8


@dataclass(frozen=True, slots=True)
class Measure:
    """Check rows as token ids, ready to be asked of a model again and again: `score, loss = measure(model)`."""

    encoded: Sequence[EncodedRow]
    tokenizer: Any
    score: Callable[[Sequence[str]], Sequence[float]] | None

    def __call__(self, model: Any) -> tuple[float, float]:
        """The mean score, 0 to 1, and the mean loss of a completion's token. The model is left as it was found."""
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad():
                is_right, loss = _right_and_loss(model, self.encoded, self.tokenizer)
                scores = is_right if self.score is None else self.score(generate(model, self.encoded, self.tokenizer))
        finally:
            model.train(was_training)
        return statistics.fmean(scores), loss


def make_measure(rows: CheckRows, tokenizer: Any, objective: Objective) -> Measure:
    """A measure of rows; whether answers are generated follows from their median length."""
    encoded = [objective.encode(tokenizer, row) for row in rows.rows]
    is_short = statistics.median(len(answer_of(row, tokenizer)) for row in encoded) <= _SHORT
    return Measure(encoded, tokenizer, None if is_short else rows.score)


def _right_and_loss(model: Any, rows: Sequence[EncodedRow], tokenizer: Any) -> tuple[list[float], float]:
    right, total, count = [0.0] * len(rows), 0.0, 0
    by_length = sorted(range(len(rows)), key=lambda place: rows[place].num_tokens)
    for start in range(0, len(rows), _ROWS):
        places = by_length[start : start + _ROWS]
        inputs = padded([rows[place] for place in places], tokenizer.pad_token_id or 0, model.device)
        logits, targets, is_scored = completion_logits(model, inputs)
        total += float(torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum"))
        count += len(targets)
        is_hit, ids = torch.ones_like(is_scored), torch.zeros_like(is_scored, dtype=targets.dtype)
        is_hit[is_scored], ids[is_scored] = logits.argmax(-1) == targets, targets
        # What a template writes after the token that ends an answer is never generated.
        is_end = is_scored & (ids == tokenizer.eos_token_id)
        is_hit |= (is_end.cumsum(1) - is_end.long()) > 0
        for place, is_all in zip(places, is_hit.all(1).tolist(), strict=True):
            right[place] = float(is_all)
    return right, total / max(count, 1)


def generate(model: Any, rows: Sequence[EncodedRow], tokenizer: Any) -> list[str]:
    """Greedy answers, of at most twice as many tokens as the longest completion has."""
    most = 2 * max(len(answer_of(row, tokenizer)) for row in rows)
    prompts = [[one for one, label in zip(row.input_ids, row.labels, strict=True) if label == IGNORED] for row in rows]
    padding, answers = tokenizer.pad_token_id or 0, [""] * len(rows)
    by_length = sorted(range(len(rows)), key=lambda place: len(prompts[place]))
    for start in range(0, len(rows), _ROWS):
        places = by_length[start : start + _ROWS]
        width = max(len(prompts[place]) for place in places)
        ids = torch.tensor([[padding] * (width - len(prompts[place])) + prompts[place] for place in places])
        mask = torch.tensor([[0] * (width - len(prompts[place])) + [1] * len(prompts[place]) for place in places])
        made = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=most,
            do_sample=False,
            use_cache=True,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=padding,
        )
        texts = tokenizer.batch_decode(made[:, width:], skip_special_tokens=True)
        for place, text in zip(places, texts, strict=True):
            answers[place] = text.strip()
    return answers


def answer_of(row: EncodedRow, tokenizer: Any) -> list[int]:
    """The ids of what is learned, up to the token that ends it."""
    ids = [label for label in row.labels if label != IGNORED]
    return ids[: ids.index(tokenizer.eos_token_id)] if tokenizer.eos_token_id in ids else ids


def padded(rows: Sequence[EncodedRow], padding: int, device: Any) -> Batch:
    """Rows as the tensors of a batch, on a device."""
    pad = torch.nn.utils.rnn.pad_sequence
    texts, num_texts = [text for row in rows for text in row.texts], len(rows[0].texts)
    ids = [torch.tensor(text.input_ids) for text in texts]
    labels = [torch.tensor(text.labels) for text in texts]
    batch = {
        "input_ids": pad(ids, batch_first=True, padding_value=padding),
        "attention_mask": pad([torch.ones_like(one) for one in ids], batch_first=True),
        "labels": pad(labels, batch_first=True, padding_value=IGNORED),
    }
    if num_texts > 1:
        batch = {name: tensor.view(len(rows), num_texts, -1) for name, tensor in batch.items()}
        batch["reference"] = torch.tensor([row.reference or (0.0,) * num_texts for row in rows])
        batch["is_wanted"] = torch.tensor([row.is_wanted for row in rows])
    return {name: tensor.to(device) for name, tensor in batch.items()}
