"""Two finished runs side by side: what was different about them, and what that did to every arm.

diff = diff_runs(before, after, policy)
[(change.key, change.before, change.after) for change in diff.changes]
[(arm.arm, arm.difference.mean, arm.p_holm, arm.lost) for arm in diff.arms if arm.difference]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

from eval.errors import EvalError
from eval.runs.run import Run
from router.deciding.costs import measure, price
from router.deciding.policy import Policy
from router.deciding.scorecard import Scorecard, quantile
from router.deciding.statistics import Difference, holm, mean_known, paired_difference
from router.deciding.utility import RIGHT_AT

Part = Literal["config", "data", "versions", "arms"]

# What a manifest says about the moment and the caller, not about the run.
_NOT_COMPARED = frozenset({"command", "finished_at", "config_fingerprint", "raced_by", "summary"})
_GONE = "not there"


@dataclass(frozen=True, slots=True)
class Change:
    """A setting, hash or version that differs; "not there" stands for a key that one run lacks."""

    part: Part
    key: str
    before: object
    after: object


@dataclass(frozen=True, slots=True)
class ArmChange:
    """What became of an arm of both runs, over the questions that both asked it.

    `difference` is after minus before, None when no question has a score in both; `p_holm` is corrected over the arms.
    `gained` are the questions that went from wrong to right, `lost` those from right to wrong. Costs and latencies are
    `(before, after)`: price of 1,000 questions and median in ms, None where unmeasured.
    """

    arm: str
    difference: Difference | None
    p_holm: float | None
    mean_before: float | None
    mean_after: float | None
    gained: tuple[str, ...]
    lost: tuple[str, ...]
    cost_per_1k: tuple[float | None, float | None]
    latency_ms: tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class RunDiff:
    """Two runs by their ids. `metric` is what the arms are compared by; `primaries` decided in each run.

    `num_shared` questions have the same id and text in both; of these, `num_regraded` have other gold answers now, so
    that their scores may differ without any answer having changed. `reworded` are ids with another text.
    """

    before: str
    after: str
    metric: str
    primaries: tuple[str, str]
    num_shared: int
    num_regraded: int
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    reworded: tuple[str, ...]
    changes: tuple[Change, ...]
    arms: tuple[ArmChange, ...]
    is_same_primary: bool


def diff_runs(a: Run, b: Run, policy: Policy) -> RunDiff:
    """What changed from run `a` to run `b`, with paired differences at the policy's alpha and costs at its prices.

    Arms are the same by name; what else differs about them is among the changes. The metric is the primary metric of
    `b` where `a` has it too, else that of `a`. Raises EvalError for runs that share no question, arm or metric, and for
    one that this version cannot read.
    """
    before, after = a.scorecard(), b.scorecard()
    old, new = ({question.id: question for question in run.questions()} for run in (a, b))
    shared = [name for name in new if name in old and old[name].text == new[name].text]
    if not shared:
        raise EvalError(
            f"runs {a.id!r} and {b.id!r} share no question (same id and same text), so nothing can be compared"
        )
    names = {scores.arm.name for scores in before.arms}
    arms = [scores.arm.name for scores in after.arms if scores.arm.name in names]
    if not arms:
        raise EvalError(f"runs {a.id!r} and {b.id!r} have no arm of the same name, so nothing can be compared")
    metric = _common_metric(before, after, arms, (a.id, b.id))
    was, now = _described(a, before), _described(b, after)
    return RunDiff(
        before=a.id,
        after=b.id,
        metric=metric,
        primaries=(before.primary, after.primary),
        num_shared=len(shared),
        num_regraded=sum(set(old[name].answers) != set(new[name].answers) for name in shared),
        only_before=tuple(name for name in old if name not in new),
        only_after=tuple(name for name in new if name not in old),
        reworded=tuple(name for name in new if name in old and old[name].text != new[name].text),
        changes=tuple(
            Change(part, key, was[part].get(key, _GONE), now[part].get(key, _GONE))
            for part in get_args(Part)
            for key in dict.fromkeys((*was[part], *now[part]))
            if was[part].get(key, _GONE) != now[part].get(key, _GONE)
        ),
        arms=_arm_changes(_part(before, shared), _part(after, shared), arms, metric, policy),
        is_same_primary=before.primary == after.primary,
    )


def _common_metric(before: Scorecard, after: Scorecard, arms: Sequence[str], ids: tuple[str, str]) -> str:
    columns = [card.by_name(name).scores for card in (before, after) for name in arms]
    for metric in (after.primary, before.primary):
        if all(metric in scores for scores in columns):
            return metric
    raise EvalError(
        f"run {ids[0]!r} was decided by {before.primary!r} and {ids[1]!r} by {after.primary!r}, and neither was scored "
        "by the other's metric, so nothing can be compared"
    )


def _part(scorecard: Scorecard, names: Sequence[str]) -> Scorecard:
    place = {name: i for i, name in enumerate(scorecard.question_ids)}
    return scorecard.part([place[name] for name in names])


def _arm_changes(
    before: Scorecard, after: Scorecard, arms: Sequence[str], metric: str, policy: Policy
) -> tuple[ArmChange, ...]:
    """Both scorecards hold the same questions in the same order."""
    changes = []
    for arm in arms:
        old, new = before.by_name(arm), after.by_name(arm)
        counted = after.for_churn(policy.traffic.churn).clusters
        rows = zip(after.question_ids, counted, old.scores[metric], new.scores[metric], strict=True)
        both = [(name, about, was, now) for name, about, was, now in rows if was is not None and now is not None]
        difference = None
        if both:
            _, clusters, was, now = zip(*both, strict=True)
            difference = paired_difference(now, was, clusters, margin=policy.margin, alpha=policy.alpha)
        changes.append(
            ArmChange(
                arm=arm,
                difference=difference,
                p_holm=None,
                mean_before=mean_known(old.scores[metric]),
                mean_after=mean_known(new.scores[metric]),
                gained=tuple(name for name, _, was, now in both if was < RIGHT_AT <= now),
                lost=tuple(name for name, _, was, now in both if now < RIGHT_AT <= was),
                cost_per_1k=(price(measure(before, old), policy).per_1k, price(measure(after, new), policy).per_1k),
                latency_ms=(quantile(old.latency_ms, 0.5), quantile(new.latency_ms, 0.5)),
            )
        )
    p_holm = iter(holm([change.difference.p_value for change in changes if change.difference is not None]))
    return tuple(change if change.difference is None else replace(change, p_holm=next(p_holm)) for change in changes)


def _described(run: Run, card: Scorecard) -> dict[Part, dict[str, object]]:
    """All that a run was made from, as flat settings of every part."""
    manifest = {key: value for key, value in run.manifest.items() if key not in _NOT_COMPARED}
    data = {key: manifest.pop(key) for key in list(manifest) if key.startswith("data")}
    provenance = {key: value for key, value in card.provenance.items() if key not in ("data", "adapters")}
    arms = {scores.arm.name: {k: v for k, v in asdict(scores.arm).items() if k != "name"} for scores in card.arms}
    return {
        "config": _flat(run.config()),
        "data": _flat({**data, "questions": len(card.question_ids)}),
        "versions": _flat({**manifest, **provenance}),
        "arms": _flat(arms),
    }


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    """Nested mappings as dotted keys; everything else is a value, an empty mapping too."""
    if not isinstance(value, Mapping) or (prefix and not value):
        return {prefix: value}
    return {
        k: v for key, item in value.items() for k, v in _flat(item, f"{prefix}.{key}" if prefix else str(key)).items()
    }
