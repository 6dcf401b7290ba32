"""The finished runs of a config, and the configs of finished runs.

last_run(config, home)        # the newest, or what there is instead
config_of(run)                # as it was made
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from arbiter.config.schema import Config, config_faults
from arbiter.config.sections import STANDARD_ADAPTERS, STANDARD_ARMS
from arbiter.data import find_folder
from eval.errors import EvalError
from eval.runs.run import Run, finished_runs, newest_run
from eval.settings import RaceSettings
from storage.errors import ArbiterError, listed

RUN_AGAIN = "measure again with: arbiter run CONFIG"
_SHOWN_RUNS = 3
_SHOWN_KEYS = 4


def config_of(run: Run) -> Config:
    """The config that a run was made with, but for its policy. Raises ArbiterError when it is none any more."""
    try:
        # The policy does not shape the data, and older runs have older policies.
        values = {**run.config(), "policy": {}}
        # A standard arm that the run did not have must be taken away again.
        for section, standard in (("arms", STANDARD_ARMS), ("adapters", STANDARD_ADAPTERS)):
            values[section] = {**dict.fromkeys(standard), **values.get(section, {})}
        return Config.model_validate(values)
    except (EvalError, TypeError, ValidationError) as error:
        faults = config_faults(error) if isinstance(error, ValidationError) else [str(error)]
        raise ArbiterError(
            f"the config of run {run.id!r} is none any more: {'; '.join(faults)}; {RUN_AGAIN}"
        ) from error


def last_run(config: Config, home: Path) -> Run:
    """The newest finished run of a config, whatever its data was; of races, one by the config's policy if there is any.

    Raises ArbiterError when there is none; what is wrong with the data folder comes first.
    """
    run = newest_run(home / "runs", config.fingerprint(), config.raced_by())
    if run is None:
        try:
            find_folder(config.data)
        except ArbiterError as error:
            raise ArbiterError(f"{error}; and there is no finished run of this config") from error
        others = _other_runs(config, home / "runs")
        there = f"; there is {others}: give the same keys, or" if others else ";"
        raise ArbiterError(f"no finished run of this config in {str(home)!r}{there} make one with: arbiter run CONFIG")
    return run


def _other_runs(config: Config, runs: Path) -> str:
    """The nearest finished runs with the overrides that this config lacks to be theirs; "" without any.

    For example "demo-1a2b3c4d with limits.questions=60 seed=3; ...".
    """
    wanted = config.shaping()
    found = []
    for run in finished_runs(runs):
        try:
            # Of its policy the metric alone shapes a run; its config here has none of the policy.
            theirs = {**config_of(run).shaping(), "metric": run.manifest.get("metric", config.policy.metric)}
            keys = [shlex.quote(f"{key}={value}") for key, value in _differences(wanted, theirs)]
        except ArbiterError:  # of another version
            continue
        words = listed(keys, separator=" ", shown=_SHOWN_KEYS) or "keys of an earlier version"
        found.append((len(keys), -(run.finished_at or 0.0), f"{run.id} with {words}"))
    return listed((shown for _, _, shown in sorted(found)), shown=_SHOWN_RUNS)


def _differences(mine: Any, theirs: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """Keys in which `theirs` differs, with its values as an override would give them."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for key in sorted({*mine, *theirs}):
            yield from _differences(mine.get(key), theirs.get(key), f"{at}.{key}" if at else str(key))
    elif mine != theirs:
        if at == "race" and theirs is not None:  # a section that is off here
            usual = asdict(RaceSettings())
            theirs = {key: value for key, value in theirs.items() if value != usual[key]}
        at = f"policy.{at}" if at.split(".")[0] == "metric" else at
        yield at, theirs if isinstance(theirs, str) else json.dumps(theirs)
