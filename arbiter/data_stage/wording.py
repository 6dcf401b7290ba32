"""The facts about a data folder as one table: `as_table(fact)`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from arbiter.console import pad_table
from arbiter.data_stage.facts import Fact
from eval.report.wording import as_amount, as_duration
from storage.errors import listed

_SHOWN = 8
_SHOWN_LINES = 3
# Labels are balanced enough below this.
_UNBALANCED = 3.0


def as_table(fact: Fact) -> str:
    """A line for everything that is known, the faults aside."""
    return pad_table(("what", "found"), [(what, found) for what, found in _lines(fact)])


def _lines(fact: Fact) -> Iterator[tuple[str, str]]:
    for part in fact["parts"]:
        yield from _part(part)
    if feedback := fact.get("feedback"):
        yield from _feedback(feedback)
    for name, found in fact["labels"].items():
        counts = found["counts"]
        shown = listed((f"{label} {count}" for label, count in counts.items()), separator=", ", shown=_SHOWN)
        uneven = f"; the first has {found['ratio']:g} times as many as the last (arbiter data balance)"
        yield f"{name}: labels", f"{len(counts)}: {shown}{uneven if found['ratio'] >= _UNBALANCED else ''}"
    for name, found in fact["repeats"].items():
        yield f"{name}: repeats", f"{found['exact']} exact, {_near(found)}" if sum_of(found) else "none"
    for name, found in fact["contradictions"].items():
        yield f"{name}: contradictions", _contradictions(found)
    for leak in fact["leaks"]:
        shown = f"{leak['exact']} exact, {_near(leak)}" if sum_of(leak) else "none"
        yield f"{leak['part']}: asks what {leak['of']} asks", shown
    if tokens := fact.get("tokens"):
        yield from _tokens(tokens)
    yield from _personal_data(fact["personal_data"])
    if bias := fact.get("bias"):
        yield from _bias(bias)
    yield from _forecast(fact["forecast"])


def sum_of(found: Mapping[str, Any]) -> int:
    """Exact and near ones."""
    return int(found["exact"] + found["near"])


def _part(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    left = f", {part['left_out']} of no use" if part["left_out"] else ""
    faulty = f", {part['faulty']} faulty" if part["faulty"] else ""
    kind = f" ({part['format']})" if part["format"] else ""
    yield f"{part['part']}: rows", f"{part['rows']} in {part['file']}{kind}{left}{faulty}"
    for said in part.get("said", ()):
        yield f"{part['part']}: read as", said
    for fault in part["faults"]:
        yield f"{part['part']}: fault", fault


def _feedback(feedback: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for fault in feedback.get("faults", ()):
        yield "pairs: fault", fault
    if "pairs" in feedback:
        rated = f"{feedback['rated']} answers that are wanted or not"
        yield "pairs: rows", f"{rated}, and {feedback['pairs']} pairs of them, in {feedback['file']}"
        yield from (("pairs: read as", said) for said in feedback["said"])


def _near(found: Mapping[str, Any]) -> str:
    of_each = listed((f"{label} {count}" for label, count in found["near_of_label"].items()), separator=", ")
    return f"{found['near']} near" + (f" ({of_each})" if of_each else "")


def _contradictions(found: Mapping[str, Any]) -> str:
    said = []
    for what, pairs in (
        ("ask the same with other answers", found["same"]),
        ("nearly the same with other labels", found["near"]),
    ):
        if pairs:
            lines = listed((f"{one} and {other}" for one, other in pairs), shown=_SHOWN_LINES)
            said.append(f"{len(pairs)} {what} (lines {lines})")
    return ", ".join(said) or "none"


def _tokens(tokens: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "unknown" in tokens:
        yield "tokens", f"not known: {tokens['unknown']}"
        return
    bars = listed((f"up to {one['up_to']}: {one['rows']}" for one in tokens["histogram"]), separator=", ", shown=20)
    yield f"tokens ({tokens['adapter']})", bars or "none"
    if bars:
        yield "tokens: half, 95%, longest", f"{tokens['p50']}, {tokens['p95']}, {tokens['longest']}"
    over = f"{tokens['over']} rows, left out of the training" if tokens["over"] else "none"
    yield f"tokens: over max_length {tokens['max_length']}", over


def _personal_data(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "unknown" in found:
        yield "personal data", f"not looked for: {found['unknown']}"
        return
    for name, one in found.items():
        if name == "name_models":
            continue
        counts = listed((f"{kind} {count}" for kind, count in one["found"].items()), separator=", ")
        lines = listed(map(str, one["lines"]), separator=", ", shown=_SHOWN_LINES)
        shown = f"{counts} in {one['rows']} rows (lines {lines}); arbiter data mask" if counts else "none"
        yield f"{name}: personal data", shown
    models = ", ".join(found["name_models"])
    yield "names", f"looked for with {models}" if models else "not looked for: no spaCy model is installed"


def _bias(bias: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    (first, second), (of_first, of_second) = bias["groups"], bias["num_rows"]
    yield "groups", f"{of_first} rows speak of {first} alone, {of_second} of {second}, {bias['num_both']} of both"
    if of_first + of_second:
        other = f", {bias['num_other']} with another label" if bias["num_other"] else ""
        yield "groups: swapped", f"{bias['num_same']} rows have their counterpart{other}, {bias['num_alone']} have none"
    shown = [one for one in bias["differences"] if one["is_shown"]]
    for one in shown:
        (a, b), interval = one["shares"], f"{one['low']:+.0%} to {one['high']:+.0%}"
        yield (
            "groups: label",
            f"{one['label']}: {a:.0%} of {first}, {b:.0%} of {second} (the first less the second: {interval})",
        )
    if bias["differences"] and not shown:
        most = bias["differences"][0]
        interval = f"{most['low']:+.0%} to {most['high']:+.0%}"
        yield (
            "groups: labels",
            f"no difference is shown; the largest is {most['label']}'s ({first} less {second}: {interval})",
        )


def _forecast(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not found:
        yield "forecast", "--forecast times a few steps of each training"
        return
    watts = found["power_w"]
    for name, one in found["trainings"].items():
        if "note" in one:
            yield f"forecast: {name}", one["note"]
            continue
        energy = "energy unknown (set energy.power_w)" if watts is None else f"{one['kwh'] * 1000:.3g} Wh"
        cost = f", costs {as_amount(one['cost'])}" if one["cost"] else ""
        yield f"forecast: {name}", f"{as_duration(one['seconds'])}, {energy}{cost}"
    if watts is not None:
        stated = "" if found["power_from"] == "energy.power_w" else "; energy.power_w states it"
        yield "forecast: power", f"{watts:g} W ({found['power_from']}{stated})"
