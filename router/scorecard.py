"""The scorecard: arms x questions x metrics, with costs, unscored counts and provenance, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from router.arm import Arm
from router.errors import RouterError
from router.statistics import Interval, mean_interval

Score = float | None


@dataclass(frozen=True, slots=True)
class ArmScores:
    """One arm's results; every sequence is aligned with the scorecard's `question_ids`, None where there is no value.

    `scores` maps a metric's name to its values. `errors` maps a question id to why the arm gave no answer to it.
    """

    arm: Arm
    scores: Mapping[str, tuple[Score, ...]]
    latency_ms: tuple[float | None, ...]
    prompt_tokens: tuple[int | None, ...]
    generated_tokens: tuple[int | None, ...]
    errors: Mapping[str, str] = field(default_factory=dict)

    def num_unscored(self, metric: str) -> int:
        """Questions without a value of `metric`: failed answers and failed scores alike."""
        return sum(score is None for score in self.scores[metric])

    def total_tokens(self) -> int:
        """Prompt and generated tokens over all questions."""
        return sum(n or 0 for n in (*self.prompt_tokens, *self.generated_tokens))

    def mean_tokens(self) -> tuple[float, float]:
        """Mean prompt and generated tokens of an answered question."""
        return _mean(self.prompt_tokens), _mean(self.generated_tokens)

    def median_latency_ms(self) -> float | None:
        """Median over answered questions, as measured at the evaluation's concurrency."""
        known = sorted(ms for ms in self.latency_ms if ms is not None)
        return known[len(known) // 2] if known else None


@dataclass(frozen=True, slots=True)
class Scorecard:
    """`clusters` names the source document of each question; `primary` is the metric that decides.

    `training_s` maps adapter names and `indexing_s` index names to measured seconds.
    """

    question_ids: tuple[str, ...]
    clusters: tuple[str, ...]
    primary: str
    arms: tuple[ArmScores, ...]
    training_s: Mapping[str, float] = field(default_factory=dict)
    indexing_s: Mapping[str, float] = field(default_factory=dict)
    diagnostics: tuple[str, ...] = ()
    provenance: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for scores in self.arms:
            for metric, values in scores.scores.items():
                if len(values) != len(self.question_ids):
                    raise RouterError(
                        f"arm {scores.arm.name!r} has {len(values)} values of {metric!r} for {len(self.question_ids)} "
                        "questions; arms must be evaluated on the same questions"
                    )
            if self.primary not in scores.scores:
                raise RouterError(f"arm {scores.arm.name!r} was not scored by the primary metric {self.primary!r}")

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of all metrics that some arm has, the primary first."""
        names = dict.fromkeys(name for scores in self.arms for name in scores.scores)
        return (self.primary, *(name for name in names if name != self.primary))

    def by_name(self, name: str) -> ArmScores:
        """One arm's results. Raises RouterError for an unknown name."""
        for scores in self.arms:
            if scores.arm.name == name:
                return scores
        raise RouterError(f"no arm {name!r} in the scorecard; it has {', '.join(s.arm.name for s in self.arms)}")

    def interval(self, scores: ArmScores, metric: str) -> Interval | None:
        """An arm's mean of one metric with its 95% interval, None when nothing was scored."""
        known = [(v, c) for v, c in zip(scores.scores.get(metric, ()), self.clusters, strict=False) if v is not None]
        if not known:
            return None
        return mean_interval([v for v, _ in known], [c for _, c in known])

    def to_dict(self) -> dict[str, object]:
        """JSON form; `Scorecard.from_dict` reads it back."""
        row = asdict(self)
        for entry, scores in zip(row["arms"], self.arms, strict=True):
            entry["arm"] = scores.arm.to_dict()
        return row

    @classmethod
    def from_dict(cls, row: Mapping[str, object]) -> Scorecard:
        """The scorecard that `to_dict` wrote."""
        parts = dict(row)
        arms = parts.pop("arms")
        assert isinstance(arms, Sequence)
        return cls(
            arms=tuple(_arm_scores(entry) for entry in arms),
            **{key: tuple(value) if isinstance(value, list) else value for key, value in parts.items()},  # type: ignore[arg-type]
        )


def _arm_scores(row: Mapping[str, object]) -> ArmScores:
    parts = dict(row)
    arm, scores = parts.pop("arm"), parts.pop("scores")
    assert isinstance(arm, dict)
    assert isinstance(scores, dict)
    return ArmScores(
        arm=Arm.from_dict(arm),
        scores={name: tuple(values) for name, values in scores.items()},
        **{key: tuple(value) if isinstance(value, list) else value for key, value in parts.items()},  # type: ignore[arg-type]
    )


def _mean(values: Sequence[int | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else 0.0
