"""A decision card as one self-contained HTML page, without scripts or external requests.

html = to_html(card)

The templates lie in eval/report/templates/; page.html.j2 puts them together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from eval.errors import one_line
from eval.report.attribution import CAUSES, MEANING, NEXT_ACTION
from eval.report.card import Card
from eval.report.tables import standing_of
from eval.report.wording import WEIGHTS, as_amount, as_duration, as_percent, as_signed_amount
from router.deciding.costs.arm_costs import ArmCosts
from router.deciding.costs.break_even import BreakEven
from router.deciding.costs.winning_map import WinningMap
from router.deciding.policy import Policy
from router.deciding.wording import as_lead, as_level, as_score
from storage.records import from_row

if TYPE_CHECKING:
    from markupsafe import Markup


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
    environment.filters |= {
        "amount": as_amount,
        "deciding": as_amount if is_currency else as_score,
        "difference": as_lead,
        "duration": as_duration,
        "lead": as_signed_amount if is_currency else as_lead,
        "percent": as_percent,
        "score": as_score,
        "shorten": one_line,
        "standing": standing_of,
    }
    return environment.get_template("page.html.j2").render(
        card=card,
        chosen=next(row for row in card["arms"] if row["is_chosen"]),
        level=as_level(card["policy"]["alpha"]),
        drops={drop["arm"]: drop for drop in card["race"]["drops"]} if card["race"] else {},
        plots=_plots(card),
        map_rule=_map_rule(card),
        contents=_contents(card),
        causes=[{"cause": cause, "meaning": MEANING[cause], "next_action": NEXT_ACTION[cause]} for cause in CAUSES],
        assumptions=_assumptions(card["policy"]),
    )


def _contents(card: Card) -> list[tuple[str, str]]:
    sections: list[tuple[str, str, object]] = [
        ("side-by-side", "Side by side", True),
        ("race", "The race", card["race"]),
        ("why", "Why", True),
        ("change", "What would change it", card["sensitivity"]),
        ("failures", "Failures", card["attributions"]),
        ("slices", "Slices", card["slices"] and card["slices"]["slices"]),
        ("examples", "Examples", card["examples"]),
        ("costs", "Costs", True),
        ("scored", "Scored", True),
        ("provenance", "Reproduce", True),
    ]
    return [(anchor, name) for anchor, name, is_there in sections if is_there]


def _assumptions(policy: Mapping[str, Any]) -> list[tuple[str, str, float]]:
    """Path, words and value of every price and of the traffic."""
    found = []
    for path, words in WEIGHTS.items():
        section, _, name = path.partition(".")
        if section in ("prices", "traffic"):
            found.append((path, words, policy[section][name]))
    return found


def _map_rule(card: Card) -> str:
    if card["metric"]["is_currency"]:
        return "the highest expected utility"
    return f"the cheapest within {card['metric']['margin']:g} of the best {card['metric']['primary']}"


def _plots(card: Card) -> dict[str, Markup | None]:
    from markupsafe import Markup

    # The plots escape the names in them; everything else in them is numbers.
    return {name: Markup(plot()) if plot else None for name, plot in _drawn(card).items()}


def _drawn(card: Card) -> dict[str, Callable[[], str] | None]:
    """What each plot is drawn by, None for those that would show nothing."""
    from eval.report.cost_plots import break_even_plot, winning_map_plot
    from eval.report.plots import Mark, Point, cost_plot, difference_plot, interval_plot

    primary, arms, compared = card["metric"]["primary"], card["arms"], card["comparisons"]
    level = f"{as_level(card['policy']['alpha'])} intervals"
    spread = "anytime intervals" if card["race"] else level
    marks = [Mark(row["arm"], **row["primary"], is_chosen=row["is_chosen"]) for row in arms if row["primary"]]
    differences = [
        Mark(c["other"], c["mean"], c["low"], c["high"], is_chosen=c["other"] == card["decision"]["arm"])
        for c in compared["rows"]
        if c["num_pairs"]
    ]
    tokens, latencies = [], []
    for row in arms:
        if row["primary"] is None:
            continue
        y, is_chosen = row["primary"]["mean"], row["is_chosen"]
        tokens.append(Point(row["arm"], row["prompt_tokens"] + row["generated_tokens"], y, is_chosen=is_chosen))
        if row["p50_ms"] is not None:
            latencies.append(Point(row["arm"], row["p50_ms"], y, is_chosen=is_chosen))
    costs, chosen, found = card["costs"], card["decision"]["arm"], card["sensitivity"]
    parts = [from_row(ArmCosts, part) for part in costs["parts"]]
    lines = [from_row(BreakEven, row, extra="ignore") for row in costs["break_even"]]
    policy = from_row(Policy, card["policy"])
    has_costs = len(arms) > 1 and any(part.total(1.0, months=1.0) for part in parts)
    return {
        "primary": lambda: interval_plot(marks, primary, level),
        "differences": (lambda: difference_plot(differences, compared["leader"], card["metric"]["margin"], spread))
        if differences
        else None,
        "tokens": (lambda: cost_plot(tokens, primary, "tokens per question (prompt and generated)"))
        if len(tokens) > 1
        else None,
        "latency": (lambda: cost_plot(latencies, primary, "median latency in ms")) if len(latencies) > 1 else None,
        "map": (lambda: winning_map_plot(_map(found["map"]), _map_rule(card))) if found and len(arms) > 1 else None,
        "break_even": (lambda: break_even_plot(parts, lines, policy, chosen=chosen)) if has_costs else None,
    }


def _map(row: Mapping[str, Any]) -> WinningMap:
    winners = [[name for name, count in runs for _ in range(count)] for runs in row["winners"]]
    return from_row(WinningMap, {**row, "winners": winners}, extra="ignore")
