"""What an evaluation of retrieval found: `report.scores["hybrid minmax"].mean("recall@5")`, `report.to_dict()`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from eval.retrieval.measures import Measure
from rag.search.settings import SearchSettings
from router.deciding.statistics import Difference, Interval

Verdict = Literal["better", "worse", "open"]


@dataclass(frozen=True, slots=True)
class SettingScores:
    """One way to search: every measure of every question, and the documents found, best first.

    `p50_ms` is the median time of a search, the query's embedding aside.
    """

    settings: SearchSettings
    values: Mapping[Measure, tuple[float, ...]]
    rankings: tuple[tuple[str, ...], ...]
    p50_ms: float

    def mean(self, measure: Measure) -> float:
        """Mean over all questions."""
        values = self.values[measure]
        return sum(values) / len(values)


@dataclass(frozen=True, slots=True)
class Comparison:
    """`setting` minus `against` on the report's measure; `reason` says why these two are compared.

    `p_value` is corrected over all comparisons of the report (Holm); the verdict is open while no difference is shown.
    """

    setting: str
    against: str
    reason: str
    difference: Difference
    p_value: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class RetrievalReport:
    """Several ways to search, measured on the same questions.

    `question_ids` are those with gold documents in the index; `num_without_gold` have none, `num_not_indexed` only such
    as the index does not hold, and both are left out. `intervals` are of `measure`, by setting. `recommended` is
    `default` unless another setting is shown to be better.
    """

    question_ids: tuple[str, ...]
    num_without_gold: int
    num_not_indexed: int
    measure: Measure
    alpha: float
    scores: Mapping[str, SettingScores]
    intervals: Mapping[str, Interval]
    comparisons: tuple[Comparison, ...]
    default: str
    recommended: str
    first_p50_ms: float
    """Median of a question's first search, which embeds the query."""

    @property
    def never_found(self) -> tuple[str, ...]:
        """Questions whose gold documents no setting finds among the first ten."""
        found = [scores.values["recall@10"] for scores in self.scores.values()]
        return tuple(name for i, name in enumerate(self.question_ids) if not any(values[i] for values in found))

    def to_dict(self) -> dict[str, object]:
        """JSON-ready, every question with its scores."""
        return {
            "num_questions": len(self.question_ids),
            "num_without_gold": self.num_without_gold,
            "num_not_indexed": self.num_not_indexed,
            "measure": self.measure,
            "alpha": self.alpha,
            "default": self.default,
            "recommended": self.recommended,
            "first_p50_ms": self.first_p50_ms,
            "settings": {
                name: {
                    "settings": asdict(scores.settings),
                    "means": {measure: scores.mean(measure) for measure in scores.values},
                    "interval": asdict(self.intervals[name]),
                    "p50_ms": scores.p50_ms,
                }
                for name, scores in self.scores.items()
            },
            "comparisons": [asdict(comparison) for comparison in self.comparisons],
            "never_found": list(self.never_found),
            "questions": [
                {
                    "id": name,
                    "settings": {
                        setting: {
                            **{measure: values[i] for measure, values in scores.values.items()},
                            "documents": list(scores.rankings[i]),
                        }
                        for setting, scores in self.scores.items()
                    },
                }
                for i, name in enumerate(self.question_ids)
            ],
        }
