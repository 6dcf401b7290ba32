"""A decision card for the terminal and for scripts: Markdown with padded tables, and the one JSON object of `--json`.

print(to_markdown(card))
json.dumps(to_json(run_dir, card))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eval.report.card import Card
from eval.report.wording import (
    as_amount,
    as_duration,
    as_signed_amount,
    as_size,
    compression_words,
    parity_words,
    preference_words,
)
from router.deciding.wording import as_lead, as_level, as_score, as_share

STANDING = {"beaten": "significantly worse", "equivalent": "equivalent", "open": "not settled"}
_NONE = "–"


def to_json(run_dir: str, card: Card) -> dict[str, object]:
    """What `--json` prints: `tokens` is the total, `latency_ms` the median or null; unscored metrics are left out."""
    by_name, decision = {row["arm"]: row for row in card["arms"]}, card["decision"]
    return {
        "run": run_dir,
        "arms": [
            {
                "name": row["arm"],
                "kind": row["kind"],
                "num_questions": row["num_asked"],
                "num_unscored": row["num_unscored"],
                "num_failed": row["num_errors"],
                "metrics": row["metrics"],
                "latency_ms": row["p50_ms"],
                "tokens": row["total_tokens"],
            }
            for row in (by_name[part["arm"]] for part in card["parts"])
        ],
        "decision": {key: decision[key] for key in ("arm", "verdict", "confidence", "margin", "runner_up", "reason")},
        **_measured_gates(card),
    }


def _measured_gates(card: Card) -> dict[str, object]:
    """What gates show, where some were measured."""
    keys = ("arm", "gate", "verdict", "estimate", "limit", "is_required", "says")
    rows = [{key: row[key] for key in keys} for row in card.get("gates", ())]
    return {"gates": rows} if rows else {}


def to_markdown(card: Card) -> str:
    """The decision, what must not be overlooked, the tables, costs and flips, for reading in a terminal."""
    summary = card["summary"]
    parts = [
        summary["headline"],
        "\n".join(f"! {line}" for line in summary["warnings"]),
        _side_by_side(card),
        _metrics(card),
        _comparisons(card),
        _adapters(card),
        _preferences(card),
        _compressed(card),
        _losses(card),
        _gates(card),
        "\n".join(_facts(card)),
        f"Why: {card['decision']['reason']}",
        "\n".join(f"- {line}" for line in card["diagnostics"]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _gates(card: Card) -> str:
    """A row a gate, and in words what is not simply passed."""
    rows = card.get("gates", ())
    if not rows:
        return ""
    head = ("gate", "arm", "verdict", "harm", "interval", "limit")
    cells = [
        (
            row["gate"] + (" (required)" if row["is_required"] else ""),
            row["arm"],
            row["verdict"] or "not measured",
            *_mean_and_range(row["estimate"], as_share),
            as_share(row["limit"]),
        )
        for row in rows
    ]
    lines = [f"- {row['arm']}: {row['says']}" for row in rows if row["verdict"] not in ("pass", None)]
    return "\n\n".join([table(head, cells), *(["\n".join(lines)] if lines else [])])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with padded columns; line breaks and bars in cells cannot break it."""
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in (head, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _side_by_side(card: Card) -> str:
    is_currency, is_race, primary = card["metric"]["is_currency"], card["race"] is not None, card["metric"]["primary"]
    head = ["arm", "kind", *(["utility"] if is_currency else []), primary]
    head += [f"{as_level(card['policy']['alpha'])} interval", "failed", "unscored", *(["not asked"] if is_race else [])]
    head += ["p50 ms", "p95 ms", "tokens in + out", "cost per 1k", "all in"]
    rows = []
    for row in card["arms"]:
        cells = [("*" if row["is_chosen"] else "") + row["arm"], row["kind"]]
        if is_currency:
            cells.append(as_amount(row["utility"]["mean"]) if row["utility"] else _NONE)
        cells += [*_mean_and_range(row["primary"], as_score), str(row["num_errors"]), str(row["num_unscored"])]
        if is_race:
            cells.append(str(row["num_not_asked"]))
        cells += [_NONE if row[name] is None else f"{row[name]:.0f}" for name in ("p50_ms", "p95_ms")]
        cells.append(f"{row['prompt_tokens']:.0f} + {row['generated_tokens']:.0f}")
        rows.append([*cells, as_amount(row["cost_per_1k"]), as_amount(row["amortised_per_1k"])])
    for floor in card["floors"]:
        utility = [_NONE] if is_currency else []
        cells = [floor["name"], "floor", *utility, *_mean_and_range(floor["primary"], as_score)]
        rows.append(cells + [_NONE] * (len(head) - len(cells)))
    return table(head, rows)


def _metrics(card: Card) -> str:
    """A row per further metric, a column per arm: there may be many metrics, and a terminal is narrow."""
    arms = card["arms"]
    rows = [
        [metric, *(as_score(row["metrics"][metric]["mean"]) if metric in row["metrics"] else _NONE for row in arms)]
        for metric in card["metric"]["all"][1:]
        if any(metric in row["metrics"] for row in arms)
    ]
    return table(["metric", *(row["arm"] for row in arms)], rows) if rows else ""


def _comparisons(card: Card) -> str:
    found = card["comparisons"]
    signed = as_signed_amount if card["metric"]["is_currency"] else as_lead
    head = (f"{found['leader']} minus", "difference", "interval", f"p ({found['correction']})", "test", "standing")
    rows = [
        (
            row["other"],
            *_mean_and_range(row if row["num_pairs"] else None, signed),
            _NONE if row["p_corrected"] is None else f"{row['p_corrected']:.2g}",
            row["test"] or _NONE,
            standing_of(row),
        )
        for row in found["rows"]
    ]
    return table(head, rows) if rows else ""


def standing_of(row: dict[str, Any]) -> str:
    """A comparison's standing in words, with the arm that beat the other where that was not the leader."""
    words = STANDING[row["standing"]] if row["num_pairs"] or row["beaten_by"] else "never compared"
    if row["standing"] == "beaten" and not row["is_significant"]:
        words = "behind, maybe by chance"
    return f"{words} (than {row['beaten_by']})" if row["beaten_by"] else words


def _adapters(card: Card) -> str:
    head = ("adapter", "objective", "method", "served as", "size", "rows", "trained in", "logits off by")
    rows = [
        (
            row["adapter"],
            row["objective"],
            row["method"],
            row["form"],
            as_size(row["num_bytes"]),
            f"{row['num_rows']:,}",
            as_duration(row["training_s"]),
            parity_words(row["parity"]),
        )
        for row in card["adapters"]
    ]
    return table(head, rows) if rows else ""


def _preferences(card: Card) -> str:
    """How the adapters that learned preferences rank pairs that they did not learn."""
    head = ("adapter", "held-out pairs", "right before", "right", "margin before", "margin", "gained")
    rows = [(row["adapter"], *preference_words(told)) for row in card["adapters"] if (told := row["preference"])]
    return table(head, rows) if rows else ""


def _compressed(card: Card) -> str:
    """What was pruned or rounded, as counted in its files."""
    head = ("adapter", "made of", "how", "zeros in its layers", "weights not 0", "stored", "in bits")
    rows = [(row["adapter"], *compression_words(told)) for row in card["adapters"] if (told := row.get("compression"))]
    return table(head, rows) if rows else ""


def _losses(card: Card) -> str:
    """What that cost: each arm minus the arm that asks with what it was before."""
    head = ("compressed arm", "minus", "difference", "interval", "questions")
    rows = [
        (
            row["arm"],
            row["before"] or "not asked in this run",
            *_mean_and_range(row if row["before"] else None, as_lead),
            f"{row['num_pairs']:,}",
        )
        for row in card.get("compressions", ())
    ]
    return table(head, rows) if rows else ""


def _facts(card: Card) -> list[str]:
    summary, traffic = card["summary"], card["policy"]["traffic"]
    cost = next(as_amount(row["amortised_per_1k"]) for row in card["arms"] if row["is_chosen"])
    expected = f"{traffic['questions']:,.0f} questions a month for {traffic['months']:g} months"
    lines = [f"Cost of 1,000 questions, all in: {cost} at {expected}."]
    if summary["break_even"]:
        lines.append(f"Break-even: {summary['break_even']}.")
    lines += [summary["sure"], *summary["wrong_if"], summary["change"], *summary["examples"]]
    if summary["spent"]:
        lines.append(f"Race: {summary['spent']}.")
    if summary["held_out"] is not None:
        is_currency = card["metric"]["is_currency"]
        mean, ends = _mean_and_range(summary["held_out"], as_amount if is_currency else as_score)
        line = f"On {card['questions']['num_held_out']} questions that decided nothing: {mean} ({ends})"
        if summary["held_out_lead"] is not None:
            mean, ends = _mean_and_range(summary["held_out_lead"], as_signed_amount if is_currency else as_lead)
            line += f", {mean} over {card['decision']['runner_up']} ({ends})"
        lines.append(f"{line}.")
    return lines


def _mean_and_range(bounds: Mapping[str, float] | None, shown: Callable[[float], str]) -> tuple[str, str]:
    if bounds is None:
        return _NONE, _NONE
    return shown(bounds["mean"]), f"{shown(bounds['low'])} to {shown(bounds['high'])}"
