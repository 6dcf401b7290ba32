"""The `sweep` section of a config, and how it becomes a space of settings that an arm can really have.

target = resolve_sweep(config, SweepConfig(arm="rag", space={"arms.rag.top_k": [1, 2, 4]}))
trial = apply_settings(target.config, {"arms.rag.top_k": 4})
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from arbiter.config import STANDARD_ADAPTERS, STANDARD_ARMS, ArmConfig, Config, SweepConfig, config_faults
from eval.sweep.space import Choices, Range, Settings, Space, Value
from storage.errors import ArbiterError

# These say what is asked of the arms and with which model, not how one arm answers.
_NOT_OF_AN_ARM = (
    *("data", "model", "revision", "embedder", "embedder_revision", "embedding", "seed"),
    *("limits", "engine", "eval", "race", "policy", "sweep"),
)
# These say where an index is kept, not what is found in it.
_PLACES = ("index.database", "index.store")
# What an arm has from elsewhere unless it has its own.
_INHERITED = {"sampling": ("sampling",), "retrieval": ("index", "retrieval")}
_OF_RETRIEVAL = ("top_k", "retrieval", "condense")
_TOP_K, _EXAMPLE_TOP_K = [1, 2, 4], [2, 4, 8]
_CHUNK_TOKENS = [60, 90, 120, 180, 240]
_RANKS, _EPOCHS = [8, 16, 32], [1, 2, 3]
_LEARNING_RATE = Range(1e-4, 3e-3, log=True)


@dataclass(frozen=True, slots=True)
class SweepTarget:
    """An arm to sweep for: every setting in `space` is possible, and `defaults` are the user's own, in the space.

    `config` is the user's with an engine that takes the largest rank of the space.
    """

    arm: str
    space: Space
    defaults: Settings
    config: Config

    def also(self, best: Settings, config: Config) -> Settings:
        """What `config` needs besides the best settings to be able to have them."""
        ranks = [value for key, value in best.items() if _is_rank(key) and isinstance(value, int)]
        widest = max(ranks, default=0)
        return {"engine.max_lora_rank": widest} if widest > config.engine.max_lora_rank else {}


def resolve_sweep(config: Config, sweep: SweepConfig) -> SweepTarget:
    """The space of a sweep section, or the usual one of the arm's parts. Raises ArbiterError listing every fault."""
    arm = config.arms.get(sweep.arm) if sweep.arm is not None else None
    faults = [f"sweep.space.{key}: {fault}" for key, part in sweep.space.items() for fault in _part(part).faults()]
    if sweep.arm is None or arm is None:
        what = "sweep.arm is missing" if sweep.arm is None else f"sweep.arm: no arm {sweep.arm!r}"
        unknown = [f"sweep.space.{key}: {fault}" for key in sweep.space for fault in _unknown(key, _values(config))]
        raise _refused([f"{what} (there is {', '.join(config.arms)})", *faults, *unknown])
    given = sweep.space or _usual_space(sweep.arm, arm, config)
    space = {key: _part(part) for key, part in given.items()}
    if not space:
        faults.append(f"arm {sweep.arm!r} has neither index nor adapter; say what to sweep in sweep.space")
    roomy = _with_room_for_ranks(config, space)
    known = _Known(roomy, sweep.arm, space)
    resolved: dict[str, Choices | Range] = {}
    defaults: dict[str, Value] = {}
    for key, part in space.items():
        found = known.key_faults(key) or known.value_faults(key, part)
        if found or part.faults():
            faults += [f"sweep.space.{key}: {fault}" for fault in found]
            continue
        defaults[key] = known.default(key)
        try:
            resolved[key] = known.canonical(key, part).including(defaults[key])
        except ValueError as error:
            faults.append(f"sweep.space.{key}: {error}")
    if faults:
        raise _refused(faults)
    return SweepTarget(arm=sweep.arm, space=resolved, defaults=defaults, config=roomy)


def apply_settings(config: Config, settings: Settings) -> Config:
    """The config with settings instead of its own. Raises ArbiterError where it cannot have them."""
    values = _values(config)
    # An arm's own last: it begins with what it would have had.
    for key, value in sorted(settings.items(), key=lambda item: item[0].startswith("arms.")):
        _assign(values, key, value)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ArbiterError("; ".join(config_faults(error))) from error


class _Known:
    """What the config knows of the keys that an arm depends on."""

    def __init__(self, config: Config, arm: str, space: Mapping[str, Choices | Range]) -> None:
        self._config, self._arm, self._space = config, arm, space
        self._values = _values(config)
        own = config.arms[arm]
        self._adapters: set[Value] = {own.adapter, *_possible(space, f"arms.{arm}.adapter")} - {None}
        self._indexes: set[Value] = {own.index, *_possible(space, f"arms.{arm}.index")} - {None}
        self._prompts: set[Value] = {own.prompt, *_possible(space, f"arms.{arm}.prompt")}
        for part in _INHERITED:
            if self._values["arms"][arm][part] is None:
                self._values["arms"][arm][part] = _inherited(self._values, part)

    def key_faults(self, key: str) -> tuple[str, ...]:
        """Why the key cannot be tried for this arm."""
        unknown = _unknown(key, self._values)
        if unknown:
            return unknown
        section, _, rest = key.partition(".")
        if section in _NOT_OF_AN_ARM:
            return (f"{section!r} is the same for all arms and cannot be tried",)
        if key.startswith(_PLACES):
            return ("it says where rows are kept and cannot be tried",)
        name, _, part = rest.partition(".")
        owners: dict[str, set[Value]] = {"arms": {self._arm}, "adapters": self._adapters, "prompts": self._prompts}
        owned = owners.get(section)
        if owned is not None and name not in owned:
            return (f"arm {self._arm!r} does not depend on {section}.{name}",)
        is_of_retrieval = section == "index" or (section == "arms" and part.partition(".")[0] in _OF_RETRIEVAL)
        if is_of_retrieval and not self._indexes and not self._retrieves_in_training():
            return (f"arm {self._arm!r} retrieves nothing, so this cannot change it",)
        if key.startswith("index.retrieval.") and self._config.arms[self._arm].retrieval is not None:
            own = key.removeprefix("index.")
            return (f"arm {self._arm!r} has a retrieval of its own; sweep arms.{self._arm}.{own}",)
        return ()

    def value_faults(self, key: str, part: Choices | Range) -> tuple[str, ...]:
        """The values that the config refuses beside the defaults, the lowest and the highest of the other settings."""
        faults = []
        for value in part.ends():
            reasons = [reason for others in self._others(key) if (reason := self._refusal({**others, key: value}))]
            if len(reasons) == 3:
                faults.append(f"{value!r} is not possible: {reasons[0]}")
        return tuple(faults)

    def default(self, key: str) -> Value:
        """What the user's config has there, in effect."""
        if key == f"arms.{self._arm}.top_k" and _get(self._values, key) is None:
            inherited = "example_top_k" if self._config.arms[self._arm].index == "examples" else "top_k"
            return _get(self._values, f"index.{inherited}")
        return _get(self._values, key)

    def canonical(self, key: str, part: Choices | Range) -> Choices | Range:
        """Choices as the config reads them: YAML takes 1e-4 for text, the config takes it for a number."""
        if isinstance(part, Range):
            return part
        read = []
        for value in part.values:
            possible = (o for o in self._others(key) if self._refusal({**o, key: value}) is None)
            read.append(_get(_values(apply_settings(self._config, {**next(possible), key: value})), key))
        return Choices(tuple(dict.fromkeys(read)))

    def _others(self, key: str) -> tuple[Settings, ...]:
        rest = {other: part for other, part in self._space.items() if other != key and not self.key_faults(other)}
        ends = {other: part.ends() for other, part in rest.items() if not part.faults()}
        return {}, {o: values[0] for o, values in ends.items()}, {o: values[-1] for o, values in ends.items()}

    def _refusal(self, settings: Settings) -> str | None:
        try:
            apply_settings(self._config, settings)
        except ArbiterError as error:
            return str(error)
        return None

    def _retrieves_in_training(self) -> bool:
        return any(name in self._adapters and adapter.passages for name, adapter in self._config.adapters.items())


def _usual_space(name: str, arm: ArmConfig, config: Config) -> dict[str, Range | list[Any]]:
    """What usually matters: how much is retrieved, how it is cut, and how the adapter is trained."""
    space: dict[str, Range | list[Any]] = {}
    if arm.index is not None:
        space[f"arms.{name}.top_k"] = list(_TOP_K if arm.index == "documents" else _EXAMPLE_TOP_K)
    if arm.index == "documents":
        fitting = [tokens for tokens in _CHUNK_TOKENS if tokens > config.index.overlap_tokens]
        space["index.chunk_tokens"] = fitting or [config.index.chunk_tokens]
    if arm.adapter is not None:
        space[f"adapters.{arm.adapter}.rank"] = list(_RANKS)
        space[f"adapters.{arm.adapter}.learning_rate"] = _LEARNING_RATE
        space[f"adapters.{arm.adapter}.epochs"] = list(_EPOCHS)
    return space


def _unknown(key: str, values: Mapping[str, Any]) -> tuple[str, ...]:
    keys = list(_flat(values))
    if key in keys:
        return ()
    close = difflib.get_close_matches(key, keys, n=1)
    return (f"unknown key{f' (did you mean {close[0]!r}?)' if close else ''}",)


def _refused(faults: list[str]) -> ArbiterError:
    return ArbiterError(f"the sweep has {len(faults)} fault{'s' if len(faults) > 1 else ''}: " + "; ".join(faults))


def _part(given: Range | list[Any]) -> Choices | Range:
    return Choices(tuple(given)) if isinstance(given, list) else given


def _with_room_for_ranks(config: Config, space: Mapping[str, Choices | Range]) -> Config:
    ranks = [end for key, part in space.items() if _is_rank(key) for end in part.ends() if isinstance(end, int)]
    widest = max(ranks, default=0)
    if widest <= config.engine.max_lora_rank:
        return config
    return apply_settings(config, {"engine.max_lora_rank": widest})


def _is_rank(key: str) -> bool:
    return key.startswith("adapters.") and key.endswith(".rank")


def _possible(space: Mapping[str, Choices | Range], key: str) -> tuple[Value, ...]:
    part = space.get(key)
    return part.values if isinstance(part, Choices) else ()


def _values(config: Config) -> dict[str, Any]:
    """The config as a mapping that validates to itself: arms and adapters that were taken away stay away."""
    values = config.model_dump()
    values.pop("sweep", None)
    values["arms"] = {**dict.fromkeys(STANDARD_ARMS), **values["arms"]}
    values["adapters"] = {**dict.fromkeys(STANDARD_ADAPTERS), **values["adapters"]}
    return values


def _assign(values: dict[str, Any], key: str, value: Value) -> None:
    node = values
    *parents, last = key.split(".")
    for depth, parent in enumerate(parents):
        if node.get(parent) is None and parents[0] == "arms" and depth == 2:
            node[parent] = _inherited(values, parent)
        node = node[parent]
    node[last] = value


def _inherited(values: Mapping[str, Any], part: str) -> dict[str, Any]:
    """What an arm without this part has in its place."""
    node: Any = values
    for key in _INHERITED[part]:
        node = node[key]
    return dict(node)


def _get(values: Mapping[str, Any], key: str) -> Value:
    node: Any = values
    for part in key.split("."):
        node = node[part]
    value: Value = node
    return value


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
