"""`arbiter judge certify`: is the judge of a config worth believing?

certificate = certify_judge(config, Path("labels.jsonl"), home=data_home(), console=console)
print(certificate_text(certificate))
"""

from __future__ import annotations

from pathlib import Path

from arbiter.config.schema import Config
from arbiter.console import Console
from eval.judge.certificate import (
    METRIC,
    NUM_PAIRS,
    Certificate,
    judge_identity,
    shown,
    store_certificate,
    too_few_labels,
)
from eval.judge.certification import REPEATS, certify
from eval.judge.labels import load_labelled, load_pairs
from storage.errors import ArbiterError
from tuning.data.examples import sample
from tuning.data.formats.given import Columns

_NAME_WIDTH = 20
_OF_PAIRS = ("prompt", "chosen", "rejected")


def certify_judge(
    config: Config,
    labels: Path,
    *,
    pairs: Path | None = None,
    columns: Columns | None = None,
    repeats: int = REPEATS,
    limit: int | None = None,
    home: Path,
    console: Console,
) -> Certificate:
    """Certify the config's judge on labelled answers and pairs, and store the certificate, passed or not.

    `columns` says which column of the labels and of the pairs holds which part. `limit` caps both, drawn with the
    config's seed; its policy's prices are the judge's.
    A stopped certification goes on where it stopped. Raises ArbiterError when the config has no judge, a number is out
    of range or the labels are too few for any judge; EvalError for faulty files, and when the judge cannot be reached.
    """
    judge = config.eval.judge
    if judge is None:
        raise ArbiterError("the config has no judge to certify; add eval.judge with a url and a model")
    if repeats < 1 or (limit is not None and limit < 1):
        raise ArbiterError(f"repeats and limit are at least 1, not repeats {repeats!r} and limit {limit!r}")
    of_pairs = {part: column for part, column in (columns or {}).items() if part in _OF_PAIRS}
    of_labels = {part: column for part, column in (columns or {}).items() if part not in _OF_PAIRS}
    labelled = sample(load_labelled(labels, of_labels), limit, config.seed)
    num_correct = sum(row.is_correct for row in labelled)
    # No judge could pass, however it rules: that costs no ask.
    if too_few := too_few_labels(num_correct, len(labelled) - num_correct):
        way_out = "label more answers" if limit is None else f"raise --limit from {limit}"
        raise ArbiterError(f"{labels}: {too_few}; {way_out}")
    paired = sample(load_pairs(pairs, of_pairs), limit, config.seed) if pairs is not None else ()
    with console.step(f"certifying the judge {judge.model!r}") as step:
        certificate = certify(
            judge,
            labelled,
            paired,
            cache=home / "judges" / f"{judge_identity(judge.url, judge.model)}.db",
            repeats=repeats,
            prices=config.policy.prices,
            progress=lambda done, total: step.update(done, total, "asks"),
        )
    store_certificate(home, certificate)
    return certificate


def certificate_text(certificate: Certificate) -> str:
    """The certificate as lines for a person: the outcome, a table of what was measured, and what fails."""
    outcome = "certified" if certificate.is_certified else "NOT certified: its metrics are diagnostics"
    return "\n".join(
        [
            f"judge {certificate.model} at {certificate.url}: {outcome}",
            *(f"  {name:<{_NAME_WIDTH}} {value}" for name, value in _measured(certificate).items()),
            *(f"  fails: {reason}" for reason in certificate.reasons()),
        ]
    )


def _measured(found: Certificate) -> dict[str, str]:
    rows = {}
    if agreement := found.agreement:
        kappa = agreement.kappa
        rows["accuracy"] = f"{shown(agreement.accuracy)} on {agreement.num_rows} labelled answers"
        rows["Cohen's kappa"] = shown(kappa) if kappa else "undefined: all labels and verdicts are the same"
        rows["covers"] = f"{METRIC} of " + (", ".join(found.arms) or 'no arm: no row of the labels names its "arm"')
    for arm, leniency in found.arms.items():
        rows[f"lenient with {arm}"] = f"{shown(leniency)}: verdicts minus labels"
    rows["repeats"] = "not measured"
    if again := found.repeats:
        rows["repeats"] = f"{shown(again.flip_rate)} of {again.num_rows} rows change their verdict"
        rows["variance in a row"] = f"{again.mean_variance:.3f}"
    calls = found.calls
    rows["no usable verdict"] = (
        f"{calls.nan_rate:.1%} of {calls.num_calls} asks{f' ({calls.kinds()})' if calls.failures else ''}"
    )
    without = f"not measured: it takes {NUM_PAIRS} labelled pairs judged in both orders"
    if position := found.position:
        rows["order decides"] = f"{shown(position.order_dependent)} of {position.num_pairs} pairs"
        rows["first over second"] = shown(position.first_minus_second)
        rows["accuracy on pairs"] = shown(position.accuracy)
    else:
        rows["position bias"] = without
    if length := found.length:
        longer = f"judge {length.judge_longer:.0%}, people {length.label_longer:.0%}"
        rows["prefers the longer"] = f"{longer}; agreement differs by {shown(length.gap)}"
    else:
        rows["length bias"] = without
    cost = "tokens unknown"
    if calls.prompt_tokens is not None and calls.generated_tokens is not None and calls.price is not None:
        tokens = f"{calls.prompt_tokens:.0f} prompt and {calls.generated_tokens:.0f} generated tokens"
        cost = f"{tokens}, {1000 * calls.price:.4g} for 1,000"
    rows["cost of an ask"] = f"{cost}; median {calls.median_s:.2f} s"
    return rows
