"""Which part of a data folder a training learns: `learned_part(recipe)`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from tuning.data.rows import PairRow, RatedRow, TextWindow, TrainingRow
from tuning.objectives.registry import OBJECTIVES
from tuning.recipe import Recipe

LearnedPart = Literal["documents", "examples", "pairs", "rated"]

PARTS: Mapping[LearnedPart, str] = {
    "documents": "documents (docs.jsonl, docs/ or docs.zip)",
    "examples": "training rows (train.jsonl)",
    "pairs": "preference pairs (pairs.jsonl or train.jsonl, with chosen and rejected)",
    "rated": "answers that are rated (pairs.jsonl or train.jsonl, with label true or false, or pairs)",
}
"""What each is, for a person."""

_BY_ROW: Mapping[type, LearnedPart] = {
    TrainingRow: "examples",
    PairRow: "pairs",
    RatedRow: "rated",
    TextWindow: "documents",
}


def learned_part(recipe: Recipe) -> LearnedPart:
    """The part that the objective of a recipe learns."""
    return _BY_ROW[OBJECTIVES[recipe.objective.name].row]
