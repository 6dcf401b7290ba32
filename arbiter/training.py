"""One adapter of a config: its rows, the rows it is looked at with, and what its training shows.

adapter = train_named("raft", config, data, base, documents, scoring, home=home, console=console)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from arbiter import build
from arbiter.config.schema import Config
from arbiter.console import Console
from arbiter.data import Data
from arbiter.scoring import Scoring
from eval.metrics.catalogue import metrics_of
from eval.metrics.ragas import JUDGE_METRICS
from rag.index import Index
from tuning.base import ResolvedModel
from tuning.data.examples import Question, sample
from tuning.export.adapters import Adapter
from tuning.recipe import CheckRows
from tuning.training.progress import TrainProgress
from tuning.training.run import train_adapter


def train_named(
    name: str,
    config: Config,
    data: Data,
    base: ResolvedModel,
    documents: Index | None,
    scoring: Callable[[], Scoring],
    *,
    home: Path,
    console: Console,
) -> Adapter:
    """The adapter of this key, trained if none of the same recipe and rows exists. `scoring` is called only where the
    training is looked at.
    """
    spec = config.adapters[name]
    documents = documents if spec.passages else None

    def checks(questions: tuple[Question, ...]) -> CheckRows | None:
        asked = sample(questions, spec.look_rows, config.seed)
        if not asked or not spec.has_looks:
            return None
        rows = build.check_rows(config, name, asked, documents)
        metric = config.policy.metric
        if any(one in JUDGE_METRICS for one in metrics_of(metric)):
            return CheckRows(rows)  # a judge would be asked at every look
        return CheckRows(rows, str(metric), partial(scoring().score_texts, asked))

    with console.step(f"making rows of {len(data.examples)} examples for {name}"):
        rows = build.training_rows(config, name, data.examples, documents)
        dev, guard = checks(data.dev), checks(data.guard)
    with console.step(f"training {name} on {len(rows)} rows") as step:

        def show(now: TrainProgress) -> None:
            left = f", {now.seconds_left:.0f} s left" if now.seconds_left is not None else ""
            looks = f", dev {now.looks[-1]:.2f} of best {max(now.looks):.2f}" if now.looks else ""
            step.update(now.step, now.num_steps, f"loss {now.loss:.3f}, {now.tokens_per_s:.0f} tokens/s{left}{looks}")

        adapter = train_adapter(
            base=base,
            rows=rows,
            recipe=spec,
            name=name.replace("_", "-"),
            adapters_dir=home / "adapters",
            work_dir=home / "training",
            provenance={"data": str(data.folder), "data_version": data.version},
            progress=show,
            dev=dev,
            guard=guard,
        )
    console.say(f"  adapter {adapter.name} (trained in {adapter.training_s:.0f} s{_looked(adapter)})")
    return adapter


def _looked(adapter: Adapter) -> str:
    if adapter.published is None:
        return ""
    before, now = adapter.looks[0], adapter.published
    steps = " and ".join(map(str, now.steps))
    guard = (
        f", guard {before.guard:.2f} -> {now.guard:.2f}" if before.guard is not None and now.guard is not None else ""
    )
    return f"; after step {steps}: dev {before.score:.2f} -> {now.score:.2f}{guard}"
