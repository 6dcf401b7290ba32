"""A decision card as one self-contained HTML page, without scripts or external requests.

html = to_html(card)

The templates lie in eval/report/templates/; page.html.j2 puts them together.
"""

from __future__ import annotations

from eval.errors import one_line
from eval.report.attribution import CAUSES
from eval.report.card import Card
from eval.report.plots import (
    Mark,
    Size,
    break_even_plot,
    cost_plot,
    curve_plot,
    difference_plot,
    interval_plot,
    winning_map_plot,
)
from eval.report.tables import standing_of
from eval.report.wording import (
    WEIGHTS,
    as_amount,
    as_duration,
    as_percent,
    as_signed_amount,
    as_size,
    compression_words,
    parity_words,
    preference_words,
)
from router.deciding.costs import ArmCosts, BreakEven
from router.deciding.policy import Policy
from router.deciding.preference import WinningMap
from router.deciding.wording import as_lead, as_level, as_score, as_share
from storage.records import from_row


def to_html(card: Card) -> str:
    """The page of a card, as `make_card` or `json.loads` gave it; every text of the data is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    is_currency = card["metric"]["is_currency"]
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=PackageLoader("eval.report"),
    )
    numbers = {
        "score": as_score,
        "deciding": as_amount if is_currency else as_score,
        "lead": as_signed_amount if is_currency else as_lead,
    }
    environment.filters |= {
        **numbers,
        "amount": as_amount,
        "compression": compression_words,
        "difference": as_lead,
        "duration": as_duration,
        "parity": parity_words,
        "percent": as_percent,
        "preference": preference_words,
        "share": as_share,
        "shorten": one_line,
        "size": as_size,
        "standing": standing_of,
    }
    rule = f"the cheapest within {card['metric']['margin']:g} of the best {card['metric']['primary']}"
    rule += f", the best of those that cost the same (to {as_share(card['policy']['cost_tolerance'])})"
    map_rule = "the highest expected utility" if is_currency else rule
    return environment.get_template("page.html.j2").render(
        card=card,
        chosen=next(row for row in card["arms"] if row["is_chosen"]),
        level=as_level(card["policy"]["alpha"]),
        drops={drop["arm"]: drop for drop in card["race"]["drops"]} if card["race"] else {},
        plots=_plots(card, map_rule),
        map_rule=map_rule,
        causes=CAUSES,
        weights=WEIGHTS,
        difference=as_lead,
        **numbers,
    )


def _plots(card: Card, map_rule: str) -> dict[str, str]:
    """The plots that would show something; they escape the names in them, and everything else in them is numbers."""
    chosen, primary, compared = card["decision"]["arm"], card["metric"]["primary"], card["comparisons"]
    level = f"{as_level(card['policy']['alpha'])} intervals"
    arms = [row for row in card["arms"] if row["primary"]]
    marks = [Mark(row["arm"], **row["primary"], is_chosen=row["is_chosen"]) for row in arms]
    plots = {"primary": interval_plot(marks, primary, level)}
    differences = [
        Mark(c["other"], c["mean"], c["low"], c["high"], is_chosen=c["other"] == chosen)
        for c in compared["rows"]
        if c["num_pairs"]
    ]
    if differences:
        spread = "anytime intervals" if compared["correction"] == "anytime" else level
        plots["differences"] = difference_plot(differences, compared["leader"], card["metric"]["margin"], spread)
    tokens = [row["prompt_tokens"] + row["generated_tokens"] for row in arms]
    for name, label, xs in (
        ("tokens", "tokens per question (prompt and generated)", tokens),
        ("latency", "median latency in ms", [row["p50_ms"] for row in arms]),
    ):
        points = [(x, mark) for x, mark in zip(xs, marks, strict=True) if x is not None]
        if len(points) > 1:
            plots[name] = cost_plot(points, primary, label)
    for curve in card["curves"]:
        measured, line = ([from_row(Size, row, extra="ignore") for row in curve[part]] for part in ("measured", "line"))
        rivals = {name: row["mean"] for name, row in curve["rivals"].items()}
        plots[f"curve of {curve['arm']}"] = curve_plot(curve["arm"], curve["metric"], measured, line, rivals)
    if card["sensitivity"] and len(card["arms"]) > 1:
        found = card["sensitivity"]["map"]
        winners = [[name for name, count in runs for _ in range(count)] for runs in found["winners"]]
        grid = from_row(WinningMap, {**found, "winners": winners}, extra="ignore")
        plots["map"] = winning_map_plot(grid, map_rule)
    parts = [from_row(ArmCosts, row, extra="ignore") for row in card["costs"]["arms"]]
    if len(card["arms"]) > 1 and any(part.total(1.0, months=1.0) for part in parts):
        lines = [from_row(BreakEven, row, extra="ignore") for row in card["costs"]["break_even"]]
        plots["break_even"] = break_even_plot(parts, lines, from_row(Policy, card["policy"]), chosen=chosen)
    return plots
