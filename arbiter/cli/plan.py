"""What `arbiter plan` prints: how many questions which effect takes, and what those of a data folder can show."""

from __future__ import annotations

from typing import Any

from arbiter.build import home_of
from arbiter.console import pad_table
from arbiter.pipeline import Pipeline
from eval.runs.run import newest_run
from router.deciding.planning import detectable_effects, plan_questions
from router.deciding.scorecard import Scorecard


def show_plan(pipeline: Pipeline, discordance: float | None) -> tuple[str, dict[str, Any]]:
    """A text and a JSON value; without a `discordance`, that of the config's last run, or a fifth if there is none."""
    config = pipeline.config
    source = "given"
    if discordance is None:
        run = newest_run(home_of(pipeline.home, "runs"), config.fingerprint())
        measured = measured_discordance(run.scorecard()) if run is not None else None
        discordance, source = (
            (0.2, "assumed") if measured is None else (measured, f"measured in run {run.id}" if run else "")
        )
    num_arms, alpha, num_questions = len(pipeline.askable.arms), config.policy.alpha, len(pipeline.data.questions)
    rows = plan_questions(num_arms=num_arms, discordance=discordance, alpha=alpha)
    one, best = detectable_effects(num_questions, num_arms=num_arms, discordance=discordance, alpha=alpha)
    head = ("difference", "two arms", f"best of {num_arms} arms", "in a race")
    cells = [
        (
            f"{row.effect:.2f}",
            f"{row.one_comparison:,}",
            f"{row.all_comparisons:,}",
            "-" if row.race is None else f"{row.race:,}",
        )
        for row in rows
    ]
    shows = "too few to count on seeing any difference"
    if one < 1:
        shows = f"enough for a difference of {one:.2f} between two arms"
        shows += f" and of {best:.2f} between the best and all others" if best < 1 else ""
    text = (
        f"Questions it takes to show a difference (error rate {alpha:g}, power 80%, arms that disagree on "
        f"{discordance:.0%} of the questions, {source}):\n\n{pad_table(head, cells)}\n\n"
        f"The data has {num_questions:,} questions: {shows}.\n"
        "A race asks bad arms fewer questions than this and the best ones about as many as its column says."
    )
    return text, {
        "discordance": discordance,
        "discordance_source": source,
        "num_arms": num_arms,
        "num_questions": num_questions,
        "detectable": {"two_arms": one if one < 1 else None, "best_of_all": best if best < 1 else None},
        "rows": [
            {"difference": r.effect, "two_arms": r.one_comparison, "best_of_all": r.all_comparisons, "race": r.race}
            for r in rows
        ],
    }


def measured_discordance(scorecard: Scorecard) -> float | None:
    """The mean squared difference of the leading arm's scores and each other's; None when there is none to be found.

    For scores of right or wrong that is the share of questions on which two arms disagree.
    """
    card = scorecard.raced()
    columns = [scores.scores[card.primary] for scores in card.arms]
    means = [sum(v for v in column if v is not None) / max(sum(v is not None for v in column), 1) for column in columns]
    leader = max(range(len(columns)), key=lambda i: means[i])
    squares = [
        (x - y) ** 2
        for i, column in enumerate(columns)
        if i != leader
        for x, y in zip(columns[leader], column, strict=True)
        if x is not None and y is not None
    ]
    return sum(squares) / len(squares) if any(squares) else None
