"""A decision in words: one paragraph with its numbers, for the report and the command line."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from router.deciding.arm_table import ArmRow, ArmTable
from router.deciding.decision import Comparison, Further, Trade
from router.deciding.utility import UTILITY
from router.deciding.wording import as_lead, as_level, as_score, as_share

# So many questions nobody asks: what needs more is as good as not to be told apart.
_MANY = 100_000


def further_words(more: int, better: Further | None, equal: Further | None) -> str:
    """What further questions would settle, with the chance that they do: `more` stands in where nothing is expected."""
    ways = [
        f"{_range(way)} more questions would show {what}"
        for way, what in ((better, "which is better"), (equal, "that neither is better by the margin"))
        if way is not None
    ]
    if not ways:
        return f"{_about(more)} more question{'' if more == 1 else 's'} would settle it"
    return f"{' or '.join(ways)} (whichever is true, with a chance of 50% to 90%)"


def _about(number: int) -> str:
    return f"about {number:,}" if number <= _MANY else f"more than {_MANY:,}"


def _range(way: Further) -> str:
    if way.low > _MANY:
        return f"more than {_MANY:,}"
    return f"{way.low:,} to {way.high:,}" if way.high <= _MANY else f"{way.low:,} to more than {_MANY:,}"


def explain(
    table: ArmTable,
    *,
    leader: ArmRow,
    chosen: ArmRow,
    comparisons: Sequence[Comparison],
    more: int,
    better: Further | None = None,
    equal: Further | None = None,
    trade: Trade | None = None,
) -> str:
    """One paragraph in plain words, numbers included; `further_words` says what would settle what is open."""
    card, first = table.decided, leader.name
    unit = f"{card.primary} (scaled to 0 to 1)" if card.primary == UTILITY else card.primary
    text = [f"{chosen.name} scored {as_score(chosen.mean)} {unit} on {len(card.question_ids)} questions"]
    interval = "anytime interval" if card.earlier_looks else f"{as_level(table.policy.alpha)} interval"
    by_standing: dict[str, list[str]] = defaultdict(list)
    for c in comparisons:
        if c.difference is None:
            by_standing["apart" if c.standing == "open" else c.standing].append(c.other)
            continue
        mean, low, high = map(as_lead, (c.difference.mean, c.difference.low, c.difference.high))
        standing: str = "unscored" if c.unscored else c.standing
        if c.standing == "open" and table.row(c.other).excluded is not None:
            standing = "barred"
        if c.standing == "beaten" and not c.is_significant:
            standing = "behind"
        by_standing[standing].append(f"{c.other} ({mean}, {interval} {low} to {high}, p={c.p_corrected:.2g})")
    said = {standing: ", ".join(others) for standing, others in by_standing.items()}
    further = further_words(more, better, equal)
    if card.race is not None:
        text.append(card.race.summary)
    if beaten := said.get("beaten"):
        text.append(f"{first} is significantly better than {beaten}")
    if behind := said.get("behind"):
        text.append(f"{first} is ahead of {behind}, which may be chance among so many pairs of arms")
    if near := said.get("equivalent"):
        text.append(f"{first} is equivalent within {table.margin:g} to {near}")
    if hanging := said.get("unscored"):
        number = max(c.unscored for c in comparisons)
        text.append(
            f"{first} against {hanging} hangs on {number} answer{'' if number == 1 else 's'} without a score: it would "
            "not hold if they went against it, so it is undecided until they are scored"
        )
    if (unsettled := said.get("open")) and more:
        text.append(f"{first} leads {unsettled}, which is not settled: {further}")
    elif unsettled:
        text.append(f"{first} and {unsettled} need not be told apart: none is better by {table.margin:g}")
    if barred := said.get("barred"):
        text.append(f"{first} is not shown to be better than {barred}, which may not be served as measured")
    if apart := said.get("apart"):
        text.append(
            f"{first} was never compared with {apart}, for no question was scored for both: {_about(more)} more "
            f"question{'' if more == 1 else 's'}, scored for every arm, would settle it"
        )
    if trade is not None:
        text.append(f"of the arms within {table.margin:g} of {first}, {chosen.name} is {trade_words(trade)}")
    elif near and table.policy.utility is None:
        text.append(f"no arm within {table.margin:g} of {first} saves enough to be served instead")
    if card.race is not None and card.race.stopped == "one arm left" and not card.race.held_out:
        text.append("the lead at which a race stops is likely larger than it will prove")
    text.append(_why_kind(table))
    for row in table.rows:
        if row.excluded is not None:
            unsure = "" if row.is_ruled_out else " (as measured; it is not shown, so the arm counts as a rival)"
            text.append(f"{row.name} excluded: {row.excluded}{unsure}")
    if card.earlier_looks:
        text.append(
            f"some of these questions were decided on before ({', '.join(map(str, card.earlier_looks))}), so evidence "
            "that holds however often one looks decides"
        )
    return "; ".join(part for part in text if part) + "."


def trade_words(trade: Trade) -> str:
    """What was given up for what: "served for a saving of 12%, at an expected loss of 0.02"."""
    loss = as_score(trade.loss)
    if trade.saving is None:
        return f"served for a known cost instead of an unknown one, at an expected loss of {loss}"
    return f"served for a saving of {as_share(trade.saving)}, at an expected loss of {loss}"


def _why_kind(table: ArmTable) -> str:
    """What the grid as a whole says about documents and training, from the best arm of each kind."""
    best: dict[str, ArmRow] = {}
    for row in table.rows:
        # Examples shown as turns are a prompt's business; they say nothing about the documents.
        if row.scores.arm.prompt.passages == "context" and row.outcomes is not None:
            best[row.scores.arm.kind] = max(best.get(row.scores.arm.kind, row), row, key=lambda found: found.mean)
    parts = []
    for kind, other, words in (
        ("rag", "base", "retrieval alone moves base by"),
        ("tuned", "base", "training alone moves base by"),
        ("hybrid", "tuned", "retrieval on top of training adds"),
    ):
        if kind in best and other in best:
            lead = table.lead(best[kind].name, best[other].name)
            parts += [f"{words} {as_lead(lead)}"] if lead is not None else []
    return ", ".join(parts)
