"""What `arbiter gates` works on and prints.

pipeline, run = open_gated_run(["demo-3f"], None, is_json=False)
console.result(*show_results(run, measure_gates(pipeline, run)))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from arbiter.cli.words import open_pipeline
from arbiter.config.sections import PolicyConfig
from arbiter.console import Console, Output, pad_table
from arbiter.finished_runs import config_of, last_run
from arbiter.home import data_home
from arbiter.pipeline import Pipeline
from eval.errors import EvalError
from eval.gates.results import GateResult, obstacles
from eval.runs.run import Run, find_run, list_runs, open_run
from router.deciding.wording import as_share
from storage.errors import ArbiterError
from storage.records import WrongShape, from_row

_CONFIGS = (".yaml", ".yml")
_NONE = "–"


def open_gated_run(words: Sequence[str] | None, config: Path | None, is_json: bool) -> tuple[Pipeline, Run]:
    """The run that is meant, and the pipeline of its config: of a run by its id or folder with the policy that it was
    decided by, of a config with its own. Raises ArbiterError.
    """
    given, home = list(words or ()), data_home()
    name = given[0] if given and "=" not in given[0] else None
    if config is not None or (name is not None and _is_config(name)):
        pipeline = open_pipeline("gates", given, config, is_json)
        run = last_run(pipeline.config, home)
        if _decided_by(run) not in (None, pipeline.config.policy):
            pipeline.console.say(
                f"warning: run {run.id!r} was decided by another policy, which a promotion goes by; to decide by this "
                "one: arbiter decide CONFIG"
            )
        return pipeline, run
    if len(given) > (name is not None):
        raise ArbiterError(
            f"{given[-1]!r} is an override, which goes with a config: arbiter gates CONFIG {given[-1]}; a run has "
            "the policy that it was decided by"
        )
    if name is None:
        newest = next((row for row in list_runs(home / "runs") if row.fault is None), None)
        if newest is None:
            raise ArbiterError(f"no finished run in {str(home)!r}; make one with: arbiter run CONFIG")
        name = newest.id
    run = open_run(home / "runs", name)
    policy = _decided_by(run)
    shaped = config_of(run).model_copy(update={"policy": policy} if policy is not None else {})
    return Pipeline(shaped, home=home, console=Console(is_json=is_json), needs_questions=False), run


def _is_config(name: str) -> bool:
    path = Path(name).expanduser()
    try:
        return path.suffix in _CONFIGS or (path.exists() and not (path.is_dir() and find_run(path) is not None))
    except (OSError, ValueError):  # no name of a file
        return False


def _decided_by(run: Run) -> PolicyConfig | None:
    """The policy of the run's decision; None where there is none that this version reads."""
    try:
        return from_row(PolicyConfig, run.decision()["policy"])
    except (EvalError, WrongShape, ArbiterError):
        return None


def show_results(run: Run, results: Sequence[GateResult]) -> Output:
    """A table, and a line for each gate; and all of it as one value."""
    head = ("gate", "verdict", "harm", "interval", "limit", "items")
    table = pad_table(head, [_cells(one) for one in results])
    against = obstacles(results)
    arm = results[0].arm if results else ""
    ending = [f"blocks promotion: {line}" for line in against] or [f"nothing stands against the promotion of {arm}"]
    lines = [f"- {one.says}" for one in results]
    if not results:
        table, lines, ending = "the policy leaves every gate out", [], []
    shown = {
        "run": str(run.directory),
        "arm": arm,
        "gates": [asdict(one) for one in results],
        "blocks": against,
    }
    return "\n".join([table, "", *lines, "", *ending]), shown


def _cells(one: GateResult) -> tuple[str, ...]:
    harm = one.estimate
    return (
        one.gate + (" (required)" if one.is_required else ""),
        one.verdict or "not measured",
        as_share(harm.mean) if harm is not None else _NONE,
        f"{as_share(harm.low)} to {as_share(harm.high)}" if harm is not None else _NONE,
        as_share(one.limit),
        f"{one.num_judged} of {one.num_items}",
    )
