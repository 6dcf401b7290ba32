"""Which rows a training could not learn, and why: `unfit_rows(base.path, rows, SUPERVISED, max_length=1024)`."""

from __future__ import annotations

from collections.abc import Sequence

from tuning.data.rows import Row
from tuning.errors import TuningError
from tuning.objectives.objective import Objective


def unfit_rows(base_path: str, rows: Sequence[Row], objective: Objective, *, max_length: int) -> dict[int, str]:
    """What is wrong with a row, by its place: the chat template refuses it, or it has more than `max_length` tokens.

    Raises TuningError for a base model without a tokenizer.
    """
    from transformers import AutoTokenizer

    from tuning.training.libraries import quiet
    from tuning.training.loading import load_pretrained

    found = {}
    with quiet():
        tokenizer = load_pretrained(AutoTokenizer, base_path)
        for place, row in enumerate(rows):
            try:
                num_tokens = objective.encode(tokenizer, row).length
            except TuningError as error:
                found[place] = str(error)
            else:
                if num_tokens > max_length:
                    found[place] = f"it has {num_tokens} tokens, and max_length is {max_length}"
    return found
