"""The `sweep` section of a config as a space of settings that an arm can really have.

target = resolve_sweep(config, SweepSettings(arm="rag", space={"arms.rag.top_k": [1, 2, 4]}))
trial = apply_settings(target.config, {"arms.rag.top_k": 4})
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from typing import Any

from pydantic import ValidationError

from arbiter.config.schema import Config, config_faults
from arbiter.config.sections import STANDARD_ADAPTERS, STANDARD_ARMS, ArmConfig
from eval.sweep.space import Choices, Range, Settings, Space, SweepSettings, Value
from serving.engine.settings import LARGEST_RANK
from storage.errors import ArbiterError, did_you_mean
from tuning.automatic import settled
from tuning.methods.registry import export_rank
from tuning.recipe import Recipe, known

# These say where an index is kept, not what is found in it.
_PLACES = ("index.database", "index.store")
_OF_RETRIEVAL = ("top_k", "retrieval", "condense")
_TOP_K, _EXAMPLE_TOP_K = [1, 2, 4], [2, 4, 8]
_CHUNK_TOKENS = [60, 90, 120, 180, 240]
_EPOCHS, _BATCHES = [1, 2, 3, 5], [4, 8, 16]
# Beside a method's own rank and rate.
_RANK_FACTORS, _RATE_FACTORS = (0.5, 1, 2), (0.1, 10)


@dataclass(frozen=True, slots=True)
class SweepTarget:
    """An arm to sweep for: every setting in `space` is possible, and `defaults` are the user's own, in the space.

    `config` is the user's with an engine that takes the largest rank of the space.
    """

    arm: str
    space: Space
    defaults: Settings
    config: Config


def resolve_sweep(config: Config, sweep: SweepSettings) -> SweepTarget:
    """The space of a sweep section, or the usual one of the arm's parts; numbers that a training still leaves open are
    those for a few rows. Raises ArbiterError listing every fault.
    """
    adapters = {key: settled(recipe) for key, recipe in config.adapters.items()}
    config = config.model_copy(update={"adapters": adapters})
    name, arm = sweep.arm or "", config.arms.get(sweep.arm or "")
    given = sweep.space or (_usual_space(name, arm, config) if arm is not None else {})
    space = {key: Choices(tuple(part)) if isinstance(part, list) else part for key, part in given.items()}
    ends = [(key, end) for key in space for end in space[key].ends()]
    config = apply_settings(config, room_for_ranks(config, ends))
    values, faults = _values(config), []
    if arm is None:
        what = f"sweep.arm: no arm {name!r}" if name else "sweep.arm is missing"
        faults.append(f"{what} (there is {', '.join(config.arms)})")
        known, unknown = set(_flat(values)), "unknown key"
    else:
        own = values["arms"][name]
        own |= {part: value for part, value in _inherited(values, arm.index).items() if own[part] is None}
        known, unknown = _keys_of(name, arm, config, values, space), f"no setting of arm {name!r}"
        if not space:
            faults.append(f"arm {name!r} has neither an index nor a training; say what to sweep in sweep.space")
    sound: dict[str, Choices | Range] = {}
    for key, part in space.items():
        found = list(part.faults())
        if key not in known:
            found.append(unknown + did_you_mean(key, known))
        faults += [f"sweep.space.{key}: {fault}" for fault in found]
        if not found and arm is not None:
            sound[key] = part
    resolved: dict[str, Choices | Range] = {}
    defaults = {key: _get(values, key) for key in sound}
    for key, part in sound.items():
        others = {other: rest.ends() for other, rest in sound.items() if other != key}
        read: list[Value] = []
        for value in part.ends():
            try:
                read.append(_as_read(config, key, value, others))
            except ArbiterError as error:
                faults.append(f"sweep.space.{key}: {value!r} is not possible: {error}")
        if len(read) < len(part.ends()):
            continue
        try:
            canonical = Choices(tuple(dict.fromkeys(read))) if isinstance(part, Choices) else part
            resolved[key] = canonical.including(defaults[key])
        except ValueError as error:
            faults.append(f"sweep.space.{key}: {error}")
    if faults:
        plural = "s" if len(faults) > 1 else ""
        raise ArbiterError(f"the sweep has {len(faults)} fault{plural}: " + "; ".join(faults))
    return SweepTarget(arm=name, space=resolved, defaults=defaults, config=config)


def apply_settings(config: Config, settings: Settings) -> Config:
    """The config with settings instead of its own. Raises ArbiterError where it cannot have them."""
    values = _values(config)
    # An arm's own last: it begins with what it would have had.
    for key, value in sorted(settings.items(), key=lambda item: item[0].startswith("arms.")):
        *parents, last = key.split(".")
        node = values
        for parent in parents:
            if node[parent] is None:
                node[parent] = dict(_inherited(values)[parent])
            node = node[parent]
        node[last] = value
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ArbiterError("; ".join(config_faults(error))) from error


def room_for_ranks(config: Config, settings: Iterable[tuple[str, Value]]) -> Settings:
    """What the config's engine needs besides to take the ranks among these settings."""
    ends: dict[str, dict[str, list[Value]]] = {}
    for key, value in settings:
        section, _, name = key.removeprefix("adapters.").rpartition(".")
        if key.startswith("adapters.") and section in config.adapters:
            ends.setdefault(section, {}).setdefault(name, []).append(value)
    widest = 0
    for section, parts in ends.items():
        for values in itertools.product(*parts.values()):
            with contextlib.suppress(ArbiterError):  # one that is not possible is said of its setting
                recipe = _changed(config.adapters[section], dict(zip(parts, values, strict=True)))
                widest = max(widest, export_rank(recipe))
    return {"engine.max_lora_rank": widest} if config.lora_rank < widest <= LARGEST_RANK else {}


def _changed(recipe: Recipe, settings: Settings) -> Recipe:
    """The recipe with other numbers. Raises TuningError for one that it does not take, or does not have."""
    values = {**dataclasses.asdict(recipe), **settings}
    return type(recipe)(**values)


def _usual_space(name: str, arm: ArmConfig, config: Config) -> dict[str, Range | list[Any]]:
    """What usually matters: how much is retrieved, how it is cut, and how the adapter is trained."""
    space: dict[str, Range | list[Any]] = {}
    if arm.index is not None:
        space[f"arms.{name}.top_k"] = list(_TOP_K if arm.index == "documents" else _EXAMPLE_TOP_K)
    if arm.index == "documents":
        fitting = [tokens for tokens in _CHUNK_TOKENS if tokens > config.index.overlap_tokens]
        space["index.chunk_tokens"] = fitting or [config.index.chunk_tokens]
    if arm.adapter in config.adapters:
        for key, part in _usual_training(config.adapters[arm.adapter]).items():
            space[f"adapters.{arm.adapter}.{key}"] = part
    return space


def _usual_training(recipe: Recipe) -> dict[str, Range | list[Any]]:
    """The numbers of a method's training that matter, around its defaults and as far as the recipe can have them."""
    if recipe.epochs == 0:
        return {}  # nothing is trained
    usual = settled(type(recipe)(objective=recipe.objective))
    tried = {"batch_size": _BATCHES}
    if (rank := getattr(usual, "rank", None)) is not None:
        tried["rank"] = [whole for factor in _RANK_FACTORS if (whole := int(factor * rank)) > 0]
    possible: dict[str, list[Any]] = {"rank": [], "batch_size": []}
    for key, values in tried.items():
        for value in values:
            with contextlib.suppress(ArbiterError):
                if export_rank(_changed(recipe, {key: value})) <= LARGEST_RANK:
                    possible[key].append(value)
    slowest, fastest = (float(f"{known(usual.learning_rate) * factor:.3g}") for factor in _RATE_FACTORS)
    space: dict[str, Range | list[Any]] = {
        "rank": possible["rank"],
        "learning_rate": Range(slowest, min(fastest, 1.0), log=True),
        "epochs": list(_EPOCHS),
        "batch_size": possible["batch_size"],
    }
    return {key: part for key, part in space.items() if part}


def _keys_of(name: str, arm: ArmConfig, config: Config, values: Mapping[str, Any], space: Space) -> set[str]:
    """The keys that can change what an arm answers."""
    adapters, indexes, prompts = (_possible(name, arm, part, space) for part in ("adapter", "index", "prompt"))
    retrieves = indexes or any(spec.passages for key, spec in config.adapters.items() if key in adapters)
    sections = [f"arms.{name}", *(f"adapters.{key}" for key in adapters), *(f"prompts.{key}" for key in prompts)]
    sections += ["index"] if retrieves else []
    sections += ["sampling"] if arm.sampling is None else []
    without = [*_PLACES, *(["index.retrieval"] if arm.retrieval is not None else [])]
    without += [f"arms.{name}.proposers"]
    without += [] if retrieves else [f"arms.{name}.{part}" for part in _OF_RETRIEVAL]
    return {key for key in _flat(values) if _is_in(key, sections) and not _is_in(key, without)}


def _possible(name: str, arm: ArmConfig, part: str, space: Space) -> set[Value]:
    """What an arm has in one of its parts, and may have in a trial."""
    tried = space.get(f"arms.{name}.{part}")
    return {getattr(arm, part), *(tried.values if isinstance(tried, Choices) else ())} - {None}


def _is_in(key: str, sections: Iterable[str]) -> bool:
    return any(key == section or key.startswith(f"{section}.") for section in sections)


def _as_read(config: Config, key: str, value: Value, others: Mapping[str, tuple[Value, ...]]) -> Value:
    """The value as the config reads it, which takes 1e-4 for a number, where YAML takes it for text.

    Raises ArbiterError where it is refused beside the defaults, the lowest and the highest of the other settings.
    """
    refusals = []
    for rest in ({}, {o: ends[0] for o, ends in others.items()}, {o: ends[-1] for o, ends in others.items()}):
        try:
            return _get(_values(apply_settings(config, {**rest, key: value})), key)
        except ArbiterError as error:
            refusals.append(error)
    raise refusals[0]


def _values(config: Config) -> dict[str, Any]:
    """The config as a mapping that validates to itself: arms and adapters that were taken away stay away."""
    values = config.model_dump(exclude={"sweep"})
    values["arms"] = {**dict.fromkeys(STANDARD_ARMS), **values["arms"]}
    values["adapters"] = {**dict.fromkeys(STANDARD_ADAPTERS), **values["adapters"]}
    return values


def _inherited(values: Mapping[str, Any], index: str | None = None) -> dict[str, Any]:
    """What an arm without these parts of its own has in their place."""
    default_k = "example_top_k" if index == "examples" else "top_k"
    return {
        "sampling": values["sampling"],
        "retrieval": values["index"]["retrieval"],
        "top_k": values["index"][default_k],
    }


def _get(values: Mapping[str, Any], key: str) -> Value:
    value: Value = reduce(getitem, key.split("."), values)  # type: ignore[assignment]
    return value


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
