"""Is the decision sound and cheap? Four measurements, each printed as a Markdown table.

    python benchmarks/decision.py simulate                 known truth: false winners, ties, answers used
    python benchmarks/decision.py faults                   known truth: one small simulation for each fault that was
                                                           found, with the figure that it must reach
    python benchmarks/decision.py replay RUN [RUN ...]     races over random halves of a run, regret on the other half
    python benchmarks/decision.py coverage RUN [RUN ...]   do 95% intervals of resamples contain the whole run's value?

RUN is the folder of a finished evaluation of the whole grid (`arbiter evaluate` prints it), or FOLDER=METRIC to decide
by another of its metrics. `--only` takes the grids or faults whose name holds a text, or the faults of one point;
`--json FILE` keeps what was tried, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from finished_runs import coverage, open_finished, replay
from simulated_faults import simulate_faults
from simulated_grids import simulate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("simulate", "faults", "replay", "coverage"))
    parser.add_argument("runs", nargs="*", metavar="RUN")
    parser.add_argument("--trials", type=int, help="default: 2000 to simulate, 200 to replay and to cover")
    parser.add_argument("--only", default="", metavar="NAME", help="part of the name of grids or faults")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep what was tried here, and go on from it")
    parser.add_argument(
        "--size", type=int, default=100, help="documents a resample, for coverage (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2, help="for simulate and faults (default: %(default)s)")
    given = parser.parse_args()
    try:
        runs = [open_finished(run) for run in given.runs]
    except ValueError as error:
        parser.error(str(error))
    how = {"only": given.only, "path": given.json, "processes": given.processes}
    if given.what == "simulate":
        simulate(given.trials or 2000, given.seed, **how)
    elif given.what == "faults":
        simulate_faults(given.trials or 2000, given.seed, **how)
    elif not runs:
        parser.error(f"{given.what} needs at least one run")
    elif given.what == "replay":
        replay(runs, given.trials or 200, given.seed)
    else:
        coverage(runs, given.trials or 200, given.seed, given.size)


if __name__ == "__main__":
    main()
