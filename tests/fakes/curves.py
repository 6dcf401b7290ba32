"""Learning curves whose scores are counted by hand: so many of the questions, the same first ones, are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eval.learning_curve import CurveSettings, MeasuredCurve
from eval.report.learning import CurveReport, Curves, report_curve

NUM_QUESTIONS = 40


def measured(
    right: Sequence[int] = (1, 4, 8, 14), rivals: Mapping[str, int] | None = None, **changes: Any
) -> MeasuredCurve:
    """`tuned` with 10, 20, 40 and 80 rows, 0.9 s of training a row, beside `base` with 0 and `rag` with 20 right."""
    sizes = tuple(10 * 2**place for place in range(len(right)))
    given = {
        "arm": "tuned",
        "metric": "token_f1",
        "sizes": sizes,
        "scores": tuple(map(_row, right)),
        "rivals": {
            name: _row(number) for name, number in ({"base": 0, "rag": 20} if rivals is None else rivals).items()
        },
        "clusters": tuple(f"d{place}" for place in range(NUM_QUESTIONS)),
        "training_s": tuple(0.9 * size for size in sizes),
    }
    return MeasuredCurve(**{**given, **changes})


def report(curve: MeasuredCurve | None = None, *, training_price: float = 0.0, **settings: Any) -> CurveReport:
    """The report of a curve."""
    return report_curve(curve or measured(), CurveSettings(**settings), training_price=training_price)


def curves(*reports: CurveReport, num_examples: int = 80, most: int = 1000, arm: str | None = "tuned") -> Curves:
    """What a card is given."""
    return Curves(reports, num_examples, most, arm)


def _row(right: int) -> tuple[float, ...]:
    return tuple(float(place < right) for place in range(NUM_QUESTIONS))
