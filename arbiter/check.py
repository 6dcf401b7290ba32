"""`arbiter check`: every fault of a config and its data at once, and what a run of them would decide by.

console.result(*check_all(path, overrides, home=home, console=console))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from arbiter import build
from arbiter.config.loading import load_config, load_data_keys
from arbiter.config.schema import Config
from arbiter.console import Console, Output
from arbiter.data import Data, Faults
from arbiter.home import database_setting
from arbiter.pipeline import Pipeline
from arbiter.planning import power, race_plan
from arbiter.scoring import check_metric, find_judge, load_labels
from arbiter.training import trained_alike, untrainable
from eval.metrics.labels import kind_of
from rag.langchain.factory import resolve
from storage.database import make_engine
from storage.errors import ArbiterError, listed
from tuning.base import ResolvedModel
from tuning.export.adapters import Adapter

_SHOWN_LABELS = 6
_HINT = "label_accuracy reads a label in any spelling: policy.metric=label_accuracy"


def check_all(path: Path, overrides: Sequence[str], *, home: Path, console: Console) -> Output:
    """What a run would work with, as text and as a JSON value; nothing is converted, downloaded, trained or asked.

    Raises ArbiterError: the one fault, or their number after each was said.
    """
    faults = Faults()
    read = faults.attempt(lambda: load_config(path, overrides), None)
    # With a faulty config the data can still be looked at.
    config = read or Faults().attempt(lambda: load_data_keys(path, overrides), None)
    shown = _check(Pipeline(config, home=home, console=console), faults) if config is not None else None
    if len(faults.found) > 1:
        for fault in faults.found:
            console.say(f"fault: {fault}")
        raise ArbiterError(f"{len(faults.found)} faults in config and data; mend them and check again")
    faults.raise_any()
    assert shown is not None, "a config that is not there is a fault"
    return shown


def _check(pipeline: Pipeline, faults: Faults) -> Output | None:
    """What there is to show; None with faults, which are added to those that are known."""
    found = find_faults(pipeline, faults)
    return None if found is None or faults.found else _show(pipeline, *found)


def find_faults(pipeline: Pipeline, faults: Faults) -> tuple[Data, tuple[str, ...], list[str]] | None:
    """Adds what a run of the pipeline would refuse; nothing is converted or downloaded. Gives the data, the metrics and
    what is said of adapters that are there, the models being the pipeline's then; None where one cannot be had.
    """
    config, home = pipeline.config, pipeline.home
    data = faults.attempt(lambda: pipeline.data, None)
    metrics = faults.attempt(lambda: check_metric(config), tuple[str, ...]())
    finds: list[Callable[[], object]] = [partial(find_judge, config, home), partial(load_labels, config)]
    for find in (*finds, *find_others(config)):
        faults.attempt(find, None)
    base = faults.attempt(lambda: pipeline.find_base(fetch=False), None)
    embedder = faults.attempt(lambda: build.resolve_embedder(config, home, lambda _: None, fetch=False), None)
    if data is not None and data.questions:
        faults.attempt(partial(race_plan, config, data), None)
    if data is not None:
        faults.attempt(lambda: build.named_adapters(pipeline.askable, home), dict[str, Adapter]())
    trained: list[str] = []
    if data is not None and base is not None:

        def is_there(name: str) -> bool:
            found = trained_alike(config, data, base, name, home)
            if found is not None:
                trained.append(
                    f"adapters.{name} cannot be trained here; {found} will do as long as its rows are the same"
                )
            return found is not None

        used = build.used_adapters(pipeline.askable)
        reasons = faults.attempt(partial(untrainable, config, data, base, used, home, is_there), dict[str, str]())
        faults.found += map(ArbiterError, reasons.values())
    if data is None or base is None or embedder is None:
        return None
    pipeline.base, pipeline.embedder_model = base, embedder
    return data, metrics, trained


def _show(pipeline: Pipeline, data: Data, metrics: Sequence[str], trained: Sequence[str]) -> Output:
    config, labels = pipeline.askable, label_balance(data)
    policy, base, embedder = config.policy, pipeline.base, pipeline.embedder_model
    room, *warnings = pipeline.answer_lengths.notes(config)
    shown, detectable = power(config, data)
    lines = [
        f"decides: {_metric(config)}, differences from {policy.margin:g} on (policy.metric, policy.margin)",
        *(_label_line(kind, counts) for kind, counts in labels.items()),
        *([f"  {_HINT}"] if labels and policy.metric == "token_f1" else []),
        room,
        *(f"warning: {note}" for note in warnings),
        *(f"note: {note}" for note in trained),
        f"{shown}; see: arbiter plan",
        f"model: {_model(base)}; embedder: {_model(embedder)}",
        f"config and data are fine; arms: {', '.join(config.arms)}; metrics: {', '.join(metrics)}",
    ]
    row: dict[str, Any] = {
        "data": str(data.folder),
        "documents": len(data.documents),
        "skipped": [{"path": s.path, "reason": s.reason} for s in data.skipped],
        "training_rows": len(data.examples),
        "questions": len(data.questions),
        "arms": list(config.arms),
        "metrics": list(metrics),
        "metric": policy.metric,
        "margin": policy.margin,
        "labels": {kind or "": dict(counts) for kind, counts in labels.items()},
        "max_tokens": pipeline.answer_lengths.chosen(config),
        "answer_tokens_p95": pipeline.answer_lengths.percentile(),
        "detectable": detectable,
        "models": {
            name: {"name": m.name, "path": m.path or None} for name, m in (("base", base), ("embedder", embedder))
        },
        "notes": [*data.notes, *warnings, *trained],
    }
    return "\n".join(lines), row


def find_others(config: Config) -> Iterator[Callable[[], object]]:
    """What finds each part that the config names of other packages, and raises ArbiterError; nothing is opened."""
    own = config.index.database
    for url in (own.get_secret_value() if own is not None else None, database_setting()):
        if url:
            yield partial(make_engine, url)
    if (embeddings := config.embedding.langchain) is not None:
        yield partial(resolve, embeddings.factory)
    if (store := config.index.store) is not None:
        from rag.langchain.vector_store import RECIPES  # brings LangChain

        if store.factory not in RECIPES:
            yield partial(resolve, store.factory)


def label_balance(data: Data) -> dict[str | None, Counter[str]]:
    """How often each label is the first gold, by kind of question; only for kinds whose golds are labels."""
    counts: dict[str | None, Counter[str]] = {kind: Counter() for kind in data.label_sets}
    for question in data.questions:
        if (kind := kind_of(question)) in counts:
            counts[kind][question.answers[0]] += 1
    return counts


def _label_line(kind: str | None, counts: Counter[str]) -> str:
    total = counts.total()
    shares = (f"{label} {count / total:.0%}" for label, count in counts.most_common())
    shown = listed(shares, separator=", ", shown=_SHOWN_LABELS)
    of = f" of kind {kind}" if kind is not None else ""
    return f"labels{of}: {len(counts)} over {total} questions: {shown}"


def _metric(config: Config) -> str:
    declared = config.policy.metric
    return declared if isinstance(declared, str) else ", ".join(f"{kind}: {name}" for kind, name in declared.items())


def _model(model: ResolvedModel) -> str:
    if model.path or model.revision.startswith("at "):
        return f"{model.name} {'on this disk' if model.path else model.revision}"
    return f"{model.name}, to be downloaded or converted by the first run"
