"""The YAML schema, with every default, and how a file, the environment and `key=value` overrides become one `Config`.

config = load_config(Path("configs/demo.yaml"), ["data=my/folder", "limits.questions=60"])
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from arbiter.models import EMBEDDER, GENERATOR
from arbiter.policy_config import PolicyConfig, Positive, RaceConfig, Section
from arbiter.retrieval_config import EmbeddingConfig, IndexConfig, RetrievalConfig
from arbiter.sweep_config import SweepConfig
from rag.search.settings import MAX_TOP_K
from router.answering.prompts import BUILT_IN, SHORT_ANSWER
from storage.errors import ArbiterError

# A file of a data folder, given in place of the folder or a config.
DATA_SUFFIXES = (".jsonl", ".json", ".csv", ".zip", ".md", ".txt", ".pdf")


class LimitsConfig(Section):
    """What is used of the data. Caps are None for all; rows are sampled with `seed`.

    `contradictions` are questions asked twice with no gold in common, `repeats` training rows that ask an evaluation
    question: such rows stop the run, or are left out, counted and listed.
    """

    train_rows: Positive | None = None
    questions: Positive | None = None
    contradictions: Literal["refuse", "drop"] = "refuse"
    repeats: Literal["refuse", "drop"] = "refuse"


class AdapterConfig(Section):
    """One adapter: the LoRA recipe, and the shape of its rows.

    `passages` 0 trains closed-book; n trains RAFT, each question with n passages, the golden one among them in
    `golden_fraction` of the rows.
    """

    passages: Annotated[int, Field(ge=0)] = 0
    golden_fraction: Annotated[float, Field(ge=0, le=1)] = 0.8
    rank: Positive = 16
    alpha: Positive = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    epochs: Annotated[float, Field(gt=0)] = 2
    batch_size: Positive = 4
    max_length: Positive = 1024


class PromptConfig(Section):
    """A prompt of the user's own; see router/answering/prompts.py."""

    system: str = SHORT_ANSWER
    passages: Literal["context", "turns"] = "context"


class SamplingConfig(Section):
    """How tokens are drawn; greedy by default. Without `max_tokens` it follows the training rows' answers."""

    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Positive | None = None


class ArmConfig(Section):
    """One arm: an adapter by its key under `adapters`, an index by its role, a prompt by name."""

    adapter: str | None = None
    index: Literal["documents", "examples"] | None = None
    prompt: str = "answer"
    top_k: Annotated[int, Field(ge=1, le=MAX_TOP_K)] | None = None
    condense: Literal["last", "recent", "model"] = "recent"
    retrieval: RetrievalConfig | None = None
    sampling: SamplingConfig | None = None


class EngineConfig(Section):
    """The text generator: vLLM as a child process, or with `url` any OpenAI-compatible server.

    `dtype` auto is decided by the CPU or GPU; `kv_cache_gib` counts on CPUs only; `model` names the base model at
    `url`.
    """

    url: str | None = None
    model: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    max_model_len: Positive = 2048
    max_loras: Positive = 4
    max_lora_rank: Positive = 16
    kv_cache_gib: Positive = 2
    ready_timeout_s: Annotated[float, Field(gt=0)] = 300.0
    request_timeout_s: Annotated[float, Field(gt=0)] = 120.0


class JudgeConfig(Section):
    """An OpenAI-compatible model for ragas's LLM metrics; the key is read from the environment variable named here."""

    url: str
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: Positive = 4
    timeout_s: Annotated[float, Field(gt=0)] = 60.0


class EvalConfig(Section):
    """`concurrency` questions are in flight at once; `patience_s` is how long a silent engine is waited for.

    `first_token_probes` answers an arm are streamed one at a time for the time to the first token. `labels` names a
    file in the data folder with human labels of answers; they correct the judge's mean.
    """

    first_token_probes: Annotated[int, Field(ge=0)] = 3
    labels: str | None = None
    concurrency: Positive = 16
    patience_s: Annotated[float, Field(gt=0)] = 300.0
    judge: JudgeConfig | None = None


STANDARD_ARMS: Mapping[str, ArmConfig] = {
    "base": ArmConfig(),
    "fewshot": ArmConfig(index="examples", prompt="fewshot"),
    "rag": ArmConfig(index="documents"),
    "tuned": ArmConfig(adapter="closed_book"),
    "tuned_rag": ArmConfig(adapter="closed_book", index="documents"),
    "hybrid": ArmConfig(adapter="raft", index="documents"),
}
# Closed-book rows are short, so a third pass over them is cheap.
STANDARD_ADAPTERS: Mapping[str, AdapterConfig] = {
    "closed_book": AdapterConfig(epochs=3),
    "raft": AdapterConfig(passages=2),
}


class Config(Section):
    """Everything a command can be told. `arms` and `adapters` add to the standard ones; null takes one away."""

    data: Path
    model: str = GENERATOR
    revision: str | None = None
    embedder: str = EMBEDDER
    embedder_revision: str | None = None
    seed: int = 0
    limits: LimitsConfig = LimitsConfig()
    embedding: EmbeddingConfig = EmbeddingConfig()
    index: IndexConfig = IndexConfig()
    adapters: dict[str, AdapterConfig] = Field(default_factory=dict, validate_default=True)
    prompts: dict[str, PromptConfig] = Field(default_factory=dict)
    sampling: SamplingConfig = SamplingConfig()
    arms: dict[str, ArmConfig] = Field(default_factory=dict, validate_default=True)
    engine: EngineConfig = EngineConfig()
    eval: EvalConfig = EvalConfig()
    race: RaceConfig | None = None
    sweep: SweepConfig = SweepConfig()
    policy: PolicyConfig = PolicyConfig()

    @field_validator("arms", mode="before")
    @classmethod
    def _with_standard_arms(cls, given: object) -> object:
        return _over_standard(given, STANDARD_ARMS)

    @field_validator("adapters", mode="before")
    @classmethod
    def _with_standard_adapters(cls, given: object) -> object:
        return _over_standard(given, STANDARD_ADAPTERS)

    @model_validator(mode="after")
    def _names_exist(self) -> Config:
        faults = []
        if not self.arms:
            faults.append("arms: none is left; keep at least one")
        for name, arm in self.arms.items():
            if name == "auto" or ":" in name or "/" in name:
                faults.append(f"arms.{name}: 'auto', ':' and '/' are taken; choose another name")
            if arm.adapter is not None and arm.adapter not in self.adapters:
                faults.append(f"arms.{name}.adapter: no adapter {arm.adapter!r} (there is {', '.join(self.adapters)})")
            prompts = {**BUILT_IN, **self.prompts}
            if arm.prompt not in prompts:
                faults.append(f"arms.{name}.prompt: no prompt {arm.prompt!r} (there is {', '.join(prompts)})")
        for name, adapter in self.adapters.items():
            if adapter.rank > self.engine.max_lora_rank:
                faults.append(
                    f"adapters.{name}.rank: {adapter.rank} is over engine.max_lora_rank {self.engine.max_lora_rank}"
                )
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def fingerprint(self) -> str:
        """sha256 over what shapes the answers and scores: not the policy, which can be changed without asking again,
        nor where rows are kept, nor how the engine is reached and waited for. In a race the policy says who is asked
        on, so it counts.
        """
        return hashlib.sha256(json.dumps(self.shaping(), sort_keys=True).encode()).hexdigest()

    def shaping(self) -> dict[str, Any]:
        """The keys that the fingerprint is made of."""
        shaping = self.model_dump(
            mode="json",
            exclude={
                "policy": True,
                "sweep": True,
                "embedding": {"threads"},
                "index": {"database", "store"},
                "engine": {"url", "api_key_env", "ready_timeout_s"},
            },
        )
        shaping["metric"] = self.policy.metric
        if self.race is not None:
            shaping["policy"] = self.policy.model_dump(mode="json", exclude={"require"})
        return shaping


def load_config(
    path: Path | str | None, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Config:
    """The config of a YAML file, then `ARBITER_SECTION__KEY` variables, then `section.key=value` overrides.

    A data folder in place of the file means the defaults for that folder; without either it is the defaults, for what
    needs no data.

    A relative `data` path in the file counts from the file's folder, one in an override from the working directory.
    Raises ArbiterError listing every fault at once.
    """
    path = Path(path) if path is not None else None
    values = _read_values(path)
    faults: list[str] = []
    for source, assignments in (("environment", _from_environment(environment)), ("", _split(overrides, faults))):
        for key, raw in assignments:
            _assign(values, key, raw, source, faults)
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        faults.extend(_faults(error))
    if faults:
        plural = "s" if len(faults) > 1 else ""
        raise ArbiterError(f"{path or 'settings'}: {len(faults)} fault{plural}: " + "; ".join(faults))
    return config


def data_home(environment: Mapping[str, str] | None = None) -> Path:
    """The data directory: `ARBITER_HOME`, or `.arbiter` in the working directory."""
    env = os.environ if environment is None else environment
    return Path(env.get("ARBITER_HOME") or ".arbiter").expanduser().resolve()


def _over_standard(given: object, standard: Mapping[str, Section]) -> object:
    if not isinstance(given, dict):
        return given
    merged: dict[str, object] = {name: section.model_dump() for name, section in standard.items()}
    for name, section in given.items():
        known = merged.get(name)
        merged[name] = {**known, **section} if isinstance(known, dict) and isinstance(section, dict) else section
    return {name: section for name, section in merged.items() if section is not None}


def load_data_keys(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """The data folder and limits of a config whose other keys are faulty. Raises as `load_config`."""
    values = _read_values(path)
    kept = [override for override in overrides if override.split("=")[0].split(".")[0] == "data"]
    faults: list[str] = []
    for key, raw in _split(kept, faults):
        _assign(values, key, raw, "", faults)
    return Config.model_validate({"data": str(values.get("data", "."))})


def _read_values(path: Path | None) -> dict[str, Any]:
    if path is None or path.expanduser().is_dir():
        return {"data": str(path or ".")}
    values = _read_yaml(path)
    if isinstance(values.get("data"), str):
        values["data"] = str(path.parent / Path(values["data"]).expanduser())
    return values


def _read_yaml(path: Path) -> dict[str, Any]:
    if path.suffix in DATA_SUFFIXES:
        raise ArbiterError(f"{str(path)!r} is no config; give the folder that it lies in: {str(path.parent)!r}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArbiterError(
            f"no config file {str(path)!r}; the project's own is configs/demo.yaml, and a data folder needs none"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ArbiterError(f"cannot read config file {str(path)!r}: {error}") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f":{where.line + 1}" if where else ""
        raise ArbiterError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', error)}") from error
    if not isinstance(values, dict):
        raise ArbiterError(f"{path}: a config is a mapping of keys to values; it needs at least `data: FOLDER`")
    return values


def _from_environment(environment: Mapping[str, str] | None) -> list[tuple[str, str]]:
    env = os.environ if environment is None else environment
    found = []
    for name, raw in sorted(env.items()):
        key = name.removeprefix("ARBITER_").lower().replace("__", ".")
        if name.startswith("ARBITER_") and key.split(".")[0] in Config.model_fields:
            found.append((key, raw))
    return found


def _split(overrides: Iterable[str], faults: list[str]) -> list[tuple[str, str]]:
    pairs = []
    for override in overrides:
        key, equals, raw = override.partition("=")
        if not equals or not key:
            faults.append(f"{override!r} is not an override; write key=value")
        else:
            pairs.append((key, raw))
    return pairs


def _assign(values: dict[str, Any], key: str, raw: str, source: str, faults: list[str]) -> None:
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError:
        value = raw
    node = values
    *parents, last = key.split(".")
    for parent in parents:
        node = node.setdefault(parent, {}) if isinstance(node, dict) else {}
        if node is None or not isinstance(node, dict):
            faults.append(f"{source + ' ' if source else ''}{key}: {parent!r} is not a section")
            return
    node[last] = value


def _faults(error: ValidationError) -> list[str]:
    faults = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            faults.append(f"{where}: unknown key{_did_you_mean(fault['loc'])}")
        elif fault["type"] == "value_error":
            message = fault["msg"].removeprefix("Value error, ")
            faults.extend(f"{where}: {line}" if where else line for line in message.splitlines())
        elif fault["type"] == "missing":
            faults.append(f"{where}: missing")
        else:
            message = fault["msg"][0].lower() + fault["msg"][1:]
            faults.append(f"{where}: {message}, not {fault['input']!r}")
    return faults


def _did_you_mean(location: tuple[int | str, ...]) -> str:
    section: Any = Config
    for part in location[:-1]:
        annotation = section.model_fields[part].annotation if part in getattr(section, "model_fields", {}) else None
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        section = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), section)
    close = difflib.get_close_matches(str(location[-1]), list(getattr(section, "model_fields", {})), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
