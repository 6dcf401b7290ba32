"""A decision card for the terminal and for scripts: Markdown with padded tables, and the one JSON object of `--json`.

print(to_markdown(card))
json.dumps(to_json(run_dir, card))
"""

from __future__ import annotations

from collections.abc import Sequence

from eval.report.card import Card
from eval.report.side_by_side import Bounds, FloorRow, Row
from eval.report.wording import as_amount, as_signed_amount
from router.deciding.wording import as_lead, as_level, as_score

STANDING = {"beaten": "significantly worse", "equivalent": "equivalent", "open": "not settled"}
_NONE = "–"


def to_json(run_dir: str, card: Card) -> dict[str, object]:
    """What `--json` prints: `tokens` is the total, `latency_ms` the median or null; unscored metrics are left out."""
    by_name = {row["arm"]: row for row in card["arms"]}
    rows = [by_name[part["arm"]] for part in card["parts"]]
    decision = card["decision"]
    return {
        "run": run_dir,
        "arms": [
            {
                "name": row["arm"],
                "kind": row["kind"],
                "num_questions": row["num_asked"],
                "num_unscored": row["num_unscored"],
                "metrics": row["metrics"],
                "latency_ms": row["p50_ms"],
                "tokens": row["total_tokens"],
            }
            for row in rows
        ],
        "decision": {key: decision[key] for key in ("arm", "verdict", "confidence", "margin", "runner_up", "reason")},
    }


def to_markdown(card: Card) -> str:
    """The decision, what must not be overlooked, the tables, costs and flips, for reading in a terminal."""
    summary = card["summary"]
    parts = [
        summary["headline"],
        "\n".join(f"! {line}" for line in summary["warnings"]),
        _side_by_side(card),
        _metrics(card),
        _comparisons(card),
        "\n".join(_facts(card)),
        f"Why: {card['decision']['reason']}",
        "\n".join(f"- {line}" for line in card["diagnostics"]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


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
    is_currency, is_race = card["metric"]["is_currency"], card["race"] is not None
    interval = f"{as_level(card['policy']['alpha'])} interval"
    head = ["arm", "kind", *(["utility"] if is_currency else []), card["metric"]["primary"], interval, "unscored"]
    head += ["not asked"] if is_race else []
    head += ["p50 ms", "p95 ms", "tokens in + out", "cost per 1k", "all in"]
    rows = [[*_quality(row, is_currency=is_currency, is_race=is_race), *_expense(row)] for row in card["arms"]]
    rows += [_floor(floor, len(head), is_currency=is_currency) for floor in card["floors"]]
    return table(head, rows)


def _quality(row: Row, *, is_currency: bool, is_race: bool) -> list[str]:
    utility = [as_amount(row["utility"]["mean"]) if row["utility"] else _NONE] if is_currency else []
    name = ("*" if row["is_chosen"] else "") + row["arm"]
    not_asked = [str(row["num_not_asked"])] if is_race else []
    return [name, row["kind"], *utility, *_mean_and_range(row["primary"]), str(row["num_unscored"]), *not_asked]


def _expense(row: Row) -> list[str]:
    return [
        _ms(row["p50_ms"]),
        _ms(row["p95_ms"]),
        f"{row['prompt_tokens']:.0f} + {row['generated_tokens']:.0f}",
        as_amount(row["cost_per_1k"]),
        as_amount(row["amortised_per_1k"]),
    ]


def _floor(floor: FloorRow, num_columns: int, *, is_currency: bool) -> list[str]:
    cells = [floor["name"], "floor", *([_NONE] if is_currency else []), *_mean_and_range(floor["primary"])]
    return cells + [_NONE] * (num_columns - len(cells))


def _metrics(card: Card) -> str:
    """A row per further metric, a column per arm: there may be many metrics, and a terminal is narrow."""
    rows = [
        [metric, *(as_score(row["metrics"][metric]["mean"]) if metric in row["metrics"] else _NONE for row in arms)]
        for arms in (card["arms"],)
        for metric in card["metric"]["all"][1:]
        if any(metric in row["metrics"] for row in arms)
    ]
    return table(["metric", *(row["arm"] for row in card["arms"])], rows) if rows else ""


def _comparisons(card: Card) -> str:
    found, is_currency = card["comparisons"], card["metric"]["is_currency"]
    if not found["rows"]:
        return ""
    signed = as_signed_amount if is_currency else as_lead
    return table(
        (f"{found['leader']} minus", "difference", "interval", f"p ({found['correction']})", "test", "standing"),
        [
            (
                row["other"],
                signed(row["mean"]) if row["num_pairs"] else _NONE,
                f"{signed(row['low'])} to {signed(row['high'])}" if row["num_pairs"] else _NONE,
                _NONE if row["p_corrected"] is None else f"{row['p_corrected']:.2g}",
                row["test"] or _NONE,
                standing_of(row),
            )
            for row in found["rows"]
        ],
    )


def standing_of(row: dict[str, object]) -> str:
    """A comparison's standing in words, with the arm that beat the other where that was not the leader."""
    words = STANDING[str(row["standing"])] if row["num_pairs"] or row["beaten_by"] else "never compared"
    return f"{words} (than {row['beaten_by']})" if row["beaten_by"] else words


def _facts(card: Card) -> list[str]:
    summary, policy = card["summary"], card["policy"]
    chosen = next(row for row in card["arms"] if row["is_chosen"])
    traffic = f"{policy['traffic']['questions']:,.0f} questions a month for {policy['traffic']['months']:g} months"
    lines = [f"Cost of 1,000 questions, all in: {as_amount(chosen['amortised_per_1k'])} at {traffic}."]
    if summary["break_even"]:
        lines.append(f"Break-even: {summary['break_even']}.")
    lines.append(summary["change"])
    if summary["spent"]:
        lines.append(f"Race: {summary['spent']}.")
    if summary["held_out"] is not None:
        lines.append(f"On {card['questions']['num_held_out']} questions that decided nothing: {_held_out(card)}.")
    return lines


def _held_out(card: Card) -> str:
    summary, decision, is_currency = card["summary"], card["decision"], card["metric"]["is_currency"]
    shown, signed = (as_amount, as_signed_amount) if is_currency else (as_score, as_lead)
    mean, lead = summary["held_out"], summary["held_out_lead"]
    assert mean is not None
    words = f"{shown(mean['mean'])} ({shown(mean['low'])} to {shown(mean['high'])})"
    if lead is None:
        return words
    ends = f"{signed(lead['low'])} to {signed(lead['high'])}"
    return f"{words}, {signed(lead['mean'])} over {decision['runner_up']} ({ends})"


def _mean_and_range(bounds: Bounds | None) -> tuple[str, str]:
    if bounds is None:
        return _NONE, _NONE
    return as_score(bounds["mean"]), f"{as_score(bounds['low'])} to {as_score(bounds['high'])}"


def _ms(value: float | None) -> str:
    return f"{value:.0f}" if value is not None else _NONE
