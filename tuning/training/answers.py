"""Answers as a model draws them: `with drawing(model, precision, seed=0, step=7): draw_answers(model, prompts, ...)`.

What is drawn at a step follows from the weights, the seed and the step alone, so that a resumed training draws the
same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from storage.hashes import content_hash
from tuning.objectives.objective import IGNORED, Batch, EncodedRow
from tuning.training.loading import Precision

# Answers that are drawn at once.
_AT_ONCE = 32


@contextlib.contextmanager
def drawing(model: Any, precision: Precision, *, seed: int, step: int) -> Iterator[None]:
    """The model as it draws at a step, without gradients, while the block lasts."""
    was_training = model.training
    model.eval()
    cuda = [model.device] if model.device.type == "cuda" else []
    is_bf16 = precision == "bf16"
    try:
        with (
            torch.no_grad(),
            torch.random.fork_rng(devices=cuda),
            torch.autocast(model.device.type, torch.bfloat16, enabled=is_bf16),
        ):
            torch.manual_seed(int(content_hash("draw", str(seed), str(step))[:15], 16))
            yield
    finally:
        model.train(was_training)


def draw_answers(
    model: Any, prompts: Sequence[list[int]], tokenizer: Any, *, samples: int, temperature: float, most_tokens: int
) -> list[EncodedRow]:
    """`samples` answers to each prompt, each together with it; those to one prompt follow each other."""
    at_once = prompts_at_once(samples)
    parts = (prompts[start : start + at_once] for start in range(0, len(prompts), at_once))
    return [
        answer
        for part in parts
        for answer in _drawn(model, part, tokenizer, samples=samples, temperature=temperature, most_tokens=most_tokens)
    ]


def prompts_at_once(samples: int) -> int:
    """To how many prompts answers are drawn together."""
    return max(_AT_ONCE // samples, 1)


def prompts_of(batch: Batch) -> list[list[int]]:
    """The tokens of each row before those that are learned."""
    firsts = (batch["labels"] != IGNORED).long().argmax(1).tolist()
    return [ids[:first].tolist() for ids, first in zip(batch["input_ids"], firsts, strict=True)]


def _drawn(
    model: Any, prompts: Sequence[list[int]], tokenizer: Any, *, samples: int, temperature: float, most_tokens: int
) -> Iterator[EncodedRow]:
    width, end = max(map(len, prompts)), tokenizer.eos_token_id
    padding, device = tokenizer.pad_token_id or 0, model.device
    ids = torch.tensor([[padding] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    made = model.generate(
        input_ids=ids.to(device).repeat_interleave(samples, dim=0),
        attention_mask=mask.to(device).repeat_interleave(samples, dim=0),
        max_new_tokens=most_tokens,
        do_sample=True,
        temperature=temperature,
        top_k=0,
        top_p=1.0,
        repetition_penalty=1.0,
        use_cache=True,
        eos_token_id=end,
        pad_token_id=padding,
    )
    for place, answer in enumerate(made[:, width:].tolist()):
        said = answer[: answer.index(end) + 1] if end in answer else answer
        prompt = prompts[place // samples]
        labels = (*[IGNORED] * len(prompt), *said)
        yield EncodedRow((*prompt, *said), labels)
