"""What `arbiter plan` prints: how many questions which effect takes, and what those of a data folder can show."""

from __future__ import annotations

from dataclasses import asdict

from arbiter.console import Output, pad_table
from arbiter.pipeline import Pipeline
from arbiter.planning import power
from eval.runs.run import newest_run
from router.deciding.planning import plan_questions
from router.deciding.scorecard import Scorecard
from router.deciding.statistics import mean_known


def show_plan(pipeline: Pipeline, discordance: float | None) -> Output:
    """A text and a JSON value; without a `discordance`, that of the config's last run, or a fifth if there is none."""
    config, num_arms = pipeline.config, len(pipeline.askable.arms)
    source = "given"
    if discordance is None:
        discordance, source = 0.2, "assumed"
        run = newest_run(pipeline.home / "runs", config.fingerprint(), config.raced_by())
        if run is not None and (measured := measured_discordance(run.scorecard())) is not None:
            discordance, source = measured, f"measured in run {run.id}"
    said, detectable = power(pipeline.askable, pipeline.data, discordance)
    rows = plan_questions(num_arms=num_arms, discordance=discordance, alpha=config.policy.alpha)
    head = ("difference", "two arms", f"best of {num_arms} arms", "in a race")
    cells = [
        (f"{r.difference:.2f}", *("-" if n is None else f"{n:,}" for n in (r.two_arms, r.best_of_all, r.race)))
        for r in rows
    ]
    text = (
        f"Questions it takes to show a difference (error rate {config.policy.alpha:g}, power 80%, arms that disagree "
        f"on {discordance:.0%} of the questions, {source}):\n\n{pad_table(head, cells)}\n\nThe data's {said}.\n"
        "A race asks bad arms fewer questions than this and the best ones about as many as its column says."
    )
    return text, {
        "discordance": discordance,
        "discordance_source": source,
        "num_arms": num_arms,
        "num_questions": len(pipeline.data.questions),
        "detectable": detectable,
        "rows": [asdict(row) for row in rows],
    }


def measured_discordance(scorecard: Scorecard) -> float | None:
    """The mean squared difference of the leading arm's scores and each other's; None when there is none to be found.

    For scores of right or wrong that is the share of questions on which two arms disagree.
    """
    card = scorecard.raced()
    columns = [scores.scores[card.primary] for scores in card.arms]
    leader = max(columns, key=lambda column: mean_known(column) or 0.0)
    pairs = [zip(leader, column, strict=True) for column in columns if column is not leader]
    return mean_known([(x - y) ** 2 for pair in pairs for x, y in pair if x is not None and y is not None]) or None
