"""`arbiter judge certify`: is the judge of a config worth believing?

certificate = certify_judge(config, Path("labels.jsonl"), home=data_home(), console=console)
print(certificate_text(certificate))
"""

from __future__ import annotations

from pathlib import Path

from arbiter.config import Config
from arbiter.console import Console
from eval.judge.certificate import Certificate, Thresholds, judge_identity, shown, store_certificate
from eval.judge.certification import REPEATS, certify
from eval.judge.labels import load_labelled, load_pairs
from router.deciding.policy import Prices
from storage.errors import ArbiterError
from tuning.data.examples import sample

_NAME_WIDTH = 20


def certify_judge(
    config: Config,
    labels: Path,
    *,
    pairs: Path | None = None,
    repeats: int = REPEATS,
    limit: int | None = None,
    prices: Prices | None = None,
    home: Path,
    console: Console,
) -> Certificate:
    """Certify the config's judge on labelled answers and pairs, and store the certificate, passed or not.

    `limit` caps the labelled answers and the pairs, drawn with the config's seed; `prices` are the judge's, per million
    tokens. A stopped certification goes on where it stopped. Raises ArbiterError when the config has no judge, a number
    is out of range or the labels are too few for any judge; EvalError for faulty files, and when the judge cannot be
    reached.
    """
    judge = config.eval.judge
    if judge is None:
        raise ArbiterError("the config has no judge to certify; add eval.judge with a url and a model")
    if repeats < 1 or (limit is not None and limit < 1):
        raise ArbiterError(f"repeats and limit are at least 1, not repeats {repeats!r} and limit {limit!r}")
    labelled = sample(load_labelled(labels), limit, config.seed)
    num_correct = sum(row.is_correct for row in labelled)
    # No judge could pass, however it rules: that costs no ask.
    if too_few := Thresholds().too_few(num_correct, len(labelled) - num_correct):
        way_out = "label more answers" if limit is None else f"raise --limit from {limit}"
        raise ArbiterError(f"{labels}: {too_few}; {way_out}")
    paired = sample(load_pairs(pairs), limit, config.seed) if pairs is not None else ()
    with console.step(f"certifying the judge {judge.model!r}") as step:
        certificate = certify(
            judge,
            labelled,
            paired,
            cache=home / "judges" / f"{judge_identity(judge.url, judge.model)}.db",
            repeats=repeats,
            prices=prices,
            progress=lambda done, total: step.update(done, total, "asks"),
        )
    store_certificate(home, certificate)
    return certificate


def certificate_text(certificate: Certificate) -> str:
    """The certificate as lines for a person: the outcome, a table of what was measured, and what fails."""
    outcome = "certified" if certificate.is_certified else "NOT certified: its metrics are diagnostics"
    rows = _measured(certificate)
    lines = [
        f"judge {certificate.model} at {certificate.url}: {outcome}",
        *(f"  {name:<{_NAME_WIDTH}} {value}" for name, value in rows),
        *(f"  fails: {reason}" for reason in certificate.reasons()),
    ]
    return "\n".join(lines)


def _measured(certificate: Certificate) -> list[tuple[str, str]]:
    found, limits = certificate, certificate.thresholds
    rows: list[tuple[str, str]] = []
    if found.agreement is not None:
        kappa = found.agreement.kappa
        rows += [
            ("accuracy", f"{shown(found.agreement.accuracy)} on {found.agreement.num_rows} labelled answers"),
            (
                "Cohen's kappa",
                shown(kappa) if kappa is not None else "undefined: all labels and verdicts are the same",
            ),
        ]
    if found.repeats is not None:
        flips = f"{shown(found.repeats.flip_rate)} of {found.repeats.num_rows} rows change their verdict"
        rows += [("repeats", flips), ("variance in a row", f"{found.repeats.mean_variance:.3f}")]
    else:
        rows.append(("repeats", "not measured"))
    kinds = ", ".join(f"{count} {kind}" for kind, count in found.calls.failures.items())
    lost = f"{found.calls.nan_rate:.1%} of {found.calls.num_calls} asks"
    rows.append(("no usable verdict", f"{lost} ({kinds})" if kinds else lost))
    without = f"not measured: it takes {limits.num_pairs} labelled pairs judged in both orders"
    if found.position is not None:
        rows += [
            ("order decides", f"{shown(found.position.order_dependent)} of {found.position.num_pairs} pairs"),
            ("first over second", shown(found.position.first_minus_second)),
            ("accuracy on pairs", shown(found.position.accuracy)),
        ]
    else:
        rows.append(("position bias", without))
    if found.length is not None:
        longer = f"judge {found.length.judge_longer:.0%}, people {found.length.label_longer:.0%}"
        rows.append(("prefers the longer", f"{longer}; agreement differs by {shown(found.length.gap)}"))
    else:
        rows.append(("length bias", without))
    return [*rows, ("cost of an ask", _cost(found))]


def _cost(certificate: Certificate) -> str:
    calls = certificate.calls
    tokens = "tokens unknown"
    if calls.prompt_tokens is not None and calls.generated_tokens is not None and calls.price is not None:
        tokens = (
            f"{calls.prompt_tokens:.0f} prompt and {calls.generated_tokens:.0f} generated tokens, "
            f"{1000 * calls.price:.4g} for 1,000"
        )
    return f"{tokens}; median {calls.median_s:.2f} s" if calls.median_s is not None else tokens
