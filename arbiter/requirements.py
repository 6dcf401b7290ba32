"""What `arbiter decide --check` demands: the config's `policy.require` against a decision, for a gate in CI.

missed = missed_requirements(config.policy.require, decision, table, stale_reason=None)
"""

from __future__ import annotations

from arbiter.config import RequireConfig
from router.deciding.arm_table import ArmTable
from router.deciding.decision import Decision
from storage.errors import ArbiterError


def missed_requirements(
    require: RequireConfig, decision: Decision, table: ArmTable, *, stale_reason: str | None
) -> list[str]:
    """A line for every demand that the decision does not meet; a decision about changed data meets none.

    After a race the score and the lead are those on held-out questions where there are any: nobody chose by them.
    Raises ArbiterError when nothing is demanded, since such a check could not fail.
    """
    if require == RequireConfig():
        raise ArbiterError(
            "policy.require demands nothing, so --check cannot fail; set for example policy.require.confidence=0.9"
        )
    row, primary = table.row(decision.arm), table.scorecard.primary
    mean, lead = row.score, decision.margin
    if decision.held_out is not None and decision.metric == primary:
        mean = decision.held_out.mean
    if decision.held_out_lead is not None:
        lead = decision.held_out_lead.mean
    cost = decision.cost_per_1k[decision.arm]
    unscored = row.scores.num_unscored(primary) / max(row.scores.num_asked, 1)
    missed = [stale_reason] if stale_reason is not None else []
    if require.arm is not None and decision.arm != require.arm:
        missed.append(f"arm is {decision.arm!r}, not {require.arm!r}")
    if require.verdicts is not None and decision.verdict not in require.verdicts:
        missed.append(f"verdict is {decision.verdict!r}, not {' or '.join(map(repr, require.verdicts))}")
    for name, value, least in (
        (f"mean {primary}", mean, require.score),
        ("confidence", decision.confidence, require.confidence),
        ("lead", lead, require.lead),
    ):
        if least is not None and value < least:
            missed.append(f"{name} is {value:.3f}, below {least:g}")
    if require.cost_per_1k is not None and (cost is None or cost > require.cost_per_1k):
        shown = "unknown" if cost is None else f"{cost:.4g}"
        missed.append(f"cost of 1,000 questions is {shown}, above {require.cost_per_1k:g}")
    if require.unscored is not None and unscored > require.unscored:
        missed.append(f"{unscored:.1%} of the answers are unscored, above {require.unscored:.1%}")
    return missed
