"""Supervised fine-tuning: the completion is learned, the prompt is only read. `SUPERVISED.encode(tokenizer, row)`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from tuning.data.rows import TrainingRow
from tuning.errors import TuningError
from tuning.recipe import IGNORED, EncodedRow, Objective

if TYPE_CHECKING:
    import torch

# Two forward passes cost more than one: so many shared tokens make up for it.
WORTH_SHARING = 8
_MARK = "0f5e1c6b-answer"


def encode_completion(tokenizer: Any, row: TrainingRow) -> EncodedRow:
    """The row in the words of the chat template; `labels` are IGNORED on the prompt, whose tokens are those that an
    engine is sent.

    Raises TuningError when the template refuses the row, ends the answer without the token that ends a text, or begins
    with two that begin one: a model that never saw an end would not stop, and served prompts have one beginning.
    """
    from jinja2 import TemplateError

    prompt = [dict(message) for message in row.prompt]
    answer = {"role": "assistant", "content": row.completion}
    try:
        prompt_ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"]
        ids = tokenizer.apply_chat_template([*prompt, answer], return_dict=True)["input_ids"]
        if ids[: len(prompt_ids)] != prompt_ids:
            ids = prompt_ids + _completion_ids(tokenizer, prompt, answer)
    except TemplateError as error:
        roles = ", ".join(str(message["role"]) for message in prompt)
        raise TuningError(
            f"the base model's chat template refuses a conversation of {roles}, assistant: {error}; change the prompt"
        ) from error
    start = len(prompt_ids)
    end, first = tokenizer.eos_token_id, tokenizer.bos_token_id
    if end is not None and end not in ids[start:]:
        raise TuningError(
            f"the base model's chat template ends an answer without {tokenizer.eos_token!r}, so that a model trained "
            "with it would not stop; use a template that ends the assistant's message with it"
        )
    if first is not None and list(ids[:2]) == [first, first]:
        raise TuningError(
            f"the base model's chat template begins with {tokenizer.bos_token!r} twice, where served prompts have it "
            "once; take it out of the template"
        )
    return EncodedRow(tuple(ids), (IGNORED,) * start + tuple(ids[start:]))


def _completion_ids(tokenizer: Any, prompt: list[dict[str, Any]], answer: dict[str, Any]) -> list[int]:
    """The answer's own tokens, where those of the whole conversation do not begin with the prompt's: the last letters
    of the prompt make a token with the answer's first, or the template renders a prompt that is answered otherwise (one
    that is to be answered may end in an opened "<think>").
    """
    asked = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template([*prompt, answer], tokenize=False)
    if whole.startswith(asked):
        learned = whole[len(asked) :]
    else:
        # What stands after an answer is found after one that is like no part of a template.
        marked = tokenizer.apply_chat_template([*prompt, {**answer, "content": _MARK}], tokenize=False)
        _, mark, end = marked.rpartition(_MARK)
        tails = [f"{text}{end}" for text in (answer["content"], answer["content"].strip())]
        found = [tail for tail in tails if mark and whole.endswith(tail)]
        if not found:
            raise TuningError(
                f"the base model's chat template changes the answer {answer['content'][:40]!r}, and renders its prompt "
                "otherwise than one to be answered: what is trained would not be what is asked; use another template"
            )
        learned = found[0]
    # After a special token no space is put before the first word, as some tokenizers do at the start of a text.
    ids = tokenizer(f"{tokenizer.eos_token or ''}{learned}", add_special_tokens=False)["input_ids"]
    return list(ids[1:] if tokenizer.eos_token else ids)


def completion_logits(
    model: Any, inputs: dict[str, torch.Tensor], *, shares_prefix: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of the n tokens whose label is not IGNORED: logits (n, vocabulary), the tokens themselves (n,), and where they
    stand, as truth values (rows, kept positions).

    `inputs` holds input_ids, attention_mask and labels, each (rows, length) of integers. The model's head runs only on
    the positions that precede such a token in any of the rows: TRL does so where Triton runs, and elsewhere scores
    every position against the whole vocabulary, forward and backward. With `shares_prefix` the tokens with which all
    rows begin, most of all the instructions, are worked on once; their keys and values serve every row.
    """
    targets = inputs["labels"][:, 1:]
    is_scored = targets != IGNORED
    kept = is_scored.any(dim=0).nonzero().squeeze(-1)
    num_shared = _num_shared(inputs["input_ids"], int(kept[0])) if shares_prefix else 0
    past: dict[str, Any] = {"use_cache": False}
    if num_shared >= WORTH_SHARING:
        begun = model(input_ids=inputs["input_ids"][:1, :num_shared], use_cache=True, logits_to_keep=1)
        begun.past_key_values.batch_repeat_interleave(len(targets))
        past = {"past_key_values": begun.past_key_values, "use_cache": True}
    else:
        num_shared = 0
    logits = model(
        input_ids=inputs["input_ids"][:, num_shared:],
        attention_mask=inputs["attention_mask"],
        logits_to_keep=kept - num_shared,
        **past,
    ).logits
    is_scored = is_scored[:, kept]
    return logits[is_scored], targets[:, kept][is_scored], is_scored


def _num_shared(ids: torch.Tensor, most: int) -> int:
    """With how many tokens all of several rows begin, up to `most`."""
    if len(ids) == 1:
        return 0
    differs = (ids[:, :most] != ids[:1, :most]).any(dim=0).nonzero()
    return int(differs[0]) if len(differs) else most


def completion_loss(
    model: Any, inputs: dict[str, torch.Tensor], num_tokens: Any = None, *, shares_prefix: bool = False
) -> torch.Tensor:
    """Cross entropy summed over the tokens whose label is not IGNORED, divided by their number (or by `num_tokens`)."""
    from torch.nn.functional import cross_entropy

    logits, targets, _ = completion_logits(model, inputs, shares_prefix=shares_prefix)
    total = cross_entropy(logits.float(), targets, reduction="sum")
    mean: torch.Tensor = total / (len(targets) if num_tokens is None else num_tokens)
    return mean


SUPERVISED = Objective(
    name="supervised",
    encode=encode_completion,
    loss=completion_loss,
    shared_loss=partial(completion_loss, shares_prefix=True),
)
