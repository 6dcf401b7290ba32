"""Numbers and findings in words, as the decision card says them.

as_percent(0.997), as_amount(0.00755), as_duration(101.2)  # ">99%", "0.00755", "1 min 41 s"
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.deciding.costs import BreakEven
from router.deciding.flips import Flip

# The policy's weights in a sentence; a flip names them by their path.
WEIGHTS: Mapping[str, str] = {
    "margin": "the margin",
    "cost_tolerance": "the share of a cost below which a saving counts as none",
    "utility.right": "the value of a right answer",
    "utility.wrong": "the value of a wrong answer",
    "utility.abstain": "the value of abstaining",
    "prices.prompt": "the price of a million prompt tokens",
    "prices.generated": "the price of a million generated tokens",
    "prices.cached": "the price of a million cached prompt tokens",
    "prices.engine_hour": "the price of an engine hour",
    "prices.retrieval_hour": "the price of an hour of search and reranking",
    "prices.training_hour": "the price of an hour of training",
    "prices.indexing_hour": "the price of an hour of indexing",
    "prices.engine_month": "the price of hosting the engine for a month",
    "prices.adapter_month": "the price of hosting an adapter for a month",
    "prices.index_month": "the price of hosting an index for a month",
    "traffic.questions": "the number of questions a month",
    "traffic.months": "the number of months in service",
    "traffic.churn": "the share of documents that change in a month",
    "traffic.retrain_at": "the share of changed documents at which an arm is trained again",
    "traffic.prefix_hits": "the share of the context that the prefix cache answers for",
}


def as_percent(share: float) -> str:
    """A probability in whole percents, which never claims certainty."""
    if share > 0.99:
        return ">99%"
    return "<1%" if share < 0.01 else f"{share:.0%}"


def as_amount(amount: float | None) -> str:
    """An amount of money, or any number of unknown size, with three digits that count; None is unknown."""
    if amount is None:
        return "unknown"
    if abs(amount) >= 1000:
        return f"{amount:,.0f}"
    return f"{amount:.2g}" if 0 < abs(amount) < 1e-4 else f"{amount:.3g}"


def as_signed_amount(amount: float) -> str:
    """The same with its sign, for differences."""
    return ("+" if amount >= 0 else "") + as_amount(amount)


def as_duration(seconds: float) -> str:
    """Seconds, minutes or hours, as they are said."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def as_size(num_bytes: float) -> str:
    """Bytes with the unit of their size."""
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes:.0f} bytes"


def parity_words(parity: Mapping[str, float] | None) -> str:
    """How far what is served is from what was trained, in logits, beside what training changed."""
    return f"{parity['largest']:.1g} of {parity['effect']:.2g}" if parity else "not measured"


def preference_words(told: Mapping[str, Any]) -> tuple[str, ...]:
    """How an adapter ranks held-out pairs: how many there are, then before, after and the change of the margin."""
    shares = (_range(told[key], "{:.0%}") for key in ("accuracy_before", "accuracy"))
    margins = (_range(told[key], "{:+.2f}") for key in ("margin_before", "margin", "margin_change"))
    return (f"{told['num_pairs']:,}", *shares, *margins)


def compression_words(told: Mapping[str, Any]) -> tuple[str, ...]:
    """What was made smaller: of what, how, the zeros of its layers, the weights that are not 0, the bytes of the files,
    and those of the bits.
    """
    packed = as_size(told["packed_bytes"]) if told["packed_bytes"] else "-"
    return (
        told["before"] or "the base",
        told["kind"] + (", then trained" if told["is_trained"] else ""),
        f"{told['layer_zeros'] / told['layer_numbers']:.2%}",
        f"{told['nonzero']:,} of {told['numbers']:,}",
        as_size(told["num_bytes"]),
        packed,
    )


def _range(interval: Mapping[str, float], shown: str) -> str:
    mean, low, high = (shown.format(interval[key]) for key in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def as_line(value: object) -> str:
    """A provenance value in one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {as_line(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(as_line(item) for item in value)
    return str(value)


def flip_words(flip: Flip) -> str:
    """The condition under which a flip happens, and what then: "the margin were 0.2 instead of 0.03: tuned"."""
    value, at = as_amount(flip.value), as_amount(flip.at)
    if value == at:
        value, at = f"{flip.value:.6g}", f"{flip.at:.6g}"
    return f"{WEIGHTS[flip.weight]} were {at} instead of {value}: then {flip.arm or 'no arm would keep the limits'}"


def break_even_words(found: BreakEven) -> str:
    """Where one arm is cheaper than another, in a clause with both names."""
    cheaper = f"{found.arm} is cheaper than {found.other}"
    return {
        "unknown": f"unknown against {found.other}: a cost was not measured",
        "equal": f"{found.arm} and {found.other} cost the same",
        "at once": f"{cheaper} from the first question",
        "never": f"{found.arm} never gets cheaper than {found.other}",
    }.get(found.outcome, f"{cheaper} {found.text}")
