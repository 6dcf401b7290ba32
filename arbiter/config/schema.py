"""`Config`: every section of a config, composed of the settings of the packages that use them.

config = Config.model_validate({"data": "my/folder", "arms": {"wide": {"index": "documents", "top_k": 8}}})
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from arbiter.config.arms import STANDARD_ADAPTERS, STANDARD_ARMS, ArmConfig
from arbiter.config.policy import PolicyConfig
from arbiter.config.retrieval import EmbeddingConfig, IndexConfig
from arbiter.models import EMBEDDER, GENERATOR
from eval.settings import JudgeEndpoint, RaceSettings
from eval.sweep.space import SweepSettings
from router.answering.arm import Sampling
from router.answering.prompts import BUILT_IN, Prompt
from serving.engine.settings import EngineSettings
from storage.errors import ArbiterError
from storage.settings import Above0, Count, ModelName, Whole, faults_of, settings
from tuning.methods.registry import AnyRecipe


def _given(path: object) -> object:
    if path == "":
        raise ValueError("must be a path, not empty")
    return path


def _resolved(path: Path) -> Path:
    # One folder has one spelling, whatever was typed and wherever that was.
    try:
        return path.expanduser().resolve()
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{str(path)!r} leads nowhere: {error}") from error


@settings(ArbiterError)
class LimitsConfig:
    """What is used of the data."""

    train_rows: Count | None = None
    """The most training rows, sampled with `seed`; null is all."""
    questions: Count | None = None
    """The most evaluation questions, sampled with `seed`; null is all."""
    contradictions: Literal["refuse", "drop"] = "refuse"
    """Questions asked twice with no gold in common stop the run, or are left out, counted and listed."""
    repeats: Literal["refuse", "drop"] = "refuse"
    """Training rows that ask an evaluation question; the same."""


@settings(ArbiterError)
class EvalConfig:
    """How the arms are asked and their answers scored."""

    first_token_probes: Whole = 3
    """Answers an arm that are streamed one at a time for the time to the first token."""
    labels: str | None = None
    """A file in the data folder with human labels of answers; they correct the judge's mean."""
    concurrency: Count = 16
    """Questions in flight at once."""
    patience_s: Above0 = 300.0
    """How long a silent engine is waited for."""
    judge: JudgeEndpoint | None = None


class Config(BaseModel):
    """Everything a command can be told. `arms` and `adapters` add to the standard ones; null takes one away."""

    # A misspelt setting must not be a silent default.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    data: Annotated[Path, BeforeValidator(_given), AfterValidator(_resolved)]
    """The folder of documents and questions; in a file it counts from the file's folder."""
    model: ModelName = GENERATOR
    """The base model: a hub id or a folder."""
    revision: str | None = None
    """Its revision; null is the one that is there, or the newest."""
    embedder: ModelName = EMBEDDER
    """The embedding model: a hub id or a folder."""
    embedder_revision: str | None = None
    """Its revision."""
    seed: Whole = 0
    """Of everything that is drawn, unless a section has a seed of its own."""
    limits: LimitsConfig = LimitsConfig()
    embedding: EmbeddingConfig = EmbeddingConfig()
    index: IndexConfig = IndexConfig()
    adapters: dict[str, AnyRecipe]
    prompts: dict[str, Prompt] = {}
    sampling: Sampling = Sampling()
    arms: dict[str, ArmConfig]
    engine: EngineSettings = EngineSettings()
    eval: EvalConfig = EvalConfig()
    race: RaceSettings | None = None
    sweep: SweepSettings = SweepSettings()
    policy: PolicyConfig = PolicyConfig()

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: object) -> object:
        """The standard arms and adapters, the names of prompts, and the run's seed where a part has none of its own."""
        if not isinstance(given, Mapping):
            return given
        values: dict[str, Any] = {**given}
        seed = values.get("seed", 0)
        own = {"seed": seed} if type(seed) is int and seed >= 0 else {}
        values["sampling"] = _with(values.get("sampling", {}), own)
        values["race"] = _with(values.get("race"), own)
        values["prompts"] = _each(values.get("prompts", {}), lambda name, prompt: _with(prompt, {"name": name}))
        adapters = _over_standard(values.get("adapters", {}), STANDARD_ADAPTERS)
        values["adapters"] = _each(adapters, lambda _, adapter: _with(adapter, own))
        arms = _over_standard(values.get("arms", {}), STANDARD_ARMS)
        values["arms"] = _each(arms, lambda _, arm: _sampled(arm, own))
        return values

    @model_validator(mode="after")
    def _names_exist(self) -> Config:
        faults = []
        if not self.arms:
            faults.append("arms: none is left; keep at least one")
        prompts = {**BUILT_IN, **self.prompts}
        for name, arm in self.arms.items():
            if name == "auto" or ":" in name or "/" in name:
                faults.append(f"arms.{name}: 'auto', ':' and '/' are taken; choose another name")
            if arm.adapter is not None and arm.adapter not in self.adapters:
                faults.append(f"arms.{name}.adapter: no adapter {arm.adapter!r} (there is {', '.join(self.adapters)})")
            if arm.prompt not in prompts:
                faults.append(f"arms.{name}.prompt: no prompt {arm.prompt!r} (there is {', '.join(prompts)})")
        for name, adapter in self.adapters.items():
            rank = getattr(adapter, "rank", 0)
            if rank > self.engine.max_lora_rank:
                faults.append(f"adapters.{name}.rank: {rank} is over engine.max_lora_rank {self.engine.max_lora_rank}")
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def fingerprint(self) -> str:
        """sha256 over what shapes the answers and scores: not the policy, which can be changed without asking again,
        nor where rows are kept, nor how the engine is reached and waited for. In a race the policy says who is asked
        on, so it counts. The data counts by where it lies: what it holds is a run's `data_version`.
        """
        return hashlib.sha256(json.dumps(self.shaping(), sort_keys=True).encode()).hexdigest()

    def shaping(self) -> dict[str, Any]:
        """The keys that the fingerprint is made of; of the seeds, those that are not the run's."""
        shaping = self.model_dump(
            mode="json",
            exclude={
                "policy": True,
                "sweep": True,
                "embedding": {"threads"},
                "index": {"database", "store"},
                "engine": {"url", "api_key_env", "ready_timeout_s"},
                "eval": {"judge": {"api_key_env"}},
            },
        )
        shaping["metric"] = self.policy.metric
        if self.race is not None:
            shaping["policy"] = {key: value for key, value in asdict(self.policy).items() if key != "require"}
        return {key: _without(value, ("seed", self.seed)) for key, value in shaping.items()}


def config_faults(error: ValidationError) -> list[str]:
    """What is wrong with the values of a config, a line each."""
    return faults_of(error, config_schema())


@cache
def config_schema() -> dict[str, Any]:
    """The JSON schema of a config."""
    return Config.model_json_schema()


def _over_standard(given: object, standard: Mapping[str, Mapping[str, object]]) -> object:
    if not isinstance(given, Mapping):
        return given
    merged: dict[str, object] = {name: _with(given.get(name, {}), section) for name, section in standard.items()}
    return {name: section for name, section in {**merged, **given, **merged}.items() if section is not None}


def _each(sections: object, change: Callable[[str, object], object]) -> object:
    if not isinstance(sections, Mapping):
        return sections
    return {name: change(name, section) for name, section in sections.items()}


def _with(section: object, defaults: Mapping[str, object]) -> object:
    """The section with what it lacks; what is no section stays, for pydantic to refuse."""
    return {**defaults, **section} if isinstance(section, Mapping) else section


def _sampled(arm: object, own: Mapping[str, object]) -> object:
    return {**arm, "sampling": _with(arm.get("sampling"), own)} if isinstance(arm, Mapping) else arm


def _without(node: Any, item: tuple[str, object]) -> Any:
    if not isinstance(node, dict):
        return node
    return {key: _without(value, item) for key, value in node.items() if (key, value) != item}
