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
from arbiter.answer_lengths import cut_notes, measure, token_counter, with_max_tokens
from arbiter.config import Config, load_config, load_data_keys
from arbiter.console import Console
from arbiter.data import Data
from arbiter.database import database_setting
from arbiter.faults import Faults
from arbiter.pipeline import Pipeline
from arbiter.scoring import check_metric, find_judge, load_labels
from eval.metrics.labels import kind_of, label_sets
from rag.langchain.factory import resolve
from storage.database import make_engine
from storage.errors import ArbiterError
from tuning.base import ResolvedModel

_SHOWN_LABELS = 6


def check_all(path: Path, overrides: Sequence[str], *, home: Path, console: Console) -> tuple[str, dict[str, Any]]:
    """What a run would work with, as text and as a JSON value.

    Raises ArbiterError: the one fault, or their number after each was said.
    """
    faults = Faults()
    read = faults.attempt(lambda: load_config(path, overrides), None)
    # With a faulty config the data can still be looked at.
    config = read or Faults().attempt(lambda: load_data_keys(path, overrides), None)
    shown = _Check(config, home, console).check(faults) if config is not None else None
    if len(faults.found) > 1:
        for fault in faults.found:
            console.say(f"fault: {fault}")
        raise ArbiterError(f"{len(faults.found)} faults in config and data; mend them and check again")
    faults.raise_any()
    assert shown is not None, "a config that is not there is a fault"
    return shown


class _Check:
    """One config and its data; nothing is converted, downloaded, trained or asked."""

    def __init__(self, config: Config, home: Path, console: Console) -> None:
        self._config = config
        self._pipeline = Pipeline(config, home=home, console=console)
        self._home = home

    def check(self, faults: Faults) -> tuple[str, dict[str, Any]] | None:
        """What there is to show; None with faults, which are added to those that are known."""
        config, pipeline = self._config, self._pipeline
        data = faults.attempt(lambda: pipeline.data, None)
        metrics = faults.attempt(lambda: check_metric(config), tuple[str, ...]())
        faults.attempt(lambda: find_judge(config, self._home), None)
        faults.attempt(lambda: load_labels(config), dict[str, dict[str, float]]())
        for other in find_others(config):
            faults.attempt(other, None)
        base = faults.attempt(lambda: pipeline.find_base(fetch=False), None)
        embedder = faults.attempt(lambda: build.resolve_embedder(config, self._home, _silent, fetch=False), None)
        if data is None:
            return None
        faults.attempt(pipeline.race_plan, None)
        if base is None or embedder is None or faults.found:
            return None
        return self._show(data, metrics, base, embedder)

    def _show(
        self, data: Data, metrics: tuple[str, ...], base: ResolvedModel, embedder: ResolvedModel
    ) -> tuple[str, dict[str, Any]]:
        config = self._pipeline.askable
        lengths = measure(data.examples, data.questions, token_counter(base.path))
        chosen = config.sampling.max_tokens or lengths.max_tokens(config.engine.max_model_len)
        cut = cut_notes(with_max_tokens(config, chosen), lengths)
        labels = label_balance(data)
        power, (one, best) = self._pipeline.power()
        lines = [
            f"decides: {_metric(config)}, differences from {config.policy.margin:g} on (policy.metric, policy.margin)",
            *(_label_line(kind, counts) for kind, counts in labels.items()),
            *([f"  {_HINT}"] if labels and config.policy.metric == "token_f1" else []),
            lengths.told(chosen),
            *(f"warning: {note}" for note in cut),
            power,
            f"model: {_model(base)}; embedder: {_model(embedder)}",
            f"config and data are fine; arms: {', '.join(config.arms)}; metrics: {', '.join(metrics)}",
        ]
        return "\n".join(lines), {
            "data": str(data.folder),
            "documents": len(data.documents),
            "skipped": [{"path": s.path, "reason": s.reason} for s in data.skipped],
            "training_rows": len(data.examples),
            "questions": len(data.questions),
            "arms": list(config.arms),
            "metrics": list(metrics),
            "metric": config.policy.metric,
            "margin": config.policy.margin,
            "labels": {kind or "": dict(counts) for kind, counts in labels.items()},
            "max_tokens": chosen,
            "answer_tokens_p95": lengths.percentile(),
            "detectable": {"two_arms": one if one < 1 else None, "best_of_all": best if best < 1 else None},
            "models": {
                name: {"name": m.name, "path": m.path or None} for name, m in (("base", base), ("embedder", embedder))
            },
            "notes": [*data.notes, *cut],
        }


def find_others(config: Config) -> Iterator[Callable[[], object]]:
    """What finds each part that the config names of other packages, and raises ArbiterError; nothing is opened."""
    own = config.index.database
    for url in (own.get_secret_value() if own is not None else None, database_setting()):
        if url:
            yield partial(make_engine, url)
    if (embeddings := config.embedding.langchain) is not None:
        yield partial(resolve, embeddings.factory)
    if (store := config.index.store) is not None:
        from rag.langchain.vector_store import find_factory  # brings LangChain

        yield partial(find_factory, store.factory)


_HINT = "label_accuracy reads a label in any spelling: policy.metric=label_accuracy"


def label_balance(data: Data) -> dict[str | None, Counter[str]]:
    """How often each label is the first gold, by kind of question; only for kinds whose golds are labels."""
    sets = label_sets(data.questions)
    counts: dict[str | None, Counter[str]] = {kind: Counter() for kind in sets}
    for question in data.questions:
        if (kind := kind_of(question)) in sets:
            counts[kind][question.answers[0]] += 1
    return counts


def _label_line(kind: str | None, counts: Counter[str]) -> str:
    total = counts.total()
    shown = ", ".join(f"{label} {count / total:.0%}" for label, count in counts.most_common(_SHOWN_LABELS))
    more = f" and {len(counts) - _SHOWN_LABELS} more" if len(counts) > _SHOWN_LABELS else ""
    of = f" of kind {kind}" if kind is not None else ""
    return f"labels{of}: {len(counts)} over {total} questions: {shown}{more}"


def _metric(config: Config) -> str:
    declared = config.policy.metric
    return declared if isinstance(declared, str) else ", ".join(f"{kind}: {name}" for kind, name in declared.items())


def _model(model: ResolvedModel) -> str:
    if model.path or model.revision.startswith("at "):
        return f"{model.name} {'on this disk' if model.path else model.revision}"
    return f"{model.name}, to be downloaded or converted by the first run"


def _silent(_line: str) -> None:
    pass
