"""A judge's certificate: what was measured, against which thresholds, and what follows for the metrics it scores.

certificate = find_certificate(home, "http://127.0.0.1:9000/v1", "my-judge")
is_certified, line = judge_standing("my-judge", certificate)
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from eval.errors import EvalError
from eval.judge.asking import PROMPT_VERSION
from eval.judge.measures import Agreement, Calls, LengthBias, PositionBias, Repeatability
from router.deciding.statistics import Interval
from storage.files import replace_text
from storage.hashes import content_hash
from storage.records import from_json


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a judge must keep to.

    - `num_labels`, `num_each`: fewer labelled answers, or fewer that people called right or wrong, certify nothing: the
      asymptotic interval of kappa is not to be trusted below.
    - `kappa`: the lower bound of Cohen's kappa; above 0.4 agreement is moderate or better (Landis and Koch 1977).
    - `nan_rate`: more lost verdicts than that, and what is left of an arm's answers is a selection.
    - `flip_rate`: rows that change their verdict in three asks; 0.15 is an error in about one ask of twenty.
    - `order_dependence`, `position`: pairs whose winner depends on the order, and the share of verdicts for the first
      place minus the second. Large judges are known to show a good part of both (Zheng et al. 2023, section 3).
    - `length`: how much oftener the judge may agree with people where they prefer the longer response than where they
      prefer the shorter one.
    - `num_pairs`: with fewer pairs judged in both orders the biases count as not measured.

    Position and length fail only where the bias is over the limit and its interval leaves 0 out.
    """

    num_labels: int = 30
    num_each: int = 5
    kappa: float = 0.4
    nan_rate: float = 0.05
    flip_rate: float = 0.15
    order_dependence: float = 0.4
    position: float = 0.3
    length: float = 0.25
    num_pairs: int = 20

    def too_few(self, num_correct: int, num_wrong: int, called: str = "labelled answers") -> str | None:
        """Why so many labelled answers cannot certify any judge, None where they can."""
        if num_correct + num_wrong < self.num_labels:
            return f"{num_correct + num_wrong} {called} are too few; {self.num_labels} are needed"
        if min(num_correct, num_wrong) < self.num_each:
            return (
                f"of the labelled answers {num_correct} are right and {num_wrong} wrong; agreement needs "
                f"{self.num_each} of each"
            )
        return None


@dataclass(frozen=True, slots=True)
class Certificate:
    """One finished certification of one judge; it counts for the prompts of `prompt_version` only.

    A measure is None where it could not be taken: no usable verdict, no repeats, too few pairs. `labels` hashes the
    rows it was measured on, `issued_at` is in seconds since 1970.
    """

    url: str
    model: str
    prompt_version: str
    labels: str
    issued_at: float
    agreement: Agreement | None
    repeats: Repeatability | None
    position: PositionBias | None
    length: LengthBias | None
    calls: Calls
    thresholds: Thresholds = field(default_factory=Thresholds)

    @property
    def is_certified(self) -> bool:
        """Whether nothing fails; what was not measured does not fail, except agreement."""
        return not self.reasons()

    def reasons(self) -> tuple[str, ...]:
        """What fails, a line each, with the number and its limit."""
        return tuple(self._reasons())

    def not_measured(self) -> tuple[str, ...]:
        """What the certificate says nothing about."""
        measures = {
            "repeat variance": self.repeats,
            "position bias": self.position,
            "length bias": self.length,
            "cost": self.calls.price,
        }
        return tuple(name for name, measure in measures.items() if measure is None)

    def to_dict(self) -> dict[str, object]:
        """JSON form; `find_certificate` reads it back."""
        return {
            **asdict(self),
            "is_certified": self.is_certified,
            "reasons": list(self.reasons()),
            "not_measured": list(self.not_measured()),
            "nan_rate": self.calls.nan_rate,
        }

    def _reasons(self) -> Iterator[str]:
        limits, found, calls = self.thresholds, self.agreement, self.calls
        if found is None:
            yield "the judge gave no usable verdict on any labelled answer"
        else:
            num_wrong = found.num_rows - found.num_correct
            if too_few := limits.too_few(found.num_correct, num_wrong, "labelled answers with a verdict"):
                yield too_few
            if found.kappa is not None and found.kappa.low < limits.kappa:
                yield (
                    f"agreement with the labels is too low: kappa {shown(found.kappa)}, its lower bound must reach "
                    f"{limits.kappa:g}"
                )
        if calls.nan_rate > limits.nan_rate:
            kinds = ", ".join(f"{count} {kind}" for kind, count in calls.failures.items())
            yield (
                f"{calls.nan_rate:.0%} of {calls.num_calls} asks gave no usable verdict ({kinds}); at most "
                f"{limits.nan_rate:.0%} may"
            )
        if self.repeats is not None and self.repeats.flip_rate.mean > limits.flip_rate:
            yield (
                f"asked again, {self.repeats.flip_rate.mean:.0%} of {self.repeats.num_rows} verdicts change; at most "
                f"{limits.flip_rate:.0%} may"
            )
        if self.position is not None and self.position.order_dependent.mean > limits.order_dependence:
            yield (
                f"position bias: for {self.position.order_dependent.mean:.0%} of {self.position.num_pairs} pairs the "
                f"winner depends on the order; at most {limits.order_dependence:.0%} may"
            )
        if self.position is not None and _is_over(gap := self.position.first_minus_second, limits.position):
            yield (
                f"position bias: the {'first' if gap.mean > 0 else 'second'} response is preferred, by {shown(gap)}; "
                f"at most {limits.position:g} is allowed"
            )
        if self.length is not None and _is_over(gap := self.length.gap, limits.length):
            yield (
                f"length bias: the {'longer' if gap.mean > 0 else 'shorter'} response is preferred for its length; "
                f"agreement with people differs by {shown(gap)}, at most {limits.length:g} is allowed"
            )


def judge_identity(url: str, model: str) -> str:
    """The name of a judge's files: a hash of where it is, which model it is and the prompts of this version."""
    return content_hash(url.rstrip("/"), model, PROMPT_VERSION)[:16]


def store_certificate(home: Path, certificate: Certificate) -> Path:
    """Write the certificate to its place under the data directory; a reader sees the old or the new one."""
    path = _path(home, certificate.url, certificate.model)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, json.dumps(certificate.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def find_certificate(home: Path, url: str, model: str) -> Certificate | None:
    """The last certificate of this judge, whether it passed or not; None when there is none for today's prompts.

    Raises EvalError when the file is torn.
    """
    path = _path(home, url, model)
    try:
        return from_json(Certificate, path.read_text(encoding="utf-8"), extra="ignore")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise EvalError(
            f"cannot read the judge's certificate {str(path)!r}: {error}; delete it and certify the judge again"
        ) from error


def judge_standing(model: str, certificate: Certificate | None) -> tuple[bool, str]:
    """Whether the judge's metrics may decide, and the line that says so to a reader of the report."""
    if certificate is None:
        return False, f"the judge {model!r} is not certified: its metrics are diagnostics"
    reasons = certificate.reasons()
    if reasons:
        return False, f"the judge {model!r} failed its certification: its metrics are diagnostics; {'; '.join(reasons)}"
    assert certificate.agreement is not None
    kappa = certificate.agreement.kappa
    missing = ", ".join(certificate.not_measured())
    return True, (
        f"the judge {model!r} is certified: kappa {shown(kappa) if kappa else 'undefined'} on "
        f"{certificate.agreement.num_rows} labelled answers{missing and f'; not measured: {missing}'}"
    )


def refuse_uncertified(primary: str, model: str, certificate: Certificate | None) -> None:
    """Raise EvalError when `primary` is a metric of a judge that may not decide."""
    if not primary.startswith("judge_"):
        return
    is_certified, line = judge_standing(model, certificate)
    if not is_certified:
        raise EvalError(
            f"policy.metric {primary!r} cannot decide: {line}; certify the judge with: "
            "arbiter judge certify CONFIG --labels FILE, or choose another metric"
        )


def shown(interval: Interval) -> str:
    """A mean with its bounds, for a person."""
    return f"{interval.mean:.2f} ({interval.low:.2f} to {interval.high:.2f})"


def _path(home: Path, url: str, model: str) -> Path:
    return home / "judges" / f"{judge_identity(url, model)}.json"


def _is_over(gap: Interval, limit: float) -> bool:
    return abs(gap.mean) > limit and not gap.low <= 0 <= gap.high
