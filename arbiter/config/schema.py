"""`Config`: every section of a config, composed of the settings of the packages that use them.

config = Config.model_validate({"data": "my/folder", "arms": {"wide": {"index": "documents", "top_k": 8}}})
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from arbiter.config.sections import (
    STANDARD_ADAPTERS,
    STANDARD_ARMS,
    ArmConfig,
    EmbeddingConfig,
    EnergyConfig,
    EvalConfig,
    IndexConfig,
    LimitsConfig,
    PolicyConfig,
)
from arbiter.models import EMBEDDER, GENERATOR
from eval.generation.settings import DistillSettings, GenerateSettings
from eval.learning_curve import CurveSettings
from eval.settings import RaceSettings
from eval.sweep.space import SweepSettings
from router.answering.arm import Sampling
from router.answering.prompts import BUILT_IN, Prompt
from serving.engine.settings import LARGEST_RANK, LEAST_RANK, EngineSettings
from storage.errors import did_you_mean
from storage.settings import NUMBER, ModelName, Whole, faults_of
from tuning.data.rows import TrainingRow
from tuning.data.topics import TopicSettings
from tuning.methods.registry import METHODS, AnyRecipe, export_rank
from tuning.objectives.distilled import is_distilled
from tuning.objectives.drawn import reward_of
from tuning.objectives.registry import OBJECTIVES
from tuning.objectives.supervised import Supervised
from tuning.recipe import OWN_ENGINE, Recipe


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


# A folder has one spelling wherever it was named from.
Folder = Annotated[str, AfterValidator(lambda folder: str(Path(folder).expanduser().resolve()))]
Mixed = Annotated[float, Field(gt=0, lt=1), NUMBER]


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
    mix: dict[str, dict[Folder, Mixed]] = {}
    """Training rows of other data folders among an adapter's own: its key, then folders and their shares of all rows
    that it learns, `{support: {../march: 0.2}}`. An earlier folder's keep a further training (`continue_from`) from
    forgetting it."""
    topics: dict[str, TopicSettings] = {}
    """Adapters, by their key, that are a set: one is trained for each topic of the training rows, with the numbers
    under `adapters`, and the nearest topic's answers a question."""
    prompts: dict[str, Prompt] = {}
    sampling: Sampling = Sampling()
    arms: dict[str, ArmConfig]
    engine: EngineSettings = EngineSettings()
    eval: EvalConfig = EvalConfig()
    race: RaceSettings | None = RaceSettings()
    """Questions are spent in batches, and arms that are shown to be worse drop out; null asks every arm everything."""
    sweep: SweepSettings = SweepSettings()
    curve: CurveSettings = CurveSettings()
    generate: GenerateSettings = GenerateSettings()
    distill: DistillSettings = DistillSettings()
    policy: PolicyConfig = PolicyConfig()
    energy: EnergyConfig = EnergyConfig()

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
        for key, standard, complete in (
            ("prompts", {}, lambda name, prompt: _with(prompt, {"name": name})),
            ("adapters", STANDARD_ADAPTERS, lambda _, adapter: _with(adapter, own)),
            ("arms", STANDARD_ARMS, lambda _, arm: _with(arm, {}, sampling=own)),
        ):
            values[key] = _named(values.get(key, {}), standard, complete)
        return values

    @model_validator(mode="after")
    def _names_exist(self) -> Config:
        faults = [] if self.arms else ["arms: none is left; keep at least one"]
        rewarding = [key for key, one in self.adapters.items() if not OBJECTIVES[one.objective.name].gives_answers]
        for name, arm in self.arms.items():
            if not name or name == "auto" or ":" in name or "/" in name:
                faults.append(f"arms.{name}: 'auto', ':', '/' and an empty name are taken; choose another")
            if arm.adapter is not None and arm.adapter not in self.adapters and "@" not in arm.adapter:
                faults.append(f"arms.{name}.adapter: no adapter {arm.adapter!r} (there is {', '.join(self.adapters)})")
            elif arm.adapter in rewarding:
                faults.append(
                    f"arms.{name}.adapter: {arm.adapter!r} learns what answers are worth, and gives none; name it in "
                    "objective.reward of another adapter"
                )
            if arm.prompt not in self.all_prompts:
                faults.append(f"arms.{name}.prompt: no prompt {arm.prompt!r} (there is {', '.join(self.all_prompts)})")
            faults += [f"arms.{name}.proposers: {fault}" for fault in self._proposer_faults(name, arm)]
        if self.policy.limits.ttft_ms is not None and not self.eval.first_token_probes:
            faults.append("policy.limits.ttft_ms needs eval.first_token_probes of at least 1, to be measured")
        for name, shares in self.mix.items():
            if name not in self.adapters:
                faults.append(f"mix.{name}: no adapter {name!r} (there is {', '.join(self.adapters)})")
            elif OBJECTIVES[self.adapters[name].objective.name].row is not TrainingRow:
                faults.append(f"mix.{name}: its objective {self.adapters[name].objective.name} learns no examples")
            if sum(shares.values()) >= 1:
                faults.append(f"mix.{name}: shares must sum to less than 1, the rest being the data's own rows")
        faults += [fault for name in self.topics if (fault := self._topics_fault(name)) is not None]
        for name, recipe in self.adapters.items():
            reward = reward_of(recipe.objective)
            if reward and reward not in rewarding:
                faults.append(
                    f"adapters.{name}.objective.reward: no adapter {reward!r} with objective reward (there is "
                    f"{', '.join(rewarding) or 'none'})"
                )
            if is_distilled(recipe.objective) and self.distill.teacher is None:
                faults.append(
                    f"adapters.{name}: objective {recipe.objective.name} learns from a teacher, and there is none; set "
                    "distill.teacher.url and distill.teacher.model"
                )
        faults += self.too_wide(self.adapters).values()
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def _proposer_faults(self, name: str, arm: ArmConfig) -> list[str]:
        """What is wrong with the proposers of a mixture."""
        faults = []
        for proposer in dict.fromkeys(arm.proposers):
            if proposer == name:
                faults.append(f"{name!r} cannot propose to itself; name other arms")
            elif proposer not in self.arms:
                others = [one for one, spec in self.arms.items() if one != name and not spec.proposers]
                hint = did_you_mean(proposer, others) or f" (there is {', '.join(others)})"
                faults.append(f"no arm {proposer!r}{hint}")
            elif self.arms[proposer].proposers:
                faults.append(f"{proposer!r} is a mixture itself; name arms without proposers")
        if len(set(arm.proposers)) < len(arm.proposers):
            faults.append("an arm is named twice; name each once")
        elif len(arm.proposers) == 1:
            faults.append(f"{arm.proposers[0]!r} alone is no mixture; name two arms or more")
        return faults

    def with_proposers(self, names: Iterable[str]) -> dict[str, ArmConfig]:
        """The arms of these names, each after those that propose to it, as far as they are not among them."""
        arms: dict[str, ArmConfig] = {}
        for name in names:
            arms |= {one: self.arms[one] for one in (*self.arms[name].proposers, name) if one not in arms}
        return arms

    def _topics_fault(self, name: str) -> str | None:
        """Why the adapter of this key cannot be a set, in a line; None where it can."""
        recipe = self.adapters.get(name)
        if recipe is None:
            return f"topics.{name}: no adapter {name!r} (there is {', '.join(self.adapters)})"
        if METHODS[recipe.method].form in OWN_ENGINE:
            return (
                f"topics.{name}: each adapter of method {recipe.method} has an engine of its own, too many for a set; "
                f"set adapters.{name}.method to lora, or another that vLLM swaps (arbiter tune --list)"
            )
        if recipe.objective != Supervised():
            return f"topics.{name}: topics are those of examples; set adapters.{name}.objective to supervised"
        if recipe.has_looks:
            return f"topics.{name}: one topic has too few dev rows; set adapters.{name}.keep to last and patience to 0"
        return None

    def too_wide(self, recipes: Mapping[str, Recipe]) -> dict[str, str]:
        """A sentence for each of these adapters whose rank the engine does not take, by its key; one that is left open
        is that of a few rows.
        """
        most = self.engine.max_lora_rank
        limit = f"engine.max_lora_rank {most}" if most else f"the {LARGEST_RANK} that vLLM serves"
        return {
            name: f"adapters.{name}: it is served at rank {rank}, which is over {limit}"
            for name, recipe in recipes.items()
            if (rank := export_rank(recipe)) > (most or LARGEST_RANK)
        }

    @property
    def lora_rank(self) -> int:
        """The largest rank that the engine has to take."""
        return self.engine.max_lora_rank or max([LEAST_RANK, *map(export_rank, self.adapters.values())])

    @property
    def all_prompts(self) -> dict[str, Prompt]:
        """The built-in prompts and the config's own, by name."""
        return {**BUILT_IN, **self.prompts}

    def to_yaml(self) -> str:
        """The file that `load_config` makes this config of again, but for what may be secret, which is not in it."""
        values = self.model_dump(mode="json")
        # A standard part that is not there must be taken away again.
        for section, standard in (("arms", STANDARD_ARMS), ("adapters", STANDARD_ADAPTERS)):
            values[section] = {**dict.fromkeys(standard), **values[section]}
        return str(yaml.safe_dump(values, sort_keys=False))

    def fingerprint(self) -> str:
        """sha256 over what shapes the answers and scores: not the policy, which can be changed without asking again,
        nor where rows are kept, nor how the engine is reached and waited for. The data counts by where it lies: what it
        holds is a run's `data_version`.
        """
        return hashlib.sha256(json.dumps(self.shaping(), sort_keys=True).encode()).hexdigest()

    def raced_by(self) -> str:
        """sha256 over the policy by which a race asks some arms on and others not; "" without a race."""
        if self.race is None:
            return ""
        policy = {key: value for key, value in asdict(self.policy).items() if key not in ("require", "gates")}
        return hashlib.sha256(json.dumps(policy, sort_keys=True).encode()).hexdigest()

    def shaping(self) -> dict[str, Any]:
        """The keys that the fingerprint is made of; of the seeds, those that are not the run's."""
        shaping = self.model_dump(
            mode="json",
            exclude={
                "policy": True,
                "sweep": True,
                "curve": True,
                "generate": True,
                "energy": True,
                "embedding": {"threads"},
                "index": {"database", "store"},
                "engine": {"url", "api_key_env", "max_own_engines", "ready_timeout_s"},
                "eval": {"judge": {"api_key_env"}},
                "distill": {
                    "teacher": {"api_key_env", "concurrency", "timeout_s", "retries"},
                    "max_requests": True,
                    "max_tokens": True,
                },
            },
        )
        if not any(is_distilled(recipe.objective) for recipe in self.adapters.values()):
            del shaping["distill"]
        shaping["metric"] = self.policy.metric
        for adapter in shaping["adapters"].values():  # runs from before there was another objective are found
            if adapter["objective"] == {"name": "supervised"}:
                del adapter["objective"]
        for later in ("mix", "topics"):  # likewise before there were such
            if not shaping[later]:
                del shaping[later]
        for arm in shaping["arms"].values():  # and before there were mixtures of agents
            if not arm["proposers"]:
                del arm["proposers"]
        return {key: _without(value, ("seed", self.seed)) for key, value in shaping.items()}


def config_faults(error: ValidationError) -> list[str]:
    """What is wrong with the values of a config, a line each."""
    return faults_of(error, config_schema())


@cache
def config_schema() -> dict[str, Any]:
    """The JSON schema of a config."""
    return Config.model_json_schema()


def _named(
    given: object, standard: Mapping[str, Mapping[str, object]], complete: Callable[[str, object], object]
) -> object:
    """Named sections over the standard ones, each completed; one that is null is taken away."""
    if not isinstance(given, Mapping):
        return given
    merged: dict[str, object] = {name: _with(given.get(name, {}), section) for name, section in standard.items()}
    sections = {**merged, **given, **merged}  # the standard ones first
    return {name: complete(name, section) for name, section in sections.items() if section is not None}


def _with(section: object, defaults: Mapping[str, object], **parts: Mapping[str, object]) -> object:
    """The section with what it and its `parts` lack; what is no section stays, for pydantic to refuse."""
    if not isinstance(section, Mapping):
        return section
    return {**defaults, **section, **{name: _with(section.get(name), part) for name, part in parts.items()}}


def _without(node: Any, item: tuple[str, object]) -> Any:
    if not isinstance(node, dict):
        return node
    return {key: _without(value, item) for key, value in node.items() if (key, value) != item}
