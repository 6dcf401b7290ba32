"""How a YAML file, the environment and `key=value` overrides become one `Config`.

config = load_config(Path("configs/demo.yaml"), ["data=my/folder", "limits.questions=60"])
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from arbiter.config.schema import Config, config_faults, config_schema
from storage.errors import ArbiterError, did_you_mean
from storage.settings import branches, find

# A file of a data folder, given in place of the folder or a config.
DATA_SUFFIXES = (".jsonl", ".json", ".csv", ".zip", ".md", ".txt", ".pdf")
# Of the environment's names those that are read elsewhere, keys of engines and judges, and what Kubernetes sets for a
# service called arbiter.
_NO_SETTING = re.compile(r"ARBITER_(HOME|DATABASE|DEBUG|CPU_LORA|GGUF_CONVERTER|(\w+_)?KEY|PORT(_\w+)?|SERVICE_\w+)")
# A file without an end, like /dev/zero, is not read to its end.
_MOST_CHARACTERS = 1_000_000


def load_config(
    path: Path | str | None, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Config:
    """The config of a YAML file, then `ARBITER_SECTION__KEY` variables, then `section.key=value` overrides.

    A data folder in place of the file means the defaults for that folder; without either it is the defaults, for what
    needs no data.

    A relative path in the file counts from the file's folder, one in an override from the working directory.
    Raises ArbiterError listing every fault at once.
    """
    if isinstance(overrides, str):
        raise ArbiterError(f"the overrides must be a list, like [{overrides!r}], not text")
    path = Path(path) if path is not None else None
    values, faults = _read_values(path), list[str]()
    for name, raw in sorted((os.environ if environment is None else environment).items()):
        key = name.removeprefix("ARBITER_").lower().replace("__", ".")
        if not name.startswith("ARBITER_"):
            continue
        if key.split(".")[0] in Config.model_fields:
            _assign(values, key, raw, faults, source="environment ")
        elif "." in key or not _NO_SETTING.fullmatch(name):
            near = did_you_mean(key.split(".")[0].upper(), map(str.upper, Config.model_fields))
            faults.append(
                f"environment {name}: unknown key{near or ' (as ARBITER_SECTION__KEY, with two underscores)'}"
            )
    _override(values, overrides, faults)
    return _validated(values, path, faults)


def load_data_keys(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """The data folder of a config whose other keys are faulty. Raises as `load_config`."""
    values, faults = _read_values(path), list[str]()
    _override(values, [word for word in overrides if word.partition("=")[0].strip() == "data"], faults)
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
    """The keys of a file. Paths in it count from its folder: data, and models that lie there."""
    if path is None or path.expanduser().is_dir():
        return {"data": str(path or ".")}
    values = _read_yaml(path)
    for key in ("data", "model", "embedder"):
        given = values.get(key)
        if isinstance(given, str) and given:
            near = path.parent / Path(given).expanduser()
            values[key] = str(near) if key == "data" or near.is_dir() else given
    if isinstance(mix := values.get("mix"), dict):
        for key, shares in mix.items():
            if isinstance(shares, dict):
                mix[key] = {str(path.parent / Path(str(one)).expanduser()): share for one, share in shares.items()}
    return values


def _read_yaml(path: Path) -> dict[str, Any]:
    if path.suffix in DATA_SUFFIXES:
        raise ArbiterError(f"{str(path)!r} is no config; give the folder that it lies in: {str(path.parent)!r}")
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MOST_CHARACTERS)
        if len(text) == _MOST_CHARACTERS:
            raise ArbiterError(f"{path} is no config: it has more than a million characters")
        values = yaml.load(text, _TextKeys)
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


class _TextKeys(yaml.SafeLoader):
    """YAML whose keys are text as it was typed: an arm may be called 7 or yes."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)


def _override(values: dict[str, Any], overrides: Sequence[str], faults: list[str]) -> None:
    for override in overrides:
        key, equals, raw = (part.strip() for part in override.partition("="))
        if equals and all(key.split(".")):
            _assign(values, key, raw, faults)
        else:
            faults.append(f"{override!r} is not an override; write key=value, without spaces")


def _assign(values: dict[str, Any], key: str, raw: str, faults: list[str], source: str = "") -> None:
    node = values
    *parents, last = key.split(".")
    for place, parent in enumerate(parents, start=1):
        if node.get(parent) is None:  # a key of a section that was off turns it on
            node[parent] = {}
        if isinstance(node[parent], str) and _takes_name(parents[:place]):
            node[parent] = {"name": node[parent]}
        node = node[parent]
        if not isinstance(node, dict):
            faults.append(f"{source}{key}: {parent!r} is not a section")
            return
    node[last] = _read(key, raw)


def _takes_name(keys: Sequence[str]) -> bool:
    """Whether a text at these keys stands for a section with its name."""
    found = find(config_schema(), keys)
    kinds = branches(found, config_schema()) if found is not None else []
    return any("const" in kind.get("properties", {}).get("name", {}) for kind in kinds)


def _read(key: str, raw: str) -> object:
    """The value of a key as YAML reads it; where the key takes text, a number or a date stays what was typed."""
    try:
        value = yaml.load(raw, _TextKeys)
    except (yaml.YAMLError, RecursionError):
        return raw
    place = find(config_schema(), key.split("."))
    kinds = {branch.get("type") for branch in branches(place, config_schema())} if place is not None else set()
    return value if value is None or isinstance(value, str) or kinds - {"null"} != {"string"} else raw
