"""A judge's certificate: what was measured, against which thresholds, and what follows for the metrics it scores.

certificate = find_certificate(home, "http://127.0.0.1:9000/v1", "my-judge")
is_certified, line = judge_standing("my-judge", certificate)
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from eval.errors import EvalError
from eval.judge.asking import PROMPT_VERSION
from eval.judge.measures import Agreement, Calls, LengthBias, PositionBias, Repeatability
from router.deciding.statistics import Interval
from router.deciding.wording import as_lead
from storage.files import replace_text
from storage.hashes import content_hash
from storage.records import from_json

# What a certification asks about, and so the only metric that a certificate covers.
METRIC = "judge_correctness"
# What a judge must keep to. Fewer labelled answers, or fewer that people called right or wrong, certify nothing: the
# asymptotic interval of kappa is not to be trusted below.
NUM_LABELS = 30
NUM_EACH = 5
# With fewer pairs judged in both orders the biases count as not measured.
NUM_PAIRS = 20
# The lower bound of Cohen's kappa; above 0.4 agreement is moderate or better (Landis and Koch 1977).
_KAPPA = 0.4
# More lost verdicts than that, and what is left of an arm's answers is a selection.
_NAN_RATE = 0.05
# Rows that change their verdict in three asks; 0.15 is an error in about one ask of twenty.
_FLIP_RATE = 0.15
# Pairs whose winner depends on the order, and the share of verdicts for the first place minus the second. Large judges
# are known to show a good part of both (Zheng et al. 2023, section 3).
_ORDER_DEPENDENCE = 0.4
_POSITION = 0.3
# How much oftener the judge may agree with people where they prefer the longer response than where they prefer the
# shorter one. Position and length fail only where the bias is over the limit and its interval leaves 0 out.
_LENGTH = 0.25


@dataclass(frozen=True, slots=True)
class Certificate:
    """One finished certification of one judge; it counts for the prompts of `prompt_version` only, for the metric
    `METRIC`, and for the `arms` that enough of the labelled answers are of, each with the judge's leniency towards it.

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
    arms: Mapping[str, Interval] = field(default_factory=dict)

    @property
    def is_certified(self) -> bool:
        """Whether nothing fails; what was not measured does not fail, except agreement."""
        return not self.reasons()

    def reasons(self) -> tuple[str, ...]:
        """What fails, a line each, with the number and its limit."""
        found: list[str] = []
        agreement, repeats, position, length = self.agreement, self.repeats, self.position, self.length
        calls = self.calls
        if agreement is None:
            found.append("the judge gave no usable verdict on any labelled answer")
        else:
            num_correct, kappa = agreement.num_correct, agreement.kappa
            too_few = too_few_labels(num_correct, agreement.num_rows - num_correct, "labelled answers with a verdict")
            if too_few is not None:
                found.append(too_few)
            if kappa is not None and kappa.low < _KAPPA:
                found.append(
                    f"agreement with the labels is too low: kappa {shown(kappa)}, its lower bound must reach {_KAPPA:g}"
                )
        if calls.nan_rate > _NAN_RATE:
            found.append(
                f"{calls.nan_rate:.0%} of {calls.num_calls} asks gave no usable verdict ({calls.kinds()}); at most "
                f"{_NAN_RATE:.0%} may"
            )
        if repeats is not None and (flips := repeats.flip_rate.mean) > _FLIP_RATE:
            found.append(
                f"asked again, {flips:.0%} of {repeats.num_rows} verdicts change; at most {_FLIP_RATE:.0%} may"
            )
        if position is not None and (share := position.order_dependent.mean) > _ORDER_DEPENDENCE:
            found.append(
                f"position bias: for {share:.0%} of {position.num_pairs} pairs the winner depends on the order; at "
                f"most {_ORDER_DEPENDENCE:.0%} may"
            )
        if position is not None and _is_over(gap := position.first_minus_second, _POSITION):
            found.append(
                f"position bias: the {'first' if gap.mean > 0 else 'second'} response is preferred, by {shown(gap)}; "
                f"at most {_POSITION:g} is allowed"
            )
        if length is not None and _is_over(gap := length.gap, _LENGTH):
            found.append(
                f"length bias: the {'longer' if gap.mean > 0 else 'shorter'} response is preferred for its length; "
                f"agreement with people differs by {shown(gap)}, at most {_LENGTH:g} is allowed"
            )
        return tuple(found)

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
            "reasons": self.reasons(),
            "not_measured": self.not_measured(),
            "nan_rate": self.calls.nan_rate,
        }


def too_few_labels(num_correct: int, num_wrong: int, called: str = "labelled answers") -> str | None:
    """Why so many labelled answers cannot certify any judge, None where they can."""
    if num_correct + num_wrong < NUM_LABELS:
        return f"{num_correct + num_wrong} {called} are too few; {NUM_LABELS} are needed"
    if min(num_correct, num_wrong) >= NUM_EACH:
        return None
    return f"of the labelled answers {num_correct} are right and {num_wrong} wrong; agreement needs {NUM_EACH} of each"


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
    lenient = ", ".join(f"{arm} {as_lead(found.mean)}" for arm, found in certificate.arms.items())
    return True, (
        f"the judge {model!r} is certified: kappa {shown(kappa) if kappa else 'undefined'} on "
        f"{certificate.agreement.num_rows} labelled answers"
        f"{lenient and f'; it passes more than people do by: {lenient}'}{missing and f'; not measured: {missing}'}"
    )


def not_covered(certificate: Certificate, metrics: Sequence[str], arms: Collection[str]) -> str | None:
    """Why a certificate does not let these judge's metrics decide among these arms, None where it does."""
    others = [metric for metric in metrics if metric != METRIC]
    if others:
        return f"a certificate is measured by {METRIC} and covers no other metric; decide by that one"
    if missing := [arm for arm in arms if arm not in certificate.arms]:
        covered = ", ".join(certificate.arms) or "no arm"
        return (
            f"its certificate covers {covered}, not {', '.join(missing)}; label {NUM_EACH} answers or more of each arm "
            'with its name in the rows ("arm": ...)'
        )
    return None


def shown(interval: Interval) -> str:
    """A mean with its bounds, for a person."""
    return f"{interval.mean:.2f} ({interval.low:.2f} to {interval.high:.2f})"


def _path(home: Path, url: str, model: str) -> Path:
    return home / "judges" / f"{judge_identity(url, model)}.json"


def _is_over(gap: Interval, limit: float) -> bool:
    return abs(gap.mean) > limit and not gap.low <= 0 <= gap.high
