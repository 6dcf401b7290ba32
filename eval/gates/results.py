"""What was measured of an arm, judged by a policy: a verdict and a line for each gate, and what stands against a
promotion.

keep_measured(run.directory, measured)                  gates.json, beside the run
results = judge_arm(run.directory, "tuned", settings, alpha=0.05)
obstacles(results), warnings(results)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eval.errors import EvalError
from eval.gates.measure import Example, Measured
from eval.gates.registry import GATES
from eval.gates.settings import GateSettings
from router.deciding.gating import GateVerdict, rule
from router.deciding.statistics import Interval
from router.deciding.wording import as_level, as_share
from storage.files import replace_text
from storage.records import WrongShape, from_row

FILE = "gates.json"


@dataclass(frozen=True, slots=True)
class GateResult:
    """One gate of one arm. `verdict` is None where it was not measured; `says` is a line that a person can act on.
    `estimate` is the mean harm and `more` as in `router.deciding.gating`.
    """

    gate: str
    title: str
    arm: str
    verdict: GateVerdict | None
    says: str
    limit: float
    is_required: bool = False
    estimate: Interval | None = None
    more: int | None = None
    num_items: int = 0
    num_judged: int = 0
    num_failed: int = 0
    source: str = ""
    examples: tuple[Example, ...] = ()

    @property
    def blocks(self) -> bool:
        """Whether it stands against a promotion."""
        return self.verdict == "fail" or (self.is_required and self.verdict != "pass")


def keep_measured(directory: Path, measured: Iterable[Measured]) -> None:
    """Put it beside the run, in place of what was measured of the same gates of the same arms before."""
    kept = {(one.gate, one.arm): one for one in (*read_measured(directory), *measured)}
    rows = [asdict(one) for one in kept.values()]
    replace_text(directory / FILE, json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_measured(directory: Path) -> list[Measured]:
    """All that was measured of a run's arms; nothing without the file. Raises EvalError for one that is damaged."""
    path = directory / FILE
    try:
        return [from_row(Measured, row) for row in json.loads(path.read_bytes())]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, WrongShape) as error:
        raise EvalError(
            f"cannot read {FILE} of run {directory.name!r}: {error}; delete {str(path)!r}, and measure again with: "
            f"arbiter gates {directory.name}"
        ) from error


def judge_arm(directory: Path, arm: str, settings: GateSettings, *, alpha: float) -> list[GateResult]:
    """Every gate that the policy does not leave out, as it stands for an arm. Raises EvalError as `read_measured`."""
    found = {one.gate: one for one in read_measured(directory) if one.arm == arm}
    command = f"arbiter gates {directory.name} --arm {arm}"
    return [
        judge(name, found.get(name), settings, arm=arm, alpha=alpha, command=command)
        for name in GATES
        if settings.limit(name) is not None
    ]


def judge_run(directory: Path, decided: str | None, settings: GateSettings, *, alpha: float) -> list[GateResult]:
    """What was measured of a run, arm by arm; of the arm that was decided for also what was not."""
    arms = [] if decided is None else [decided]
    arms = list(dict.fromkeys([*arms, *(one.arm for one in read_measured(directory))]))
    every = [one for arm in arms for one in judge_arm(directory, arm, settings, alpha=alpha)]
    return [one for one in every if one.verdict is not None or one.arm == decided]


def judge(
    name: str, measured: Measured | None, settings: GateSettings, *, arm: str, alpha: float, command: str
) -> GateResult:
    """One gate by a policy; `command` measures it."""
    gate, limit = GATES[name], settings.limit(name)
    assert limit is not None
    shape: dict[str, Any] = {
        "gate": name,
        "title": gate.title,
        "arm": arm,
        "limit": limit,
        "is_required": name in settings.required,
        "source": gate.source,
    }
    if measured is None:
        return GateResult(**shape, verdict=None, says=f"{name} was not measured; run: {command}")
    shape |= {
        "num_items": measured.num_items,
        "num_judged": measured.num_judged or len(measured.harms),
        "num_failed": measured.num_failed,
        "examples": measured.examples,
    }
    if measured.free:
        return GateResult(**shape, verdict="pass", says=f"{name}: {measured.free}")
    num_missing = measured.num_failed + measured.num_unweighed
    ruling = rule(measured.harms, measured.clusters, limit=limit, alpha=alpha, num_missing=num_missing)
    harm, verdict = ruling.harm, ruling.verdict
    if harm is None:
        return GateResult(**shape, verdict="no data", says=f"{name} has no data: {measured.lacks}")
    range_ = f"{as_level(alpha)} interval {as_share(harm.low)} to {as_share(harm.high)}"
    found = f"{as_share(harm.mean)} {gate.harm} ({range_}; limit {as_share(limit)})"
    says = f"{name}: {found}"
    # A limit of all lets everything pass.
    if measured.num_proofs and limit < 1:
        verdict = "fail"
        says = f"{name}: {measured.num_proofs} of {measured.num_items} {gate.proof}; {found}"
    elif verdict == "not decided":
        items = "items" if len(measured.harms) == shape["num_judged"] else f"that {shape['num_judged']} items have"
        more = (
            f"about {ruling.more} more than the {len(measured.harms)} {items}" if ruling.more else "no number of items"
        )
        says += "; not decided: " + (
            "what is missing could turn it" if ruling.is_open_by_missing else f"{more} would tell"
        )
    if measured.num_failed:
        says += f"; {measured.num_failed} of {measured.num_items} items got no answer, to ask them again: {command}"
    if measured.num_unweighed:
        says += f"; of {measured.num_unweighed} of {measured.num_items} items the engine gives no likelihoods"
    return GateResult(**shape, verdict=verdict, says=says, estimate=harm, more=ruling.more)


def obstacles(results: Sequence[GateResult]) -> list[str]:
    """A line for each gate that stands against the promotion of its arm."""
    return [
        f"required gate {one.says}" if one.verdict != "fail" else f"gate {one.says}" for one in results if one.blocks
    ]


def warnings(results: Sequence[GateResult]) -> list[str]:
    """What is to be said of gates that do not stand against a promotion, and did not pass either."""
    open_ = [one for one in results if not one.blocks and one.verdict != "pass"]
    unmeasured = [one for one in open_ if one.verdict is None]
    lines = [one.says for one in open_ if one.verdict is not None]
    if unmeasured:
        names = ", ".join(one.gate for one in unmeasured)
        lines.append(f"not measured: {names}; {unmeasured[0].says.partition('; ')[2]}")
    return lines


def gate_settings(policy: Mapping[str, Any]) -> tuple[GateSettings, float]:
    """The gates and the error rate of a policy as a decision keeps it; the usual ones of a decision from before there
    were gates.
    """
    try:
        return from_row(GateSettings, policy.get("gates", {})), float(policy.get("alpha", 0.05))
    except (WrongShape, TypeError, ValueError) as error:
        raise EvalError(f"the gates of a decision's policy cannot be read: {error}; decide again") from error
