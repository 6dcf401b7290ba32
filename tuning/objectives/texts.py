"""Log-probabilities of labelled tokens and of whole texts: `sums, counts = text_log_probs(model, batch)`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tuning.objectives.objective import IGNORED, PADDED, Batch

if TYPE_CHECKING:
    import torch

# Two forward passes cost more than one: so many shared tokens make up for it.
WORTH_SHARING = 8


def completion_logits(
    model: Any, inputs: Batch, *, shares_prefix: bool = False
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


def token_log_probs(model: Any, inputs: Batch) -> torch.Tensor:
    """(rows, kept positions) of rows of one text: the log-probability of each labelled token, 0 where there is none."""
    import torch

    logits, targets, is_scored = completion_logits(model, inputs)
    found = -torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
    return torch.zeros(is_scored.shape, device=found.device).masked_scatter(is_scored, found)


def text_log_probs(model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows, texts) each: the log-probability of a text's labels together, and how many there are."""
    shape = batch["labels"].shape[:2]
    sums = token_log_probs(model, side_by_side(batch)).sum(1).view(shape)
    return sums, (batch["labels"][..., 1:] != IGNORED).sum(-1)


def side_by_side(batch: Batch) -> Batch:
    """Texts as rows: those of the first row, then those of the next."""
    return {name: batch[name].flatten(0, 1) for name in PADDED}


def text_of(batch: Batch, place: int) -> Batch:
    """The text at one place of every row, as rows of one text, the padding that they share cut off."""
    longest = int(batch["attention_mask"][:, place].sum(dim=1).max())
    return {name: batch[name][:, place, :longest] for name in PADDED}


def num_labels(_model: Any, parts: Sequence[Batch], _numbers: Any) -> dict[str, torch.Tensor]:
    """How many tokens a step learns."""
    import torch

    return {"tokens": torch.stack([(part["labels"][..., 1:] != IGNORED).sum() for part in parts]).sum()}


def num_rows(_model: Any, parts: Sequence[Batch], _numbers: Any) -> dict[str, torch.Tensor]:
    """How many rows a step has."""
    import torch

    return {"rows": torch.tensor(sum(len(part["labels"]) for part in parts))}
