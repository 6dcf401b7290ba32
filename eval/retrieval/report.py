"""What an evaluation of retrieval found, as a value, as JSON and in words.

Hit@5 is 1 where a gold document is among the first 5. Recall@k is the share of a question's gold documents among the
first k, MRR@10 one over the rank of the first gold document (0 below rank 10). nDCG@10 counts every gold document alike
with a log2 discount (Järvelin and Kekäläinen 2002). All lie in [0, 1].

report.scores["hybrid minmax"].mean("recall@5")
report.to_dict()
print(to_text(report))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from rag.search.settings import SearchSettings
from router.deciding.statistics import Difference, Interval

# What the statistics take, too.
ALPHA = 0.05
Verdict = Literal["better", "worse", "open"]
Measure = Literal["hit@5", "recall@1", "recall@3", "recall@5", "recall@10", "mrr@10", "ndcg@10"]
MEASURES: tuple[Measure, ...] = get_args(Measure)

_SHOWN = 5


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
        return sum(self.values[measure]) / len(self.values[measure])


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
            **asdict(self),
            "num_questions": len(self.question_ids),
            "alpha": ALPHA,
            "means": {name: {measure: way.mean(measure) for measure in MEASURES} for name, way in self.scores.items()},
            "never_found": self.never_found,
        }


def to_text(report: RetrievalReport) -> str:
    """The table, the verdicts and what was left out, for a terminal."""
    counts = {
        "without gold documents": report.num_without_gold,
        "about documents that the index does not hold": report.num_not_indexed,
    }
    left_out = " and ".join(f"{count} {what}" for what, count in counts.items() if count)
    head = f"{len(report.question_ids)} questions with gold documents{left_out and f'; left out: {left_out}'}"
    lines = [head, "", *_table(report), ""]
    lines += [f"{_described(comparison, report.measure)}." for comparison in report.comparisons]
    if len(report.comparisons) > 1:
        lines.append(f"(p corrected over {len(report.comparisons)} comparisons, intervals not)")
    if report.recommended == report.default:
        lines.append(f"Recommended: {report.default}, as it is set; nothing is shown to be better here.")
    else:
        lines.append(
            f"Recommended: {report.recommended}, shown to be better than {report.default}. "
            "It was chosen by these questions, so others will show a little less."
        )
    if missed := report.never_found:
        shown = ", ".join(missed[:_SHOWN]) + (", ..." if len(missed) > _SHOWN else "")
        lines.append(f"{len(missed)} of {len(report.question_ids)} questions find no gold document in any way: {shown}")
    return "\n".join(lines)


def _table(report: RetrievalReport) -> list[str]:
    """One row a setting: every measure, the interval of the one that decides, and the median time of a search."""
    rows = [["", *MEASURES, f"{report.measure} {1 - ALPHA:.0%}", "p50 ms"]]
    for name, scores in report.scores.items():
        interval = report.intervals[name]
        means = [f"{scores.mean(measure):.3f}" for measure in MEASURES]
        rows.append([name, *means, f"{interval.low:.3f} to {interval.high:.3f}", f"{scores.p50_ms:.1f}"])
    first, *others = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        *("  ".join([row[0].ljust(first), *map(str.rjust, row[1:], others)]) for row in rows),
        f"(times without the query's embedding; a first search takes {report.first_p50_ms:.1f} ms)",
    ]


def _described(comparison: Comparison, measure: str) -> str:
    """The verdict of one comparison, without a full stop."""
    difference, against = comparison.difference, f"{comparison.against}, {comparison.reason}"
    if comparison.verdict == "open":
        found = f"no difference shown from {against}: {difference.mean:+.3f}"
    else:
        found = f"{comparison.verdict} than {against}, by {abs(difference.mean):.3f}"
    bounds = f"[{difference.low:+.3f}, {difference.high:+.3f}]"
    return f"{comparison.setting}: {found} {bounds} {measure}, p {comparison.p_value:.2g}"
