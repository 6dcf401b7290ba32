"""Runs on disk as parts that can be served: arms, open indexes, checked adapters, and whether they are still true.

runs = ServedRuns(config, home=home, open_indexes=open_indexes, base=base, data_version=data_version)
parts = runs.parts_of(decision)
runs.stale_reason(decision)                     # None, or why it should be measured again
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from arbiter.build import open_engine
from arbiter.config.schema import Config
from arbiter.console import Console
from arbiter.finished_runs import RUN_AGAIN, config_of, last_run
from eval.errors import EvalError
from eval.runs.run import Run, find_run
from rag.errors import RagError
from rag.home import OpenIndexes
from rag.index import Index
from rag.search.settings import SearchSettings
from router.answering.answerer import Answerer
from router.answering.arm import Arm
from router.answering.engine import HttpEngine
from router.answering.topics import TopicChooser, choosers
from router.deciding.scorecard import Scorecard, quantile
from router.errors import EngineUnavailable
from serving.decisions.ledger import Ledger, RecordedDecision, record_run
from serving.engine.engine import OpenEngine
from serving.errors import NotPromotable
from serving.http.served import AUTO, Served
from storage.errors import ArbiterError
from storage.folders import is_complete
from tuning.base import ResolvedModel
from tuning.export.adapters import Adapter, is_there, load_adapter


@dataclass(frozen=True, slots=True)
class RunParts:
    """What a run needs to be served, by name; `question` is one that its arms have answered, `topics` choose among sets
    of adapters.
    """

    arms: Mapping[str, Arm]
    indexes: Mapping[str, Index]
    adapters: Mapping[str, Adapter]
    scorecard: Scorecard
    question: str
    topics: Mapping[str, TopicChooser] = field(default_factory=dict)


@dataclass(kw_only=True)
class ServedRuns:
    """The runs of one home for one base model. Their indexes are those of `open_indexes`, which closes them.

    `data_version` reads the data as a config has it and says what version that is now.
    """

    config: Config
    home: Path
    open_indexes: OpenIndexes
    base: ResolvedModel
    data_version: Callable[[Config], str]
    _warm: set[tuple[str, SearchSettings]] = field(default_factory=set, init=False)
    _versions: dict[str, tuple[object, str]] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def parts_of(self, decision: RecordedDecision) -> RunParts:
        """The parts of a decision's run. Raises NotPromotable naming what is gone or does not fit."""
        base = f"{self.base.name} {self.base.revision}"
        if decision.base_model != base:
            raise NotPromotable(f"it was measured on {decision.base_model!r}, and the model is {base!r}; {RUN_AGAIN}")
        run = self._run(decision)
        try:
            scorecard, questions = run.scorecard(), run.questions()
            arms = {scores.arm.name: scores.arm for scores in scorecard.arms}
            if decision.arm not in arms:
                raise NotPromotable(f"run {run.id!r} has no arm {decision.arm!r}; it has {', '.join(arms)}")
            names = [name for arm in arms.values() for name in arm.adapters]
            members = [member for arm in arms.values() for member in arm.members]
            adapters = {name: self._adapter(name) for name in dict.fromkeys(names)}
            return RunParts(
                arms=arms,
                indexes={arm.index: self._index(arm.index, arm.retrieval) for arm in members if arm.index is not None},
                adapters=adapters,
                scorecard=scorecard,
                question=questions[0].text,
                topics=choosers(adapters.values(), self.open_indexes.embedder) if adapters else {},
            )
        except ArbiterError as error:
            raise NotPromotable(str(error)) from error

    @contextlib.contextmanager
    def served(self, decision: RecordedDecision, console: Console) -> Iterator[tuple[RunOpener, Served, HttpEngine]]:
        """A decision's run behind the config's engine, which is asked by the last value, while the block lasts.

        Raises ArbiterError that says what else can be served, and EngineFailed when there is no engine.
        """
        try:
            parts = self.parts_of(decision)
        except NotPromotable as error:
            raise ArbiterError(
                f"decision {decision.id} cannot be served: {error}, or choose another with: "
                "arbiter decisions promote ID"
            ) from error
        with open_engine(self.config, self.base, parts.adapters, home=self.home, console=console) as engine:
            limit_s = self.config.engine.request_timeout_s
            http = HttpEngine(engine.url, api_key=engine.api_key, timeout_s=limit_s, hold=engine.hold)
            opener = RunOpener(self, engine, http)
            served = opener.serve(decision, parts)
            for name in served.arm(AUTO).adapters:
                for part in parts.adapters[name].parts:
                    engine.load(part)
            yield opener, served, http

    def stale_reason(self, decision: RecordedDecision) -> str | None:
        """Why what was measured no longer holds: the run or an adapter is gone, the data or an index has changed."""
        try:
            run = self._run(decision)
            arms = [scores.arm for scores in run.scorecard().arms]
            for arm in arms:
                for name in arm.adapters:
                    if not is_there(self.home / "adapters" / name):
                        return f"adapter {name!r} is gone; {RUN_AGAIN}"
            for arm in arms:
                measured = run.manifest.get("versions", {}).get(arm.name, {}).get("index")
                if arm.index is not None and self._index(arm.index, arm.retrieval).state.version != measured:
                    return f"index {arm.index!r} has changed since; {RUN_AGAIN}"
            if self._version_now(run, decision) != decision.data_version:
                return f"the data has changed since; {RUN_AGAIN}"
        except (NotPromotable, EvalError, RagError) as error:
            return str(error)
        except (ArbiterError, OSError) as error:
            return f"what it was measured on cannot be read: {error}"
        return None

    def _run(self, decision: RecordedDecision) -> Run:
        run = find_run(decision.run_directory)
        if run is None:
            raise NotPromotable(f"its run is gone from {str(decision.run_directory)!r}; {RUN_AGAIN}")
        return run

    def _index(self, name: str, retrieval: SearchSettings) -> Index:
        index = self.open_indexes.open(name)
        with self._lock:
            if (name, retrieval) not in self._warm:
                # The first search loads embedder, views and reranker; that wait is not for the first request.
                index.search("warm up", 1, settings=retrieval)
                self._warm.add((name, retrieval))
        return index

    def _adapter(self, name: str) -> Adapter:
        path = self.home / "adapters" / name
        if not is_complete(path):
            raise NotPromotable(f"adapter {name!r} is gone from {str(path.parent)!r}; {RUN_AGAIN}")
        return load_adapter(path)

    def _version_now(self, run: Run, decision: RecordedDecision) -> str:
        """The version of the data as the run's config reads it now; read again only when some file was touched."""
        folder = self.config.data.expanduser().resolve()
        touched = sorted(
            (str(path), stat.st_mtime_ns, stat.st_size)
            for path in folder.rglob("*")
            if path.is_file() and (stat := path.stat())
        )
        known = self._versions.get(run.id)
        if known is not None and known[0] == touched:
            return known[1]
        config = self.config
        if decision.config_fingerprint != config.fingerprint():
            # With this one's places: a run does not write down the database, which may hold a password.
            here, own = config.index, config_of(run)
            index = replace(own.index, database=here.database, store=here.store)
            config = own.model_copy(update={"data": config.data, "index": index})
        version = self.data_version(config)
        self._versions[run.id] = (touched, version)
        return version


def served_decision(ledger: Ledger, config: Config, home: Path, console: Console) -> RecordedDecision:
    """What `auto` means when a config is served: the promoted decision, else the config's newest.

    Raises ArbiterError when the config has no decision, and EvalError when its run has none yet.
    """
    # A run that was decided without a ledger beside it is taken in now.
    fingerprint = config.fingerprint()
    newest = ledger.newest(fingerprint) or record_run(ledger, last_run(config, home))
    current = ledger.current(newest.scope, fingerprint)
    assert current is not None, "the newest decision is in the scope"
    if current.id != newest.id:
        console.say(
            f"serving the promoted decision {current.id} ({current.arm}); the newest is {newest.id} ({newest.arm}); "
            f"change it with: arbiter decisions promote {newest.id}"
        )
    return current


@dataclass
class RunOpener:
    """Puts runs in front of one engine, which `generator` asks. `_loaded` holds the adapters it has brought there, of a
    set its members, whose names are in `_parts`.
    """

    runs: ServedRuns
    engine: OpenEngine
    generator: HttpEngine
    _loaded: dict[str, Adapter] = field(default_factory=dict, init=False)
    _parts: dict[str, set[str]] = field(default_factory=dict, init=False)

    def stale_reason(self, decision: RecordedDecision) -> str | None:
        """As `ServedRuns.stale_reason`."""
        return self.runs.stale_reason(decision)

    def open(self, decision: RecordedDecision) -> Served:
        """The decision's run with its adapters loaded into the engine; those with an engine of their own are expected
        there. Raises NotPromotable and EngineUnavailable.
        """
        parts = self.runs.parts_of(decision)
        if not self.engine.is_ready():
            raise EngineUnavailable("the engine is starting or restarting")
        before = set(self._loaded)
        try:
            for adapter in parts.adapters.values():
                for part in adapter.parts:
                    self.engine.expect(part)
                    self._loaded[part.name] = part
        except ArbiterError as error:
            with contextlib.suppress(ArbiterError):
                self.unload_except(before)
            raise NotPromotable(str(error)) from error
        return self.serve(decision, parts)

    def keep(self, arm: Arm) -> None:
        """From now on the engines of this arm are ended for no other's, if its adapters have some of their own."""
        self.engine.keep(arm.adapters)

    def unload_except(self, adapters: Collection[str]) -> None:
        """Takes the adapters that were loaded out of the engine, but not these. Raises ArbiterError."""
        kept = {part for name in adapters for part in self._parts.get(name, {name})}
        for name in sorted(self._loaded.keys() - kept):
            self.engine.unload(self._loaded[name])
            del self._loaded[name]

    def serve(self, decision: RecordedDecision, parts: RunParts) -> Served:
        """Parts whose adapters are loaded, as what an app serves."""
        for adapter in parts.adapters.values():
            self._parts[adapter.name] = {part.name for part in adapter.parts}
            self._loaded |= {part.name: part for part in adapter.parts}
        return Served(
            answerer=Answerer(self.generator, parts.indexes, self.engine.base_model, parts.topics),
            arms=parts.arms,
            decided_arm=decision.arm,
            decision_id=decision.id,
            confidence=decision.confidence,
            base_model=self.engine.base_model,
            is_ready=self.engine.is_ready,
            created=decision.created_at,
            question=parts.question,
            report=decision.report,
            measured=_measured(parts.scorecard, decision),
        )


def _measured(scorecard: Scorecard, decision: RecordedDecision) -> dict[str, dict[str, object]]:
    costs = decision.evidence.get("cost_per_1k") or {}
    measured: dict[str, dict[str, object]] = {}
    churn = decision.policy.get("traffic", {}).get("churn", 0.0)
    decided = scorecard.for_churn(churn).raced()
    for scores in scorecard.arms:
        interval = decided.interval(decided.by_name(scores.arm.name), scorecard.primary)
        if interval is not None:
            measured[scores.arm.name] = {
                "metric": scorecard.primary,
                "score": interval.mean,
                "low": interval.low,
                "high": interval.high,
                "num_questions": scores.num_asked,
                "num_unscored": scores.num_unscored(scorecard.primary),
                "median_latency_ms": quantile(scores.latency_ms, 0.5),
                "cost_per_1k": costs.get(scores.arm.name),
            }
    return measured
