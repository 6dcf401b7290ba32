"""KTO (Ethayarajh et al. 2024): learning from single answers, each of which is wanted or not.

A wanted answer shall be likelier than at the beginning, beside how far the model has moved on the whole. That is told
by answers to other prompts: beside each text stands its prompt with the answer to another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from storage.settings import Above0, settings
from tuning.data.rows import RatedRow, TrainingRow
from tuning.errors import TuningError
from tuning.objectives.objective import IGNORED, Batch, EncodedRow, Objective, Whole
from tuning.objectives.preference import PreferenceSettings, reference_rewards
from tuning.objectives.supervised import encode_completion
from tuning.objectives.texts import num_rows, text_of, token_log_probs

if TYPE_CHECKING:
    import torch

# Texts that are read at once without gradients.
_AT_ONCE = 4


@settings(TuningError)
class Kto(PreferenceSettings):
    """Wanted answers become likelier, and unwanted ones less likely, beside what they were at the beginning."""

    name: Literal["kto"] = "kto"
    beta: Above0 = 0.1
    """How much a departure from the beginning costs: lower departs further."""
    wanted_weight: Above0 = 1.0
    """The weight of a wanted answer's loss. With fewer of one kind the paper gives it the more weight, so that both
    weigh as much in all, or the wanted up to a third more."""
    unwanted_weight: Above0 = 1.0
    """The weight of an unwanted answer's loss."""
    rate_factor = 0.1


def _encode(tokenizer: Any, row: RatedRow) -> EncodedRow:
    encoded = encode_completion(tokenizer, TrainingRow(row.prompt, row.answer))
    return replace(encoded, is_wanted=row.is_wanted)


def _with_strangers(rows: Sequence[EncodedRow], max_length: int) -> list[EncodedRow]:
    """Beside each row its prompt with the answer of the nearest row before it that answers another prompt; before the
    first row stands the last. Raises TuningError where all rows have one prompt.
    """
    split, joined = [_split(row) for row in rows], []
    for place, (row, (prompt, _)) in enumerate(zip(rows, split, strict=True)):
        before = (split[place - back] for back in range(1, len(rows)))
        answer = next((answer for other, answer in before if other != prompt), None)
        if answer is None:
            raise TuningError(
                "kto needs answers to two prompts at least: how far the model has moved is told by answers to others; "
                "add rows, or take dpo with pairs"
            )
        labels = (IGNORED,) * len(prompt) + answer
        joined.append(replace(row, others=(EncodedRow((*prompt, *answer)[:max_length], labels[:max_length]),)))
    return joined


def _split(row: EncodedRow) -> tuple[tuple[int, ...], tuple[int, ...]]:
    start = next((place for place, label in enumerate(row.labels) if label != IGNORED), len(row.labels))
    return row.input_ids[:start], row.input_ids[start:]


def _rows_and_distance(model: Any, parts: Sequence[Batch], numbers: Any) -> dict[str, torch.Tensor]:
    """How many rows a step has, and how far the model has moved: the mean gain of answers to other prompts, 0 at least.

    It is taken over the whole step, and has no gradient (section 4.1 of the paper).
    """
    import torch

    was_training, gains = model.training, []
    model.eval()
    try:
        with torch.no_grad():
            for part in parts:
                for start in range(0, len(part["labels"]), _AT_ONCE):
                    some = {name: tensor[start : start + _AT_ONCE] for name, tensor in part.items()}
                    gains.append(token_log_probs(model, text_of(some, 1)).sum(1) - some["reference"][:, 1])
    finally:
        model.train(was_training)
    return {**num_rows(model, parts, numbers), "distance": torch.cat(gains).mean().clamp(min=0)}


def _loss(model: Any, part: Batch, whole: Whole, numbers: Kto) -> torch.Tensor:
    import torch

    gain = token_log_probs(model, text_of(part, 0)).sum(1) - part["reference"][:, 0]
    is_wanted, moved = part["is_wanted"], gain - whole["distance"]
    signed = torch.where(is_wanted, moved, -moved)
    weight = torch.where(is_wanted, numbers.wanted_weight, numbers.unwanted_weight)
    return (weight * (1 - torch.sigmoid(numbers.beta * signed))).sum() / whole["rows"]


KTO = Objective(
    name="kto",
    title="Kahneman-Tversky optimization: single answers, each wanted or not, beside a reference",
    paper="arxiv.org/abs/2402.01306",
    settings=Kto,
    row=RatedRow,
    encode=_encode,
    join=_with_strangers,
    loss=_loss,
    whole=_rows_and_distance,
    rewards=reference_rewards,
    has_reference=True,
)
