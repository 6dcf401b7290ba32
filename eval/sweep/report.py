"""What a sweep found: its trials, the best settings beside the defaults, and the words that ask for them.

report = SweepReport(trials=trials, clusters=clusters, ...)
report.words()  # ["arms.rag.top_k=4", "index.chunk_tokens=180"]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import reduce
from typing import Any, Literal

from eval.sweep.space import Settings, Value, same
from router.deciding.statistics import Difference, paired_difference

Outcome = Literal["finished", "pruned", "failed"]
Stop = Literal["trials", "minutes", "space"]

_STOPPED: Mapping[Stop, str] = {
    "trials": "the number of trials is used up",
    "minutes": "the minutes are used up",
    "space": "every combination was tried",
}
OPTIMISTIC = (
    "The same development questions chose these settings, so their lead is optimistic, and an adapter may have been "
    "trained without rows that served as development questions: measure them on the test questions."
)
UNSHOWN = (
    "your settings stay: that these are better is not shown, and the best of several looks better than it is; give "
    "more dev questions, or try them on the test questions: "
)
# The chance to find some settings better where none of those tried is.
_ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class TrialResult:
    """One trial: its settings and its score per question number; a question without one was not asked or unscored.

    `reason` says why a failed trial could not be measured. `seconds` counts all its work, training included.
    """

    number: int
    settings: Settings
    outcome: Outcome
    scores: Mapping[int, float]
    num_asked: int
    seconds: float
    reason: str | None = None

    @property
    def mean(self) -> float | None:
        """Mean score of the scored questions; None without any."""
        return sum(self.scores.values()) / len(self.scores) if self.scores else None

    @property
    def num_unscored(self) -> int:
        """Asked questions without a score."""
        return self.num_asked - len(self.scores)


@dataclass(frozen=True, slots=True)
class SweepReport:
    """The trials in their order, the best finished one, and the user's own settings (`defaults`), which came first.

    `difference` is best minus defaults, on the questions scored for both; None where they are the same trial or the
    defaults could not be measured. `num_combinations` is the full grid, None when a range is continuous. `also` holds
    settings that the best ones need, besides those that were tried.
    """

    trials: tuple[TrialResult, ...]
    best: TrialResult
    defaults: TrialResult
    difference: Difference | None
    num_questions: int
    num_combinations: int | None
    stopped: Stop
    also: Settings = field(default_factory=dict)

    def count(self, outcome: Outcome) -> int:
        """Trials that ended so."""
        return sum(trial.outcome == outcome for trial in self.trials)

    @property
    def num_asked(self) -> int:
        """Evaluations spent: a question to one trial, whether or not its answer was in the cache."""
        return sum(trial.num_asked for trial in self.trials)

    def p_corrected(self) -> float | None:
        """The difference's p-value times the number of settings that were compared with the defaults (Bonferroni)."""
        if self.difference is None:
            return None
        rivals = len(self.trials) - self.count("failed") - 1
        return min(1.0, self.difference.p_value * max(rivals, 1))

    @property
    def is_shown(self) -> bool:
        """Whether the best settings are shown to be better than the user's own, which stay where they are not. They are
        where those could not be measured.
        """
        corrected = self.p_corrected()
        return bool(self.changed) and (corrected is None or corrected < _ALPHA)

    @property
    def changed(self) -> Settings:
        """The best settings that are not the user's own, and what they need; none when the defaults are best."""
        changed = {k: v for k, v in self.best.settings.items() if not same({k: v}, {k: self.defaults.settings[k]})}
        return {**changed, **self.also} if changed else {}

    def words(self) -> list[str]:
        """`key=value` overrides that ask for the best settings."""
        return [f"{key}={_as_yaml(value)}" for key, value in self.changed.items()]

    def to_yaml(self) -> str:
        """The same as a YAML fragment; '' when the defaults are best."""
        import yaml

        nested: dict[str, Any] = {}
        for key, value in self.changed.items():
            *parents, last = key.split(".")
            reduce(lambda node, parent: node.setdefault(parent, {}), parents, nested)[last] = value
        return yaml.safe_dump(nested, sort_keys=False) if nested else ""

    def to_text(self) -> str:
        """The result for a person: the comparison, what it cost, the settings to paste, and what it does not show."""
        unpruned, grid = len(self.trials) * self.num_questions, self.num_combinations
        full = f" and {grid * self.num_questions:,} for the full grid" if grid is not None else ""
        failed = [trial for trial in self.trials if trial.outcome == "failed"]
        lines = [
            f"{len(self.trials)} trials ({self.count('pruned')} ended early, {len(failed)} failed): "
            f"{_STOPPED[self.stopped]}",
            f"{self.num_asked:,} evaluations, of {unpruned:,} if no trial had ended early{full}",
            *(f"trial {trial.number} failed with {describe(trial.settings)}: {trial.reason}" for trial in failed),
            *self._outcome(),
        ]
        if self.changed and not self.is_shown:
            lines += [UNSHOWN + describe(self.changed)]
        elif self.changed:
            lines += ["", self.to_yaml().rstrip(), "", "or: " + describe(self.changed), "", OPTIMISTIC]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, object]:
        """JSON form."""
        return {
            "best": _row(self.best),
            "defaults": _row(self.defaults),
            "difference": asdict(self.difference) if self.difference else None,
            "p_corrected": self.p_corrected(),
            "is_shown": self.is_shown,
            "words": self.words(),
            "yaml": self.to_yaml(),
            "num_questions": self.num_questions,
            "num_trials": len(self.trials),
            "num_pruned": self.count("pruned"),
            "num_failed": self.count("failed"),
            "num_asked": self.num_asked,
            "num_combinations": self.num_combinations,
            "stopped": self.stopped,
            "trials": [_row(trial) for trial in self.trials],
        }

    def _outcome(self) -> list[str]:
        if not self.changed:
            return [f"nothing found is better than your settings: {_scored(self.defaults, self.num_questions)}"]
        best = f"best: {describe(self.best.settings)}: {_scored(self.best, self.num_questions)}"
        if self.difference is None:
            return [best, "your settings could not be measured, so there is nothing to compare with"]
        found, tried = self.difference, self.p_corrected() or 0.0
        return [
            best,
            f"your settings: {describe(self.defaults.settings)}: {_scored(self.defaults, self.num_questions)}",
            f"difference {found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f}) on {found.num_pairs} questions, "
            f"{_p(found.p_value)} ({found.test}); {_p(tried)} when all settings that were tried are counted",
        ]


def compare(best: TrialResult, defaults: TrialResult, clusters: Sequence[str], *, margin: float) -> Difference | None:
    """Best minus defaults on the questions that both were scored on; None when they are one trial or share none."""
    shared = sorted(best.scores.keys() & defaults.scores.keys())
    if best.number == defaults.number or not shared:
        return None
    return paired_difference(
        [best.scores[i] for i in shared],
        [defaults.scores[i] for i in shared],
        [clusters[i] for i in shared],
        margin=margin,
    )


def describe(settings: Settings) -> str:
    """Settings as they are typed."""
    return " ".join(f"{key}={_as_yaml(value)}" for key, value in settings.items())


def _as_yaml(value: Value) -> str:
    """One value as a YAML reader takes it back: `null`, `'no'`, `1.0e-05`."""
    import yaml

    return str(yaml.safe_dump(value, default_flow_style=True, width=10_000)).removesuffix("...\n").strip()


def _p(value: float) -> str:
    return f"p = {value:.3f}" if value >= 0.001 else "p < 0.001"


def _scored(trial: TrialResult, num_questions: int) -> str:
    unscored = f", {trial.num_unscored} unscored" if trial.num_unscored else ""
    mean = f"{trial.mean:.3f}" if trial.mean is not None else "no score"
    return f"{mean} over {trial.num_asked} of {num_questions} questions{unscored}"


def _row(trial: TrialResult) -> dict[str, object]:
    kept = {name: value for name, value in asdict(trial).items() if name != "scores"}
    return {**kept, "mean": trial.mean, "num_unscored": trial.num_unscored, "seconds": round(trial.seconds, 1)}
