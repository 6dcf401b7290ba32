"""The scorecard and its decision for people and machines: table rows, Markdown, JSON and one self-contained HTML page.

page = to_html(scorecard, decision, policy, questions, records, title="Library", command="arbiter run demo.yaml")
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import TypedDict

from eval.answers import AnswerRecord
from eval.attribution import CAUSES, MEANING, NEXT_ACTION, RIGHT_AT, attribute
from eval.disagreements import pick_disagreements
from eval.questions import Question
from router.recommend import Decision, Policy
from router.scorecard import ArmScores, Scorecard
from router.statistics import detectable_difference, mean_interval

STANDING = {"beaten": "significantly worse", "equivalent": "equivalent", "open": "not settled"}
_SHOWN_KINDS = 12


class Bounds(TypedDict):
    """A mean with its 95% interval, on the metric's own scale."""

    mean: float
    low: float
    high: float


class Row(TypedDict):
    """One arm of the side-by-side table.

    `metrics` holds every metric that has a value; `primary` repeats that of the primary metric. Tokens are means of an
    answered question, `latency_ms` is the median, `num_right` and `num_unscored` count by the primary metric, and
    `excluded` says which limit of the policy the arm broke.
    """

    arm: str
    kind: str
    is_chosen: bool
    primary: Bounds | None
    metrics: dict[str, Bounds]
    num_questions: int
    num_right: int
    num_unscored: int
    num_errors: int
    latency_ms: float | None
    prompt_tokens: float
    generated_tokens: float
    cost_per_1k: float
    excluded: str | None


def side_by_side(scorecard: Scorecard, decision: Decision, policy: Policy) -> list[Row]:
    """A row per arm, the best by the primary metric first."""
    rows = [_row(scorecard, scores, decision, policy) for scores in scorecard.arms]
    return sorted(rows, key=lambda row: (row["primary"] is None, -(row["primary"] or {"mean": 0.0})["mean"]))


def headline(scorecard: Scorecard, decision: Decision, policy: Policy) -> str:
    """The decision in one sentence: arm, verdict, confidence and lead."""
    mean = _metrics(scorecard, scorecard.by_name(decision.arm))[scorecard.primary]["mean"]
    scored = f"{mean:.2f} {scorecard.primary} on {len(scorecard.question_ids)} questions"
    if decision.runner_up is None:
        return f"Serve {decision.arm}: {scored}; there was no other arm to compare it with."
    side = "ahead of" if decision.margin >= 0 else "behind"
    lead = f"{abs(decision.margin):.2f} {side} {decision.runner_up}"
    sure = f"{as_percent(decision.confidence)} confidence"
    if decision.verdict == "winner":
        return f"Serve {decision.arm}, the winner: {scored}, {lead}, with {sure}."
    if decision.verdict == "tie":
        tied = f"a tie within {policy.margin:g} in which it costs least"
        return f"Serve {decision.arm}, {tied}: {scored}, {lead}, with {sure}."
    return (
        f"Serve {decision.arm} for now, undecided: {scored}, {lead}; about {decision.more_questions:,} more questions "
        f"would settle it ({sure} that no arm is better by more than {policy.margin:g})."
    )


def to_json(run_dir: str, scorecard: Scorecard, decision: Decision) -> dict[str, object]:
    """What `--json` prints: `tokens` is the total, `latency_ms` the median or null; unscored metrics are left out."""
    return {
        "run": run_dir,
        "arms": [
            {
                "name": scores.arm.name,
                "kind": scores.arm.kind,
                "num_questions": len(scorecard.question_ids),
                "num_unscored": scores.num_unscored(scorecard.primary),
                "metrics": _metrics(scorecard, scores),
                "latency_ms": scores.median_latency_ms(),
                "tokens": scores.total_tokens(),
            }
            for scores in scorecard.arms
        ],
        "decision": {
            "arm": decision.arm,
            "verdict": decision.verdict,
            "confidence": decision.confidence,
            "margin": decision.margin,
            "runner_up": decision.runner_up,
            "reason": decision.reason,
        },
    }


def to_markdown(scorecard: Scorecard, decision: Decision, policy: Policy) -> str:
    """The decision, the side-by-side tables and the comparisons, with padded columns for reading in a terminal."""
    rows = side_by_side(scorecard, decision, policy)
    rest = [name for name in scorecard.metrics if any(name in row["metrics"] for row in rows)][1:]
    parts = [
        headline(scorecard, decision, policy),
        _table(
            (
                "arm",
                "kind",
                scorecard.primary,
                "95% interval",
                "unscored",
                "latency ms",
                "tokens in + out",
                "cost per 1k",
            ),
            [
                (
                    ("*" if row["is_chosen"] else "") + row["arm"],
                    row["kind"],
                    f"{row['primary']['mean']:.2f}" if row["primary"] else "–",
                    f"{row['primary']['low']:.2f} to {row['primary']['high']:.2f}" if row["primary"] else "–",
                    str(row["num_unscored"]),
                    f"{row['latency_ms']:.0f}" if row["latency_ms"] is not None else "–",
                    f"{row['prompt_tokens']:.0f} + {row['generated_tokens']:.0f}",
                    f"{row['cost_per_1k']:.3g}",
                )
                for row in rows
            ],
        ),
        _table(
            ("arm", *rest),
            [
                (row["arm"], *(f"{row['metrics'][m]['mean']:.2f}" if m in row["metrics"] else "–" for m in rest))
                for row in rows
            ],
        )
        if rest
        else "",
        _table(
            (f"{leader_of(scorecard, decision)} minus", "difference", "95% interval", "p (Holm)", "test", "standing"),
            [
                (
                    c.other,
                    f"{c.difference.mean:+.2f}",
                    f"{c.difference.low:+.2f} to {c.difference.high:+.2f}",
                    f"{c.p_holm:.2g}",
                    c.difference.test,
                    STANDING[c.standing],
                )
                for c in decision.comparisons
            ],
        )
        if decision.comparisons
        else "",
        f"Why: {decision.reason}",
        "\n".join(f"- {line}" for line in scorecard.diagnostics),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def to_html(
    scorecard: Scorecard,
    decision: Decision,
    policy: Policy,
    questions: Sequence[Question],
    records: Sequence[AnswerRecord],
    *,
    title: str,
    command: str,
) -> str:
    """The whole report as one page without scripts or external requests; every text of the data is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": as_percent, "duration": _duration, "shorten": _shorten, "plain": _plain}
    template = environment.from_string(resources.files("eval").joinpath("report.html.j2").read_text(encoding="utf-8"))
    rows = side_by_side(scorecard, decision, policy)
    attributions = attribute(scorecard, questions, records)
    num_questions = len(scorecard.question_ids)
    return template.render(
        title=title,
        command=command,
        scorecard=scorecard,
        decision=decision,
        policy=policy,
        headline=headline(scorecard, decision, policy),
        rows=rows,
        chosen=next(row for row in rows if row["is_chosen"]),
        leader=leader_of(scorecard, decision),
        standing=STANDING,
        plots=_plots(rows, scorecard, decision, policy),
        kinds=_by_kind(scorecard, questions),
        attributions=attributions,
        chosen_attribution=next((a for a in attributions if a.arm == decision.arm), None),
        causes=CAUSES,
        meaning=MEANING,
        next_action=NEXT_ACTION,
        right_at=RIGHT_AT,
        disagreements=pick_disagreements(scorecard, questions, records, chosen=decision.arm),
        detectable=detectable_difference(num_questions),
        num_questions=num_questions,
        num_clusters=len(set(scorecard.clusters)),
    )


def leader_of(scorecard: Scorecard, decision: Decision) -> str:
    """The arm that the comparisons are against; in a tie the chosen arm may be a cheaper one."""
    others = {comparison.other for comparison in decision.comparisons} | set(decision.excluded)
    return next((s.arm.name for s in scorecard.arms if s.arm.name not in others), decision.arm)


def as_percent(share: float) -> str:
    """A probability from resampling in whole percents, which never claims certainty."""
    if share > 0.99:
        return ">99%"
    return "<1%" if share < 0.01 else f"{share:.0%}"


def _row(scorecard: Scorecard, scores: ArmScores, decision: Decision, policy: Policy) -> Row:
    metrics = _metrics(scorecard, scores)
    prompt, generated = scores.mean_tokens()
    return Row(
        arm=scores.arm.name,
        kind=scores.arm.kind,
        is_chosen=scores.arm.name == decision.arm,
        primary=metrics.get(scorecard.primary),
        metrics=metrics,
        num_questions=len(scorecard.question_ids),
        num_right=sum(score is not None and score >= RIGHT_AT for score in scores.scores[scorecard.primary]),
        num_unscored=scores.num_unscored(scorecard.primary),
        num_errors=len(scores.errors),
        latency_ms=scores.median_latency_ms(),
        prompt_tokens=prompt,
        generated_tokens=generated,
        cost_per_1k=policy.cost_per_1k(scores),
        excluded=decision.excluded.get(scores.arm.name),
    )


def _metrics(scorecard: Scorecard, scores: ArmScores) -> dict[str, Bounds]:
    intervals = {name: scorecard.interval(scores, name) for name in scorecard.metrics}
    return {
        name: Bounds(mean=found.mean, low=found.low, high=found.high)
        for name, found in intervals.items()
        if found is not None and all(map(math.isfinite, (found.mean, found.low, found.high)))
    }


def _plots(rows: Sequence[Row], scorecard: Scorecard, decision: Decision, policy: Policy) -> dict[str, object]:
    from markupsafe import Markup

    from eval.plots import Mark, Point, cost_plot, difference_plot, interval_plot

    scored = [(row, row["primary"]) for row in rows if row["primary"] is not None]
    marks = [Mark(row["arm"], **bounds, is_chosen=row["is_chosen"]) for row, bounds in scored]
    tokens = [
        Point(row["arm"], row["prompt_tokens"] + row["generated_tokens"], bounds["mean"], is_chosen=row["is_chosen"])
        for row, bounds in scored
    ]
    latencies = [
        Point(row["arm"], row["latency_ms"], bounds["mean"], is_chosen=row["is_chosen"])
        for row, bounds in scored
        if row["latency_ms"] is not None
    ]
    differences = [
        Mark(c.other, c.difference.mean, c.difference.low, c.difference.high, is_chosen=c.other == decision.arm)
        for c in decision.comparisons
    ]
    leader = leader_of(scorecard, decision)
    # The plots escape the names in them; everything else in them is numbers.
    return {
        "primary": Markup(interval_plot(marks, scorecard.primary)),
        "differences": Markup(difference_plot(differences, leader, policy.margin)) if differences else None,
        "tokens": Markup(cost_plot(tokens, scorecard.primary, "tokens per question (prompt and generated)"))
        if len(tokens) > 1
        else None,
        "latency": Markup(cost_plot(latencies, scorecard.primary, "median latency in ms"))
        if len(latencies) > 1
        else None,
    }


class KindRow(TypedDict):
    """One kind of question; `means` of the primary metric follow the scorecard's arms, None where nothing is scored."""

    kind: str
    num_questions: int
    means: list[Bounds | None]


def _by_kind(scorecard: Scorecard, questions: Sequence[Question]) -> list[KindRow]:
    """The most frequent kinds first; empty unless the questions name at least two kinds in their metadata."""
    kind_of = {question.id: str(question.metadata.get("kind", "other")) for question in questions}
    members: dict[str, list[int]] = {}
    for i, question_id in enumerate(scorecard.question_ids):
        members.setdefault(kind_of[question_id], []).append(i)
    if len(members) < 2:
        return []
    frequent = sorted(members, key=lambda kind: (-len(members[kind]), kind))[:_SHOWN_KINDS]
    return [
        KindRow(
            kind=kind,
            num_questions=len(members[kind]),
            means=[_mean_of(scorecard, scores, members[kind]) for scores in scorecard.arms],
        )
        for kind in frequent
    ]


def _mean_of(scorecard: Scorecard, scores: ArmScores, members: Sequence[int]) -> Bounds | None:
    known = [(v, scorecard.clusters[i]) for i in members if (v := scores.scores[scorecard.primary][i]) is not None]
    if not known:
        return None
    found = mean_interval([value for value, _ in known], [cluster for _, cluster in known])
    return Bounds(mean=found.mean, low=found.low, high=found.high)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in (head, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _shorten(text: str, length: int) -> str:
    """At most `length` characters on one line, cut at the end."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def _plain(value: object) -> str:
    """A provenance value in one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    return str(value)
