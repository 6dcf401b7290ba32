"""The main job: index, tune, evaluate, decide. Each stage does only what is not done yet, so any stop can be resumed.

pipeline = Pipeline(load_config(path), home=data_home(), console=Console())
run = pipeline.evaluate()
decision = pipeline.decide(run)
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from contextlib import closing
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from pathlib import Path

from arbiter import build
from arbiter.answer_lengths import AnswerLengths, measure, token_counter
from arbiter.asking import Asker
from arbiter.config.schema import Config
from arbiter.console import Console
from arbiter.data import (
    Data,
    askable_arms,
    examples_as_documents,
    load_data,
    needs_examples,
    needs_preferences,
    unread_guard,
)
from arbiter.deciding import decide
from arbiter.home import data_home
from arbiter.learned import learned_part
from arbiter.mixing import load_mixed
from arbiter.models import resolve_model
from arbiter.planning import power, race_plan
from arbiter.scoring import Scoring
from arbiter.training import Trainer
from eval.race import RacePlan
from eval.runs.run import Run, earlier_looks, find_run, publish_run
from eval.spent import spend_time
from rag.chunking.chunk import warn_long
from rag.embedding.embedder import Embedder
from rag.index import Index, SyncReport
from router.answering.arm import Arm
from router.answering.topics import choosers
from router.deciding.decision import Decision
from serving.engine.engine import engine_identity
from storage.errors import ArbiterError
from storage.folders import sweep_drafts
from storage.hashes import content_hash
from tuning.base import ResolvedModel
from tuning.export.adapters import Adapter
from tuning.training.progress import Forecast


@dataclass(eq=False)
class Pipeline:
    """One config, one data directory. Stages call those before them; what exists already is found by its content.

    `command` is what the report names as the way to get it again, "" its run's own config. `needs_dev` reads the dev
    questions, too; without `needs_questions` there may be none to evaluate.
    """

    config: Config
    _: KW_ONLY
    home: Path = field(default_factory=data_home)
    console: Console = field(default_factory=Console)
    command: str = ""
    needs_questions: bool = True
    needs_dev: bool = False

    def __post_init__(self) -> None:
        self._index_home = build.index_home(self.config, self.home)
        self._reports: dict[str, SyncReport] = {}

    @cached_property
    def data(self) -> Data:
        """The data folder, read once; the arms that it cannot serve are among the notes."""
        adapters = build.used_adapters(self.config)
        looked_at = [spec for spec in adapters.values() if spec.has_looks]
        # Other objectives have dev rows of their own kind.
        takes_dev = self.needs_dev or any(learned_part(spec) == "examples" for spec in looked_at)
        data = self._load_data(needs_dev=self.needs_dev or bool(looked_at), takes_dev=takes_dev)
        unread = unread_guard(data.folder) if adapters and not looked_at else ()
        data = replace(data, notes=(*askable_arms(self.config, data)[1], *data.notes, *unread))
        for note in data.notes:
            self.console.say(f"note: {note}")
        for skipped in data.skipped:
            self.console.say(f"skipped {skipped.path}: {skipped.reason}")
        told = data.preferences
        preferences = f"{len(told.pairs)} preference pairs, {len(told.rated)} rated answers, " if told.rated else ""
        self.console.say(
            f"{data.folder}: {len(data.documents)} documents ({len(data.skipped)} skipped), "
            f"{len(data.examples)} training rows, {preferences}{len(data.questions)} questions"
        )
        return data

    def read(self, *, needs_dev: bool = False) -> Data:
        """The data, with its dev questions if they are needed; as `data` it is read once without them."""
        return self._load_data(needs_dev=True) if needs_dev and not self.data.dev else self.data

    def _load_data(self, *, needs_dev: bool, takes_dev: bool = True) -> Data:
        config = self.config
        with closing(self._index_home.conversions()) as conversions:
            data = load_data(
                config.data,
                config.limits,
                seed=config.seed,
                trains=needs_examples(config),
                needs_questions=self.needs_questions,
                needs_dev=needs_dev,
                takes_dev=takes_dev,
                needs_preferences=needs_preferences(config),
                conversions=conversions,
            )
        mixed, notes = load_mixed(config, data) if config.mix and needs_examples(config) else ({}, ())
        return replace(data, mixed=mixed, notes=(*data.notes, *notes))

    @cached_property
    def askable(self) -> Config:
        """The config with the arms that can be asked of the data."""
        return askable_arms(self.config, self.data)[0]

    @cached_property
    def base(self) -> ResolvedModel:
        """The base model on this disk; of somebody else's engine without adapters only the name is needed."""
        # The embedder first: where it is missing, the base model's conversion would be waited for in vain.
        self.embedder_model  # noqa: B018
        return self.find_base()

    def find_base(self, *, fetch: bool = True) -> ResolvedModel:
        """The base model; without `fetch` nothing is downloaded or converted. Raises ArbiterError."""
        config, say = self.config, self.console.say
        if self._needs_base():
            return resolve_model(config.model, home=self.home, revision=config.revision, progress=say, fetch=fetch)
        return ResolvedModel(config.engine.model or config.model, f"at {config.engine.url}", path="")

    def _needs_base(self) -> bool:
        if self.config.engine.url is None:
            return True
        try:
            return build.has_adapters(self.config) and build.has_adapters(self.askable)
        except ArbiterError:  # a decision is served without its data, too
            return True

    @cached_property
    def embedder_model(self) -> ResolvedModel:
        """The embedder on this disk."""
        return build.resolve_embedder(self.config, self.home, self.console.say)

    @cached_property
    def embedder(self) -> Embedder:
        """The embedder; loads its weights when it first embeds."""
        return build.build_embedder(self.embedder_model, self.config.embedding)

    def index(self) -> dict[str, SyncReport]:
        """Bring every index the config needs up to date; an unchanged folder costs nothing."""
        self.indexes  # noqa: B018
        return self._reports

    @cached_property
    def indexes(self) -> dict[str, Index]:
        """The indexes by role, in step with the data."""
        indexes = {}
        for role in build.index_roles(self.askable):
            documents = self.data.documents if role == "documents" else examples_as_documents(self.data.examples)
            name = build.index_name(self.data, role)
            index = indexes[role] = self._index_home.create(name, self.embedder)
            with self.console.step(f"indexing {len(documents)} {role}") as step:
                report = self._reports[role] = index.sync(documents, progress=step.update)
            if report.embedded_chunks and (warning := warn_long(index.chunk_settings, self.embedder.max_tokens)):
                self.console.say(f"note: {warning}")
            self.console.say(
                f"  index {name}: {report.added} added, {report.updated} updated, {report.removed} removed, "
                f"{report.unchanged} unchanged, {report.num_chunks} chunks"
            )
        return indexes

    def tune(self) -> dict[str, Adapter]:
        """Train the adapters that the arms need and that are not there yet, by their key in the config."""
        return self.adapters

    @cached_property
    def adapters(self) -> dict[str, Adapter]:
        """The adapters by their key in the config, or by the name that an arm has; those of a key are trained if none
        of the same recipe and rows exists.
        """
        sweep_drafts(self.home / "adapters")
        named = build.named_adapters(self.askable, self.home)
        adapters = named | self._trainer().train_all(build.used_adapters(self.askable))
        for note in build.training_notes(self.config, adapters):
            self.console.say(f"note: {note}")
        return adapters

    def forecast(self) -> dict[str, Forecast | str | None]:
        """What the training of each adapter that the arms need will take, or why it cannot be trained; None for one
        that exists.
        """
        trainer = self._trainer()
        return {name: trainer.forecast(name) for name in build.used_adapters(self.askable)}

    def _trainer(self) -> Trainer:
        base = self.base  # one that is not there is said before anything is indexed
        parts = (self.config, self.data, base, self.indexes.get("documents"), lambda: self.scoring)
        return Trainer(*parts, embedder=lambda: self.embedder, home=self.home, console=self.console)

    @cached_property
    def scoring(self) -> Scoring:
        """The metrics; whatever is wrong with them is raised here."""
        return Scoring(self.config, self.data, self.embedder, self.indexes.get("documents"), home=self.home)

    @cached_property
    def answer_lengths(self) -> AnswerLengths:
        """How long the data's answers are, in tokens of the base model if it is on this disk."""
        return measure(self.data.examples, self.data.questions, token_counter(self.base.path))

    @cached_property
    def arms(self) -> list[Arm]:
        """The arms, by the names of what was trained and indexed."""
        room = self.answer_lengths.chosen(self.config)
        return build.build_arms(self.askable, self.data, self.adapters, max_tokens=room)

    @cached_property
    def versions(self) -> dict[str, dict[str, str]]:
        """What shapes an arm's answers beside the arm itself, as `eval.answers` keeps them."""
        shared = {"model": self.base.revision, "engine": engine_identity(self.config.engine)}
        indexes = {index.name: index.state.version for index in self.indexes.values()}

        def of(arm: Arm) -> dict[str, str]:
            proposers = {f"index of proposer {i}": of(one)["index"] for i, one in enumerate(arm.proposers, start=1)}
            return {**shared, "index": indexes[arm.index] if arm.index else "", **proposers}

        return {arm.name: of(arm) for arm in self.arms}

    def evaluate(self) -> Run:
        """Ask the arms and score the answers; a finished run of the same inputs is returned as is.

        Every arm is asked every question, or as many as a race needs when the config has one.
        """
        # The data and its faults come before any expensive work.
        self.console.say(f"{power(self.askable, self.data)[0]}; see: arbiter plan")
        plan = race_plan(self.config, self.data)
        self.base  # noqa: B018
        self.scoring  # noqa: B018  # a metric that does not exist is said before anything is trained
        for note in (notes := self.answer_lengths.notes(self.askable)):
            self.console.say(f"note: {note}")
        notes += build.training_notes(self.config, self.adapters)
        versions = json.dumps(self.versions, sort_keys=True)
        raced_by = filter(None, [self.config.raced_by()])
        fingerprint = content_hash(self.config.fingerprint(), *raced_by, self.data.version, versions)
        runs = self.home / "runs"
        sweep_drafts(runs)
        directory = runs / f"{self.data.name}-{fingerprint[:8]}"
        finished = find_run(directory)  # it may lie where no lock can be written
        if finished is None:
            busy = f"another process works on run {directory.name}; waiting for its answers"
            with self.console.alone(directory.with_name(f".{directory.name}.lock"), busy):
                finished = find_run(directory)
                if finished is None:
                    return self._ask_and_score(directory, fingerprint, plan, notes)
        self.console.say(f"run {finished.id} is complete: nothing to ask")
        return finished

    def _ask_and_score(self, directory: Path, fingerprint: str, plan: RacePlan | None, notes: Sequence[str]) -> Run:
        arms = self.arms
        asker = Asker(
            config=self.config,
            base=self.base,
            home=self.home,
            console=self.console,
            adapters={adapter.name: adapter for adapter in self.adapters.values()},
            indexes={index.name: index for index in self.indexes.values()},
            versions=self.versions,
            topics=choosers(self.adapters.values(), self.embedder),
        )
        identity = {
            "data_name": self.data.name,
            "data_version": self.data.version,
            "config_fingerprint": self.config.fingerprint(),
        }
        # Of a race too: all that may be asked.
        looks = earlier_looks(
            directory.parent,
            [question.id for question in self.data.questions],
            [arm.name for arm in arms],
            self.scoring.primary,
            identity,
        )
        with spend_time(self.home / "spent.db", fingerprint) as spent:
            with closing(asker):
                if plan is None:
                    asked = asker.ask_all(arms, self.data.questions)
                else:
                    asked = asker.race(
                        arms, plan, lambda so: self.scoring.score_deciding(arms, so, **self._times), looks
                    )
            with self.console.step("scoring") as step:
                scorecard = self.scoring.score(
                    arms,
                    asked,
                    progress=step.update,
                    provenance=build.provenance(
                        self.config, self.data, self.base, self.embedder_model, self.adapters.values()
                    ),
                    **self._times,
                )
        return publish_run(
            directory,
            config_yaml=self.config.to_yaml(),
            questions=asked.questions,
            records=asked.records,
            scorecard=replace(
                scorecard,
                evaluation_s=spent.total_s,
                diagnostics=(*scorecard.diagnostics, *notes),
                earlier_looks=looks,
            ),
            manifest={
                **identity,
                "raced_by": self.config.raced_by(),
                "metric": self.config.policy.metric,
                "data": str(self.data.folder),
                "base_revision": self.base.revision,
                "versions": self.versions,
                "command": self._command(directory),
            },
        )

    def _command(self, directory: Path) -> str:
        """The command that makes a run again; one that was made from Python has its config in its own folder."""
        if self.command:
            return self.command
        home = "" if self.home.resolve() == data_home() else f"ARBITER_HOME={shlex.quote(str(self.home.resolve()))} "
        return f"{home}arbiter run {shlex.quote(str(directory.resolve() / 'config.yaml'))}"

    def decide(self, run: Run) -> Decision:
        """Apply the policy to a finished run and write the decision and its reports beside it; asks nothing."""
        return decide(run, self.config, home=self.home, read=self.read)

    @cached_property
    def _times(self) -> dict[str, dict[str, float]]:
        """Seconds of training by adapter and of indexing by index."""
        return {
            "training_s": {adapter.name: adapter.training_s for adapter in self.adapters.values()},
            "indexing_s": {index.name: index.state.indexing_s for index in self.indexes.values()},
        }
