"""An evaluation of retrieval in words: `print(to_text(report))`."""

from __future__ import annotations

from eval.retrieval.measures import MEASURES
from eval.retrieval.report import Comparison, RetrievalReport

_SHOWN = 5


def to_text(report: RetrievalReport) -> str:
    """The table, the verdicts and what was left out, for a terminal."""
    left_out = []
    if report.num_without_gold:
        left_out.append(f"{report.num_without_gold} without gold documents")
    if report.num_not_indexed:
        left_out.append(f"{report.num_not_indexed} about documents that the index does not hold")
    lines = [f"{len(report.question_ids)} questions with gold documents"]
    if left_out:
        lines[0] += f"; left out: {' and '.join(left_out)}"
    lines += ["", table(report), ""]
    lines += [f"{describe(comparison, report.measure)}." for comparison in report.comparisons]
    if len(report.comparisons) > 1:
        lines.append(f"(p corrected over {len(report.comparisons)} comparisons, intervals not)")
    lines.append(recommendation(report))
    if missed := report.never_found:
        shown = ", ".join(missed[:_SHOWN]) + (", ..." if len(missed) > _SHOWN else "")
        lines.append(f"{len(missed)} of {len(report.question_ids)} questions find no gold document in any way: {shown}")
    return "\n".join(lines)


def table(report: RetrievalReport) -> str:
    """One row a setting: every measure, the interval of the one that decides, and the median time of a search."""
    bounds = f"{report.measure} {1 - report.alpha:.0%}"
    head = ["", *MEASURES, bounds, "p50 ms"]
    rows = []
    for name, scores in report.scores.items():
        interval = report.intervals[name]
        shown = [f"{scores.mean(measure):.3f}" for measure in MEASURES]
        rows.append([name, *shown, f"{interval.low:.3f} to {interval.high:.3f}", f"{scores.p50_ms:.1f}"])
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in (head, *rows)
    ]
    return "\n".join(
        [*lines, f"(times without the query's embedding; a first search takes {report.first_p50_ms:.1f} ms)"]
    )


def describe(comparison: Comparison, measure: str) -> str:
    """The verdict of one comparison, without a full stop."""
    difference = comparison.difference
    bounds = f"[{difference.low:+.3f}, {difference.high:+.3f}]"
    against = f"{comparison.against}, {comparison.reason}"
    if comparison.verdict == "open":
        return (
            f"{comparison.setting}: no difference shown from {against}: {difference.mean:+.3f} {bounds} {measure}, "
            f"p {comparison.p_value:.2g}"
        )
    return (
        f"{comparison.setting}: {comparison.verdict} than {against}, by {abs(difference.mean):.3f} {bounds} {measure}, "
        f"p {comparison.p_value:.2g}"
    )


def recommendation(report: RetrievalReport) -> str:
    """What to search with, and why."""
    if report.recommended == report.default:
        return f"Recommended: {report.default}, as it is set; nothing is shown to be better here."
    return (
        f"Recommended: {report.recommended}, shown to be better than {report.default}. "
        "It was chosen by these questions, so others will show a little less."
    )
