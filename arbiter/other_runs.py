"""Which runs there are when a config has none: the nearest first, with the keys that lead to them.

describe_other_runs(config, home / "runs")     # "demo-1a2b3c4d with limits.questions=60 seed=3; ..."
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arbiter.config import Config
from arbiter.served_runs import config_of
from eval.runs.run import finished_runs
from storage.errors import ArbiterError

_SHOWN_RUNS = 3
_SHOWN_KEYS = 4


def describe_other_runs(config: Config, runs: Path) -> str:
    """The nearest finished runs with the overrides that this config lacks to be theirs; "" without any."""
    wanted = config.shaping()
    found = []
    for run in finished_runs(runs):
        try:
            keys = [f"{key}={value}" for key, value in _differences(wanted, config_of(run).shaping())]
        except ArbiterError:  # of another version
            continue
        found.append((len(keys), -float(run.manifest["finished_at"]), run.id, keys))
    shown = [f"{name} with {_first(keys)}" for _, _, name, keys in sorted(found)[:_SHOWN_RUNS]]
    more = f" and {len(found) - _SHOWN_RUNS} more" if len(found) > _SHOWN_RUNS else ""
    return "; ".join(shown) + more


def _first(keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN_KEYS} more keys" if len(keys) > _SHOWN_KEYS else ""
    return " ".join(keys[:_SHOWN_KEYS]) + more or "another policy in its race"


def _differences(mine: Any, theirs: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """Keys in which `theirs` differs, with its values as an override would give them."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for key in sorted({*mine, *theirs}):
            yield from _differences(mine.get(key), theirs.get(key), f"{at}.{key}" if at else str(key))
    elif mine != theirs:
        yield at, theirs if isinstance(theirs, str) else json.dumps(theirs)
