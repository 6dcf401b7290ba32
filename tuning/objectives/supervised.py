"""Supervised fine-tuning: the completion is learned, the prompt is only read. `SUPERVISED.encode(tokenizer, row)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from storage.settings import settings
from tuning.data.rows import TrainingRow
from tuning.errors import TuningError
from tuning.objectives.objective import IGNORED, Batch, EncodedRow, Objective, ObjectiveSettings, Whole
from tuning.objectives.texts import completion_logits, num_labels

if TYPE_CHECKING:
    import torch

_MARK = "0f5e1c6b-answer"


@settings(TuningError)
class Supervised(ObjectiveSettings):
    """The completion is learned, and the prompt is only read."""

    name: Literal["supervised"] = "supervised"


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


def completion_loss(model: Any, inputs: Batch, num_tokens: Any = None, *, shares_prefix: bool = False) -> torch.Tensor:
    """Cross entropy summed over the tokens whose label is not IGNORED, divided by their number (or by `num_tokens`)."""
    from torch.nn.functional import cross_entropy

    logits, targets, _ = completion_logits(model, inputs, shares_prefix=shares_prefix)
    total = cross_entropy(logits.float(), targets, reduction="sum")
    mean: torch.Tensor = total / (len(targets) if num_tokens is None else num_tokens)
    return mean


def mean_loss(model: Any, part: Batch, whole: Whole, _numbers: Any) -> torch.Tensor:
    """What a part adds to the mean loss of a step's labels."""
    return completion_loss(model, part, whole["tokens"])


def _shared_loss(model: Any, part: Batch, whole: Whole, _numbers: Any) -> torch.Tensor:
    return completion_loss(model, part, whole["tokens"], shares_prefix=True)


SUPERVISED = Objective(
    name="supervised",
    title="supervised fine-tuning: an answer to each question is learned",
    paper="arxiv.org/abs/2109.01652",
    settings=Supervised,
    row=TrainingRow,
    encode=encode_completion,
    loss=mean_loss,
    whole=num_labels,
    shared_loss=_shared_loss,
    is_trl_s=True,
)
