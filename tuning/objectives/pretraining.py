"""Continued pretraining: documents are learned as they stand, token by token, without questions or a chat template.

windows = document_windows(texts, tokenizer, Pretraining(window=256))
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field

from storage.settings import NUMBER, Count, Share, settings
from tuning.data.rows import TextWindow
from tuning.errors import TuningError
from tuning.objectives.objective import IGNORED, EncodedRow, Objective, ObjectiveSettings
from tuning.objectives.supervised import mean_loss
from tuning.objectives.texts import num_labels


@settings(TuningError)
class Pretraining(ObjectiveSettings):
    """The text of the documents is learned; a row is a window of their tokens."""

    name: Literal["pretraining"] = "pretraining"
    window: Annotated[int, Field(ge=8), NUMBER] = 256
    """Tokens of a window; the last one of a document may have fewer."""
    overlap: Count = 32
    """With how many tokens of the window before a window begins; they are read and not learned again."""
    held_out: Share = 0.05
    """The share of the documents that are not learned, where the training is looked at: by how likely their tokens
    are."""
    rate_factor = 0.5

    def __post_init__(self) -> None:
        if self.overlap >= self.window:
            raise ValueError(f"overlap ({self.overlap}) must be below window ({self.window})")


def document_windows(texts: Iterable[str], tokenizer: Any, numbers: Pretraining) -> list[TextWindow]:
    """The windows of each text in turn; every token but a text's first is learned in exactly one of them. The token
    that ends a text comes after the last.
    """
    end, step, windows = tokenizer.eos_token_id, numbers.window - numbers.overlap, []
    for text in texts:
        ids = (*tokenizer(text)["input_ids"], *([end] if end is not None else []))
        learned = 1
        for start in range(0, len(ids), step):
            window = ids[start : start + numbers.window]
            if start + len(window) > learned:
                windows.append(TextWindow(window, learned - start))
                learned = start + len(window)
    return windows


def _encode(_tokenizer: Any, row: TextWindow) -> EncodedRow:
    return EncodedRow(row.ids, (IGNORED,) * row.num_read + row.ids[row.num_read :])


_BEFORE_TEXT = "what it trains is put before every text, and holds none; take a LoRA"

PRETRAINING = Objective(
    name="pretraining",
    title="continued pretraining: the documents themselves are learned",
    paper="arxiv.org/abs/2004.10964",
    settings=Pretraining,
    row=TextWindow,
    encode=_encode,
    loss=mean_loss,
    whole=num_labels,
    is_trl_s=True,
    unfit=dict.fromkeys(("prompt", "p_tuning", "prefix"), _BEFORE_TEXT),
)
