"""How a YAML file, the environment and `key=value` overrides become one `Config`.

config = load_config(Path("configs/demo.yaml"), ["data=my/folder", "limits.questions=60"])
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from arbiter.config.schema import Config, config_faults, config_schema
from storage.errors import ArbiterError
from storage.settings import branches, find

# A file of a data folder, given in place of the folder or a config.
DATA_SUFFIXES = (".jsonl", ".json", ".csv", ".zip", ".md", ".txt", ".pdf")


def load_config(
    path: Path | str | None, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Config:
    """The config of a YAML file, then `ARBITER_SECTION__KEY` variables, then `section.key=value` overrides.

    A data folder in place of the file means the defaults for that folder; without either it is the defaults, for what
    needs no data.

    A relative path in the file counts from the file's folder, one in an override from the working directory.
    Raises ArbiterError listing every fault at once.
    """
    path = Path(path) if path is not None else None
    values = _read_values(path)
    faults: list[str] = []
    for source, assignments in (("environment", _from_environment(environment)), ("", _split(overrides, faults))):
        for key, raw in assignments:
            _assign(values, key, raw, source, faults)
    return _validated(values, path, faults)


def data_home(environment: Mapping[str, str] | None = None) -> Path:
    """The data directory: `ARBITER_HOME`, or `.arbiter` in the working directory."""
    env = os.environ if environment is None else environment
    return Path(env.get("ARBITER_HOME") or ".arbiter").expanduser().resolve()


def load_data_keys(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """The data folder and limits of a config whose other keys are faulty. Raises as `load_config`."""
    values = _read_values(path)
    kept = [override for override in overrides if override.split("=")[0].split(".")[0].strip() == "data"]
    faults: list[str] = []
    for key, raw in _split(kept, faults):
        _assign(values, key, raw, "", faults)
    return _validated({"data": values.get("data", ".")}, path, faults)


def _validated(values: Mapping[str, Any], path: Path | None, faults: list[str]) -> Config:
    """The config of the values. Raises ArbiterError with the faults that are known and those of the values."""
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        faults.extend(config_faults(error))
    if faults:
        plural = "s" if len(faults) > 1 else ""
        raise ArbiterError(f"{path or 'settings'}: {len(faults)} fault{plural}: " + "; ".join(faults))
    return config


def _read_values(path: Path | None) -> dict[str, Any]:
    """The keys of a file. Paths in it count from its folder: the data, and models that lie there."""
    if path is None or path.expanduser().is_dir():
        return {"data": str(path or ".")}
    values = _read_yaml(path)
    for key in ("data", "model", "embedder"):
        given = values.get(key)
        if isinstance(given, str) and given:
            near = path.parent / Path(given).expanduser()
            values[key] = str(near) if key == "data" or near.is_dir() else given
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
    except RecursionError as error:
        raise ArbiterError(f"{path}: its brackets are nested too deeply for a config") from error
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
        key, equals, raw = (part.strip() for part in override.partition("="))
        if not equals or not key:
            faults.append(f"{override!r} is not an override; write key=value, without spaces")
        else:
            pairs.append((key, raw))
    return pairs


def _assign(values: dict[str, Any], key: str, raw: str, source: str, faults: list[str]) -> None:
    node = values
    *parents, last = key.split(".")
    for parent in parents:
        node = node.setdefault(parent, {}) if isinstance(node, dict) else {}
        if node is None or not isinstance(node, dict):
            faults.append(f"{source + ' ' if source else ''}{key}: {parent!r} is not a section")
            return
    node[last] = _read(key, raw)


def _read(key: str, raw: str) -> object:
    """The value of a key as YAML reads it; where the key takes text, a number or a date stays what was typed."""
    try:
        value = yaml.safe_load(raw)
    except (yaml.YAMLError, RecursionError):
        return raw
    place = find(config_schema(), key.split("."))
    kinds = {branch.get("type") for branch in branches(place, config_schema())} if place is not None else set()
    return value if value is None or isinstance(value, str) or kinds - {"null"} != {"string"} else raw
