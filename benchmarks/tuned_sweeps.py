"""Is a training with the numbers that a sweep found ever worse than one with those that ship? On five public sets.

    python benchmarks/tuned_sweeps.py --data FOLDER [--sets banking20 ...] [--rows 40] [--trials 8] [--questions 100]

FOLDER holds the data sets' folders. Each set is swept as `arbiter sweep --arm tuned` does it, on its dev questions;
then the adapter of the defaults and that of the best settings are asked the same test questions in one run. Prints a
Markdown table: scores with 95% intervals, the gain question by question, and the seconds that each took; `kept` is what
the sweep tells the user to keep. What was done already is not done again.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from training_numbers import METRICS

from arbiter.config.loading import load_config
from arbiter.console import Console
from arbiter.pipeline import Pipeline
from arbiter.sweep.trials import run_sweep
from eval.sweep.report import SweepReport, describe
from router.deciding.statistics import mean_interval, paired_difference

HEAD = (
    "set",
    "trials",
    "ended early",
    "sweep s",
    "best settings",
    "dev gain",
    "kept",
    "defaults",
    "swept",
    "test gain",
)
SWEPT = "swept"
_USUAL = "adapters.closed_book."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets' folders")
    parser.add_argument("--sets", nargs="+", choices=list(METRICS), default=list(METRICS))
    parser.add_argument("--rows", type=int, default=40, help="training rows (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=8, help="trainings of a set, that of the defaults included")
    parser.add_argument("--questions", type=int, default=100, help="dev questions, and test questions, at most")
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("ARBITER_HOME", ".arbiter")))
    given = parser.parse_args()
    print("| " + " | ".join(HEAD) + " |\n" + "|---" * len(HEAD) + "|", flush=True)
    for name in given.sets:
        words = overrides(given.data / name, METRICS[name], given.rows, given.questions)
        print("| " + " | ".join(cells(name, words, given.trials, given.home.resolve())) + " |", flush=True)


def overrides(folder: Path, metric: str, rows: int, questions: int) -> list[str]:
    """The settings of a set: one closed-book adapter of so many rows."""
    return [
        f"data={folder}",
        "race=null",
        f"policy.metric={metric}",
        f"limits.train_rows={rows}",
        f"limits.questions={questions}",
        "limits.repeats=drop",
        "limits.contradictions=drop",
        *(f"arms.{arm}=null" for arm in ("base", "fewshot", "rag", "tuned_rag", "hybrid")),
        "adapters.raft=null",
    ]


def cells(name: str, words: Sequence[str], trials: int, home: Path) -> Iterator[str]:
    """Of the table's row of a set."""
    report = sweep(words, trials, home)
    yield name
    yield f"{len(report.trials)}"
    yield f"{report.count('pruned')}"
    yield f"{sum(trial.seconds for trial in report.trials):.0f}"
    yield describe(report.changed).replace(_USUAL, "") or "the defaults"
    yield "0" if report.difference is None else f"{report.difference.mean:+.3f}"
    yield "the best" if report.is_shown else "the defaults"
    yield from tested(words, report, home)


def sweep(words: Sequence[str], trials: int, home: Path) -> SweepReport:
    """`arbiter sweep --arm tuned`."""
    config = load_config(None, [*words, "sweep.arm=tuned", f"sweep.trials={trials}"])
    return run_sweep(Pipeline(config, home=home, console=Console(), needs_dev=True), config.sweep)


def tested(words: Sequence[str], report: SweepReport, home: Path) -> Iterator[str]:
    """Scores on the test questions: of the defaults, of the best settings, and what these gain."""
    best = [word.replace(_USUAL, f"adapters.{SWEPT}.") for word in report.words()]
    both = [*words, *([f"arms.{SWEPT}.adapter={SWEPT}", *best] if best else [])]
    card = Pipeline(load_config(None, both), home=home, console=Console()).evaluate().scorecard()
    scores = {found.arm.name: found.scores[card.primary] for found in card.arms}
    usual = scores["tuned"]
    kept = [i for i, pair in enumerate(zip(usual, scores.get(SWEPT, usual), strict=True)) if None not in pair]
    clusters = [card.clusters[i] for i in kept]
    columns = {arm: [value for i in kept if (value := column[i]) is not None] for arm, column in scores.items()}
    for column in (columns["tuned"], columns.get(SWEPT, columns["tuned"])):
        found = mean_interval(column, clusters)
        yield f"{found.mean:.2f} ({found.low:.2f} to {found.high:.2f})"
    if SWEPT not in columns:
        yield "0"
        return
    gain = paired_difference(columns[SWEPT], columns["tuned"], clusters, margin=0.05)
    yield f"{gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"


if __name__ == "__main__":
    main()
