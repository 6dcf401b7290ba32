"""The report's plots of cost as inline SVG: which arm wins at which traffic, and where lines of total cost cross.

map_svg = winning_map_plot(winning_map(preference.choose, policy), "within 0.05 of the best, at the lowest cost")
lines_svg = break_even_plot(costs, break_even_table(scorecard, policy, "tuned"), policy, chosen="tuned")
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from eval.report.svg import ACCENT, BAND, CHARACTER_EM, FONT_PT, INK, LINE, MUTED, PANEL, draw_svg, shorten_name, write
from router.deciding.costs.arm_costs import ArmCosts
from router.deciding.costs.break_even import BreakEven
from router.deciding.costs.winning_map import WinningMap
from router.deciding.policy import Policy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

NO_ARM = "no arm"
# The arm that wins at the policy's own traffic has a plain ground; the others are told apart by hatching, not colour.
_HATCHES = ("///", "\\\\\\", "xxx", "---", "|||", "+++")
_DASHES: tuple[tuple[float, ...], ...] = ((6, 2), (2, 1.5), (7, 2, 1.5, 2), (4, 4), (7, 2, 1.5, 2, 1.5, 2), (1, 3))
_HEIGHT_IN = 3.6
_MARK_PT = 9.0
_SAMPLES = 60


def winning_map_plot(found: WinningMap, rule: str) -> str:
    """Regions by winning arm over questions a month and churn, with the policy's own traffic marked.

    `rule` says what winning means, for the description.
    """

    def draw(axes: Axes) -> None:
        axes.set_xscale("log")
        axes.set_xlim(found.volumes[0], found.volumes[-1])
        axes.set_ylim(0, 1)
        axes.set_xlabel("questions a month")
        axes.set_ylabel("documents that change in a month")
        _name_powers(axes.xaxis)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
        axes.figure.canvas.draw()  # settles the layout, which the places of the labels depend on
        hatches = iter(_HATCHES * 8)
        names = dict.fromkeys([found.winner, *found.shares, None])
        for name in names:
            _fill_region(axes, found, name, None if name == found.winner else next(hatches))
        taken = _mark_traffic(axes, found)
        for name in names:
            _label_region(axes, found, name, taken)

    held = "; ".join(f"{name} on {share:.0%} of the map" for name, share in found.shares.items())
    about = (
        f"{rule}. {held}. At {found.volume:,.0f} questions a month and {found.churn:.0%} of the documents changing: "
        f"{found.winner or NO_ARM}."
    )
    return draw_svg(draw, "Which arm wins at which traffic", about, _HEIGHT_IN)


def break_even_plot(costs: Sequence[ArmCosts], found: Sequence[BreakEven], policy: Policy, *, chosen: str) -> str:
    """Total cost of each arm over the policy's horizon against questions, the crossings of the chosen arm marked.

    Arms whose cost is unknown, or nothing at all, have no line.
    """
    months = policy.traffic.months
    asked = policy.traffic.questions * months
    crossings = sorted({b.questions for b in found if b.questions})
    low, high = min([asked, *crossings]) / 30, max([asked, *crossings]) * 5

    def total(arm: ArmCosts, questions: float) -> float:
        return arm.total(questions / months, months=months) or 0.0

    known = [arm for arm in costs if total(arm, low) > 0]

    def draw(axes: Axes) -> None:
        axes.set_xscale("log")
        axes.set_yscale("log")
        xs = [low * (high / low) ** (i / (_SAMPLES - 1)) for i in range(_SAMPLES)]
        dashes = iter(_DASHES * 8)
        for arm in sorted(known, key=lambda arm: arm.arm == chosen):
            is_chosen = arm.arm == chosen
            color, width = (ACCENT, 2.5) if is_chosen else (MUTED, 1.5)
            style = (0, ()) if is_chosen else (0, next(dashes))
            axes.plot(xs, [total(arm, x) for x in xs], color=color, linewidth=width, linestyle=style)
        axes.set_xlabel(f"questions in {months:g} months")
        axes.set_ylabel("total cost")
        axes.grid(color=LINE, linewidth=0.6)
        _name_powers(axes.xaxis)
        _name_powers(axes.yaxis)
        axes.axvline(asked, color=INK, linewidth=1)
        axes.annotate(
            "your traffic",
            (asked, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            color=INK,
        )
        axes.set_xlim(low, high)
        _label_ends(axes, [(arm.arm, total(arm, high)) for arm in known], chosen)
        for arm in (arm for arm in known if arm.arm == chosen):
            _mark_crossings(axes, [(questions, total(arm, questions)) for questions in crossings])

    lines = "; ".join(f"{arm.arm} {total(arm, asked):.3g}" for arm in known)
    met = "; ".join(f"{chosen} is cheaper than {b.other}: {b.text}" for b in found)
    about = f"At {asked:,.0f} questions in {months:g} months: {lines}. {met}."
    return draw_svg(draw, "Total cost against questions", about, _HEIGHT_IN)


def _fill_region(axes: Axes, found: WinningMap, name: str | None, hatch: str | None) -> None:
    """The ground, hatching and border of all that an arm wins."""
    mask = [[float(winner == name) for winner in row] for row in found.winners]
    if not any(map(any, mask)):
        return
    ground = BAND if hatch is None else PANEL
    region = axes.contourf(found.volumes, found.churns, mask, levels=[0.5, 1.5], colors=[ground], hatches=[hatch])
    region.set_edgecolor(LINE)  # the colour of the hatching
    region.set_linewidth(0)
    if len(found.shares) > 1 or any(not all(row) for row in mask):
        axes.contour(found.volumes, found.churns, mask, levels=[0.5], colors=[MUTED], linewidths=1.2)


def _mark_traffic(axes: Axes, found: WinningMap) -> tuple[float, float, float, float]:
    """A point and its label; the pixels that they take: left, bottom, right, top."""
    gap, height = _MARK_PT * axes.figure.dpi / 72, 1.3 * FONT_PT * axes.figure.dpi / 72
    text = "your traffic"
    x, y = axes.transData.transform((found.volume, found.churn))
    width = _width_px(axes, text) + 2 * gap
    is_left, is_low = x + width > axes.bbox.x1, y - axes.bbox.y0 < height
    axes.plot(
        found.volume, found.churn, "o", color=ACCENT, markeredgecolor=PANEL, markersize=10, clip_on=False, zorder=6
    )
    offset = (-_MARK_PT if is_left else _MARK_PT, 6 if is_low else 0)
    align = ("right" if is_left else "left", "bottom" if is_low else "center")
    write(axes, text, (found.volume, found.churn), offset=offset, align=align, ground=BAND, pad=1.5, zorder=6)
    left, right = (x - width, x + gap) if is_left else (x - gap, x + width)
    return left, y - height, right, y + 2 * height


def _label_region(axes: Axes, found: WinningMap, name: str | None, taken: tuple[float, float, float, float]) -> None:
    """The arm's name where its region is widest, upright where only that fits, clear of what is drawn at `taken`."""
    import numpy as np
    from scipy.ndimage import distance_transform_edt

    mask = np.array([[winner == name for winner in row] for row in found.winners])
    if not mask.any():
        return
    grid = np.array([[(x, y) for x in found.volumes] for y in found.churns])
    pixels = axes.transData.transform(grid.reshape(-1, 2)).reshape(*mask.shape, 2)
    xs, ys = pixels[..., 0], pixels[..., 1]
    left, bottom, right, top = taken
    free = mask & ~((xs >= left) & (xs <= right) & (ys >= bottom) & (ys <= top))
    free = free if free.any() else mask
    across, up = float(xs[0, 1] - xs[0, 0]), float(ys[1, 0] - ys[0, 0])
    shown = shorten_name(name or NO_ARM)
    half = _width_px(axes, shown) / 2

    def place(sampling: tuple[float, float]) -> tuple[int, int]:
        # Beyond the frame is taken, too.
        room = distance_transform_edt(np.pad(free, 1), sampling=sampling)[1:-1, 1:-1]
        best = np.argwhere(room >= 0.95 * room.max())
        row, column = best[np.abs(best - best.mean(axis=0)).sum(axis=1).argmin()]  # the middle of all that are as good
        return int(row), int(column)

    row, column = place((2 * up, across))  # names are wide and flat
    reach = int(half / across) + 1
    is_wide = column >= reach and bool(free[row, column - reach : column + reach + 1].all())
    if not is_wide:
        row, column = place((up, 2 * across))
    x, y = float(xs[row, column]), float(ys[row, column])
    if is_wide:
        x = min(max(x, axes.bbox.x0 + half), axes.bbox.x1 - half)
    else:
        y = min(max(y, axes.bbox.y0 + half), axes.bbox.y1 - half)
    at = tuple(axes.transData.inverted().transform((x, y)))
    ground = BAND if name == found.winner else PANEL
    write(axes, shown, at, ground=ground, rotation=0 if is_wide else 90, zorder=5)


def _label_ends(axes: Axes, ends: Sequence[tuple[str, float]], chosen: str) -> None:
    """Names to the right of their lines, pushed apart where lines end together, in room that is made for them."""
    low, high = axes.get_xlim()
    axes.figure.canvas.draw()
    widest = max((_width_px(axes, shorten_name(name)) for name, _ in ends), default=0.0) + 14
    axes.set_xlim(low, low * (high / low) ** (axes.bbox.width / max(axes.bbox.width - widest, 1)))
    height = 1.25 * FONT_PT * axes.figure.dpi / 72
    ranked = sorted(ends, key=lambda row: (row[1], row[0]))
    wanted = [float(axes.transData.transform((high, end))[1]) for _, end in ranked]
    places = list(wanted)
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + height)
    for i in reversed(range(len(places))):
        places[i] = min(places[i], axes.bbox.y1 - height / 2 if i == len(places) - 1 else places[i + 1] - height)
    for (name, end), place, line in zip(ranked, places, wanted, strict=True):
        offset, color = (5, (place - line) * 72 / axes.figure.dpi), ACCENT if name == chosen else INK
        write(axes, shorten_name(name), (high, end), offset=offset, align=("left", "center"), color=color)


def _mark_crossings(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    """A dot on the chosen arm's line for each crossing, with its number where there is room for one."""
    last = -math.inf
    for x, y in points:
        axes.plot(x, y, "o", color=INK, markersize=6, zorder=4)
        text = _short_number(x)
        left = float(axes.transData.transform((x, y))[0])
        if left > last:
            write(axes, text, (x, y), offset=(3, -8), align=("left", "top"), ground=PANEL, pad=1)
            last = left + _width_px(axes, text) + 6


def _name_powers(axis: Axis) -> None:
    """Powers of ten in short words, at most six of them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(numticks=6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _short_number(value)))
    axis.set_minor_formatter(NullFormatter())


def _short_number(value: float) -> str:
    for size, word in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size * 0.9995:
            return f"{value / size:.3g}{word}"
    return f"{value:.3g}"


def _width_px(axes: Axes, text: str) -> float:
    return CHARACTER_EM * FONT_PT * len(text) * axes.figure.dpi / 72
