"""The main job: index, tune, evaluate, decide. Each stage does only what is not done yet, so any stop can be resumed.

pipeline = Pipeline(load_config(path), home=data_home(), console=Console())
run = pipeline.evaluate()
decision = pipeline.decide(run)
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import yaml

from eval.answers import AnswerCache, AnswerRecord
from eval.evaluate import Patience, ask, build_scorecard, recall
from eval.report import to_html, to_markdown
from eval.runs import Run, find_run, newest_run, publish_run
from rag.embedder import SentenceTransformerEmbedder
from rag.index import Index, SyncReport
from router.answerer import Answerer
from router.arm import Arm
from router.engine import HttpEngine
from router.recommend import Decision, recommend
from router.scorecard import Scorecard
from router.statistics import detectable_difference
from serving import build
from serving.config import Config
from serving.console import Console
from serving.data import Data, examples_as_documents, load_data
from serving.engines import engine_identity, open_engine, refuse_unfit
from serving.errors import ServingError
from serving.models import resolve_model
from tuning.adapters import Adapter, list_adapters
from tuning.artifacts import content_hash, sweep_temporaries
from tuning.lora import train_lora
from tuning.recipe import TrainProgress


class Pipeline:
    """One config, one data directory. Stages call those before them; what exists already is found by its content."""

    def __init__(self, config: Config, *, home: Path, console: Console, command: str = "arbiter run") -> None:
        """`command` is what the report names as the way to get it again."""
        self.config = config
        self.home = home
        self._console = console
        self._command = command

    @cached_property
    def data(self) -> Data:
        """The data folder, read once."""
        config = self.config
        needs_examples = bool(build.used_adapters(config)) or any(a.index == "examples" for a in config.arms.values())
        data = load_data(
            config.data,
            train_rows=config.limits.train_rows,
            questions=config.limits.questions,
            seed=config.seed,
            trains=needs_examples,
        )
        for skipped in data.skipped:
            self._console.say(f"skipped {skipped.path}: {skipped.reason}")
        self._console.say(
            f"{data.folder}: {len(data.documents)} documents ({len(data.skipped)} skipped), "
            f"{len(data.examples)} training rows, {len(data.questions)} questions"
        )
        return data

    @cached_property
    def models(self) -> build.Models:
        """Base model and embedder on this disk."""
        config = self.config
        # The embedder first: where it is missing, the base model's conversion would be waited for in vain.
        embedder = resolve_model(
            config.embedder, home=self.home, revision=config.embedder_revision, progress=self._console.say
        )
        base = resolve_model(config.model, home=self.home, revision=config.revision, progress=self._console.say)
        return build.Models(base=base, embedder=embedder)

    @cached_property
    def embedder(self) -> SentenceTransformerEmbedder:
        """The embedder; loads its weights when it first embeds."""
        return build.build_embedder(self.models)

    def index(self) -> dict[str, SyncReport]:
        """Bring every index the config needs up to date; an unchanged folder costs nothing."""
        return {role: report for role, (_, report) in self._synced.items()}

    @cached_property
    def _synced(self) -> dict[str, tuple[Index, SyncReport]]:
        synced = {}
        for role in build.index_roles(self.config):
            documents = self.data.documents if role == "documents" else examples_as_documents(self.data.examples)
            name = build.index_name(self.data, role)
            index = Index.create(self.home, name, self.embedder, build.chunk_settings(self.config))
            with self._console.step(f"indexing {len(documents)} {role}") as step:
                report = index.sync(documents, progress=step.update)
            self._console.say(
                f"  index {name}: {report.added} added, {report.updated} updated, {report.removed} removed, "
                f"{report.unchanged} unchanged, {report.num_chunks} chunks"
            )
            synced[role] = (index, report)
        return synced

    @cached_property
    def indexes(self) -> dict[str, Index]:
        """The indexes by role, in step with the data."""
        return {role: index for role, (index, _) in self._synced.items()}

    @cached_property
    def adapters(self) -> dict[str, Adapter]:
        """The adapters by their key in the config; trained if no adapter of the same recipe and rows exists."""
        adapters_dir = build.home_of(self.home, "adapters")
        sweep_temporaries(adapters_dir)
        return {name: self._adapter(name, adapters_dir) for name in build.used_adapters(self.config)}

    def _adapter(self, name: str, adapters_dir: Path) -> Adapter:
        spec, base = self.config.adapters[name], self.models.base
        prompt = build.prompt_of_adapter(self.config, name)
        documents = self.indexes.get("documents") if spec.passages else None
        if spec.passages:
            with self._console.step(f"retrieving passages for {len(self.data.examples)} rows of {name}"):
                rows = build.training_rows(spec, self.data.examples, prompt, documents, self.config.seed)
        else:
            rows = build.training_rows(spec, self.data.examples, prompt, None, self.config.seed)
        with self._console.step(f"training {name} on {len(rows)} rows") as step:

            def show(now: TrainProgress) -> None:
                left = f"{now.seconds_left:.0f} s left" if now.seconds_left is not None else ""
                step.update(now.step, now.num_steps, f"loss {now.loss:.3f}, {now.tokens_per_s:.0f} tokens/s, {left}")

            adapter = train_lora(
                base_path=base.path,
                base_name=base.name,
                base_revision=base.revision,
                rows=rows,
                recipe=build.build_recipe(spec, self.config.seed),
                name=name.replace("_", "-"),
                adapters_dir=adapters_dir,
                work_dir=build.home_of(self.home, "training"),
                provenance={"data": str(self.data.folder), "data_version": self.data.version},
                progress=show,
            )
        self._console.say(f"  adapter {adapter.name} (trained in {adapter.training_s:.0f} s)")
        return adapter

    def evaluate(self) -> Run:
        """Ask every arm every question and score the answers; a finished run of the same inputs is returned as is."""
        # The data and its faults come before any expensive work.
        self._announce_power(len(self.data.questions))
        indexes = {build.index_name(self.data, role): index for role, index in self.indexes.items()}
        adapters = self.adapters
        refuse_unfit(self.config, self.models.base, adapters)
        arms = build.build_arms(self.config, self.data, adapters)
        versions = self._versions(arms, indexes)
        fingerprint = content_hash(self.config.fingerprint(), self.data.version, json.dumps(versions, sort_keys=True))
        runs = build.home_of(self.home, "runs")
        sweep_temporaries(runs)
        directory = runs / f"{self.data.name}-{fingerprint[:8]}"
        finished = find_run(directory)
        if finished is not None:
            self._console.say(f"run {finished.id} is complete: nothing to ask")
            return finished
        records = self._ask(arms, indexes, versions)
        scorecard = self._score(arms, records, indexes)
        return publish_run(
            directory,
            config_yaml=yaml.safe_dump(self.config.model_dump(mode="json"), sort_keys=False),
            questions=self.data.questions,
            records=records,
            scorecard=scorecard,
            manifest={
                "config_fingerprint": self.config.fingerprint(),
                "data_version": self.data.version,
                "base_revision": self.models.base.revision,
                "versions": versions,
                "command": self._command,
            },
        )

    def decide(self, run: Run) -> Decision:
        """Apply the policy to a finished run and write the decision and its reports beside it; asks nothing."""
        policy, scorecard = build.build_policy(self.config.policy), run.scorecard()
        if scorecard.primary != self.config.policy.metric:
            raise ServingError(
                f"run {run.id!r} was made to decide by {scorecard.primary!r}, not {self.config.policy.metric!r}; "
                "run: arbiter evaluate"
            )
        decision = recommend(scorecard, policy)
        questions, records = run.questions(), run.records()
        html = to_html(
            scorecard, decision, policy, questions, records, title=f"Arbiter: {run.id}", command=run.manifest["command"]
        )
        run.write_views(decision, self.config.policy.model_dump(), html, to_markdown(scorecard, decision, policy))
        return decision

    def last_run(self) -> Run:
        """The newest finished run of this config, whatever its data was. Raises ServingError when there is none."""
        run = newest_run(build.home_of(self.home, "runs"), self.config.fingerprint())
        if run is None:
            raise ServingError(
                f"no finished run of this config in {str(self.home)!r}; make one with: arbiter run CONFIG"
            )
        return run

    def adapters_of(self, arms: list[Arm]) -> dict[str, Adapter]:
        """The trained adapters that some arms name, by name. Raises ServingError for one that is gone."""
        known = {adapter.name: adapter for adapter in list_adapters(build.home_of(self.home, "adapters"))}
        wanted = [arm.adapter for arm in arms if arm.adapter is not None]
        gone = sorted({name for name in wanted if name not in known})
        if gone:
            raise ServingError(f"adapters {', '.join(gone)} are gone from {str(self.home)!r}; run: arbiter run CONFIG")
        return {name: known[name] for name in wanted}

    def _announce_power(self, num_questions: int) -> None:
        effect = detectable_difference(num_questions, alpha=self.config.policy.alpha)
        shown = f"can show a difference of {effect:.2f} or more" if effect < 1 else "are too few to show a difference"
        self._console.say(f"{num_questions} questions {shown} (80% power, arms disagreeing on 20%)")

    def _versions(self, arms: list[Arm], indexes: Mapping[str, Index]) -> dict[str, dict[str, str]]:
        shared = {"model": self.models.base.revision, "engine": engine_identity(self.config)}
        return {arm.name: {**shared, "index": indexes[arm.index].version if arm.index else ""} for arm in arms}

    def _ask(
        self, arms: list[Arm], indexes: Mapping[str, Index], versions: Mapping[str, Mapping[str, str]]
    ) -> list[AnswerRecord]:
        questions, total = self.data.questions, len(arms) * len(self.data.questions)
        with AnswerCache(self.home / "answers.db") as cache:
            known = [record for record in recall(arms, questions, cache, versions) if record is not None]
            if len(known) == total:
                self._console.say(f"all {total} answers are known: nothing to generate")
                return known
            adapters = self.adapters_of(arms)
            with (
                open_engine(self.config, self.models.base, adapters, home=self.home, console=self._console) as engine,
                self._console.step(f"asking {len(arms)} arms {len(questions)} questions") as step,
            ):
                done = 0

                def show(record: AnswerRecord, _was_cached: bool) -> None:
                    nonlocal done
                    done += 1
                    step.update(done, total, record.arm)

                async def all_answers() -> list[AnswerRecord]:
                    http = HttpEngine(
                        engine.url, api_key=engine.api_key, timeout_s=self.config.engine.request_timeout_s
                    )
                    try:
                        return await ask(
                            arms,
                            questions,
                            Answerer(http, indexes, engine.base_model),
                            cache,
                            versions=versions,
                            concurrency=self.config.eval.concurrency,
                            patience=Patience(limit_s=self.config.eval.patience_s),
                            on_answer=show,
                        )
                    finally:
                        await http.close()

                return asyncio.run(all_answers())

    def _score(self, arms: list[Arm], records: list[AnswerRecord], indexes: Mapping[str, Index]) -> Scorecard:
        with self._console.step("scoring") as step:
            return build_scorecard(
                arms,
                self.data.questions,
                records,
                build.build_scorers(self.config, self.embedder, self.indexes.get("documents")),
                primary=self.config.policy.metric,
                training_s={adapter.name: adapter.training_s for adapter in self.adapters.values()},
                indexing_s={name: index.indexing_s for name, index in indexes.items()},
                provenance=build.provenance(self.config, self.data, self.models, engine_identity(self.config)),
                progress=step.update,
            )
