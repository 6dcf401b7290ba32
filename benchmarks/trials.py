"""Cases that are tried many times: over several processes, with the progress shown, and resumed from what a file holds.

tallies = run_cases([Case("coin", lambda rng: {"heads": float(rng.random() < 0.5)})], trials=2000, seed=0)
tallies["coin"]["heads"].mean  # about 0.5
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
import math
import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

import eval.race
import router.deciding
from storage.errors import ArbiterError
from storage.files import replace_text

# What one trial says: quantities by name, None where the trial says nothing of one.
Found = Mapping[str, float | None]
_CHUNK_S = 10.0


@dataclass(frozen=True)
class Case:
    """Something to try. `trial` is a function of a module, so that another process can call it."""

    name: str
    trial: Callable[[np.random.Generator], Found]
    share: float = 1.0
    """Of the trials asked for, where one takes long."""


@dataclass(frozen=True)
class Tally:
    """The sum of one quantity over the trials that said something of it."""

    total: float = 0.0
    count: int = 0

    @property
    def mean(self) -> float:
        """NaN where no trial said anything."""
        return self.total / self.count if self.count else math.nan

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.total + other.total, self.count + other.count)


Tallies = dict[str, Tally]


def run_cases(
    cases: Sequence[Case], *, trials: int, seed: int, path: Path | None = None, processes: int = 2
) -> dict[str, Tallies]:
    """Every case's quantities over `trials` of its trials. Trial `i` of a case draws from (seed, case, i), whatever
    else is run, so that the figures do not depend on the order, and `path` can hold those that were made before. What
    other rules or another seed had made there is thrown away.
    """
    known = kept(path, seed)
    totals: dict[str, Tallies] = {case.name: known.get(case.name, {}) for case in cases}
    wanted = {case.name: max(round(trials * case.share), 1) for case in cases}
    num_all, started, seconds = sum(wanted.values()), time.monotonic(), 0.0
    with ProcessPoolExecutor(processes) as pool:
        for case in cases:
            done = _num_done(totals[case.name])
            size = 2
            while done < wanted[case.name]:
                began = time.monotonic()
                ends = [min(done + size * part, wanted[case.name]) for part in range(processes + 1)]
                parts = [
                    pool.submit(tally, case, seed=seed, first=first, last=last)
                    for first, last in itertools.pairwise(ends)
                    if last > first
                ]
                for part in as_completed(parts):
                    totals[case.name] = add(totals[case.name], part.result())
                done = ends[-1]
                known[case.name] = totals[case.name]
                keep(path, seed, known)
                took = time.monotonic() - began
                size = max(1, min(4 * size, int(size * _CHUNK_S / max(took, 1e-3))))
                num_done = sum(_num_done(found) for found in totals.values())
                seconds = time.monotonic() - started
                print(
                    f"\r{num_done:,} of {num_all:,} trials, {seconds:.0f} s: {case.name} {done:,}\033[K",
                    end="",
                    file=sys.stderr,
                    flush=True,
                )
    print(f"\r{num_all:,} trials in {seconds:.0f} s\033[K", file=sys.stderr)
    return totals


def add(a: Tallies, b: Tallies) -> Tallies:
    """The sums of two sets of trials."""
    return {name: a.get(name, Tally()) + b.get(name, Tally()) for name in {**a, **b}}


def tally(case: Case, *, seed: int, first: int, last: int) -> Tallies:
    """What the trials from `first` up to `last` say; one that a rule ends with an error has "raised"."""
    found: Tallies = {}
    name = zlib.crc32(case.name.encode())
    for trial in range(first, last):
        try:
            values = case.trial(np.random.default_rng([seed, name, trial]))
        except ArbiterError:
            values = {"raised": 1.0}
        one = {key: Tally(float(value), 1) for key, value in values.items() if value is not None}
        found = add(found, {"trials": Tally(1.0, 1), **one})
    return found


def kept(path: Path | None, seed: int) -> dict[str, Tallies]:
    """What a file holds of these rules and this seed."""
    if path is None or not path.exists():
        return {}
    stored = json.loads(path.read_text(encoding="utf-8"))
    if stored["seed"] != seed or stored["rules"] != _rules():
        print(f"{path} was made by other rules or another seed; it is made anew", file=sys.stderr)
        return {}
    return {case: {key: Tally(*pair) for key, pair in found.items()} for case, found in stored["cases"].items()}


def keep(path: Path | None, seed: int, tallies: Mapping[str, Tallies]) -> None:
    """Write it there."""
    if path is not None:
        cases = {
            case: {key: (tally.total, tally.count) for key, tally in found.items()} for case, found in tallies.items()
        }
        text = json.dumps({"seed": seed, "rules": _rules(), "cases": cases}, indent=1)
        replace_text(path, text + "\n")


def _num_done(tallies: Tallies) -> int:
    return tallies.get("trials", Tally()).count


@cache
def _rules() -> str:
    """A hash of the code whose figures these are: all that decides, and the trials themselves."""
    packages = (Path(inspect.getfile(module)).parent for module in (router.deciding, eval.race))
    deciding, racing = packages
    files = [*sorted(deciding.glob("*.py")), racing / "race.py", racing / "settings.py"]
    files += sorted(Path(__file__).parent.glob("simulated_*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
