"""The report's plots as inline SVG: intervals, paired differences, quality against cost, which arm wins at which
traffic, where lines of total cost cross, and quality against training examples.

marks = [Mark("rag", 0.31, 0.22, 0.40), Mark("hybrid", 0.62, 0.55, 0.70, is_chosen=True)]
svg = interval_plot(marks, "token_f1", "95% intervals")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eval.report.svg import ACCENT, BAND, INK, LINE, MUTED, PANEL, Labels, Offset, draw_svg, shorten_name
from router.deciding.costs import ArmCosts, BreakEven
from router.deciding.policy import Policy
from router.deciding.preference import WinningMap
from router.deciding.wording import as_lead, as_score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

NO_ARM = "no arm"
# The arm that wins at the policy's own traffic has a plain ground; the others are told apart by hatching, not colour.
_HATCHES = ("///", "\\\\\\", "xxx", "---", "|||", "+++")
_DASHES: tuple[tuple[float, ...], ...] = ((6, 2), (2, 1.5), (7, 2, 1.5, 2), (4, 4), (7, 2, 1.5, 2, 1.5, 2), (1, 3))
# Where a name may stand: around a point in quality against cost, beside the policy's traffic.
_AROUND: tuple[Offset, ...] = (
    (9, 0, "left"),
    (0, 12, "center"),
    (0, -12, "center"),
    (-9, 0, "right"),
    *((9, up, "left") for up in (12, -12, 24, -24)),
)
_BESIDE: tuple[Offset, ...] = (
    *((9, up, "left") for up in (0, 13, -13)),
    *((-9, up, "right") for up in (0, 13, -13)),
)
_ROW_IN = 0.42
_HEIGHT_IN = 3.6
_SAMPLES = 60
_MOST_SIZES = 6


@dataclass(frozen=True, slots=True)
class Mark:
    """One arm's value with its interval, on the metric's own scale."""

    name: str
    mean: float
    low: float
    high: float
    is_chosen: bool = False


@dataclass(frozen=True, slots=True)
class Size:
    """A mean score with its interval at a number of training examples."""

    num_examples: int
    mean: float
    low: float
    high: float


def interval_plot(marks: Sequence[Mark], metric: str, intervals: str) -> str:
    """A row per arm, in the order given from the top: mean and interval; `intervals` says of which kind they are."""

    def draw(axes: Axes) -> None:
        axes.set_xlim(0, min(1.02, 1.12 * max([mark.high for mark in marks] + [0.05])))
        _rows(axes, marks, as_score)
        axes.set_xlabel(f"mean {metric}")

    title = f"Mean {metric} per arm with {intervals}"
    return draw_svg(draw, title, _told(marks, as_score), 0.75 + _ROW_IN * len(marks))


def difference_plot(marks: Sequence[Mark], leader: str, margin: float, intervals: str) -> str:
    """A row per other arm: leader minus other with its interval, over the band where a difference does not matter."""

    def draw(axes: Axes) -> None:
        axes.axvspan(-margin, margin, color=BAND, linewidth=0)
        axes.axvline(0, color=MUTED, linewidth=1)
        low, high = min(mark.low for mark in marks), max(mark.high for mark in marks)
        low, high = min(low, -2 * margin), max(high, 2 * margin)
        axes.set_xlim(low - 0.06 * (high - low), high + 0.06 * (high - low))
        _rows(axes, marks, as_lead)
        axes.set_xlabel("leader minus other arm")

    title = f"Paired differences between {leader} and the other arms with {intervals}"
    about = f"{_told(marks, as_lead, f'{leader} minus ')}. Differences within {margin:g} do not matter."
    return draw_svg(draw, title, about, 0.75 + _ROW_IN * len(marks))


def cost_plot(arms: Sequence[tuple[float, Mark]], metric: str, cost: str) -> str:
    """The means against what the arms cost; `cost` names that axis and its unit. The line joins the arms that none
    beats in both.
    """
    points = [(x, mark.mean) for x, mark in arms]

    def draw(axes: Axes) -> None:
        axes.set_xlim(0, 1.22 * max([x for x, _ in points] + [1]))
        axes.set_ylim(0, min(1.08, 1.25 * max([y for _, y in points] + [0.05])))
        axes.set_xlabel(cost)
        axes.set_ylabel(f"mean {metric}")
        axes.grid(color=LINE, linewidth=0.6)
        axes.plot(*zip(*pareto_front(points), strict=True), color=LINE, linewidth=1.5, zorder=1)
        for x, mark in arms:
            axes.plot(x, mark.mean, "o", color=ACCENT if mark.is_chosen else MUTED, markersize=8, zorder=3)
        labels = Labels(axes)
        for point in points:
            labels.keep_clear(point)
        for x, mark in sorted(arms, key=lambda arm: -arm[1].mean):
            labels.place(shorten_name(mark.name), (x, mark.mean), _AROUND)

    values = "; ".join(f"{mark.name} {as_score(mark.mean)} at {x:.0f}" for x, mark in arms)
    return draw_svg(draw, f"Mean {metric} against {cost}", values, 3.2)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (cost, quality) that no other one beats in both, cheapest first."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front


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
        hatches = iter(_HATCHES * 8)
        names = dict.fromkeys([found.winner, *found.shares, None])
        for name in names:
            _fill_region(axes, found, name, None if name == found.winner else next(hatches))
        own = (found.volume, found.churn)
        axes.plot(*own, "o", color=ACCENT, markeredgecolor=PANEL, markersize=10, clip_on=False, zorder=6)
        labels = Labels(axes)
        labels.keep_clear(own)
        labels.place("your traffic", own, _BESIDE, ground=BAND, zorder=6)
        for name in names:
            _label_region(axes, labels, found, name)

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

    known = sorted((arm for arm in costs if total(arm, low) > 0), key=lambda arm: arm.arm == chosen)

    def draw(axes: Axes) -> None:
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel(f"questions in {months:g} months")
        axes.set_ylabel("total cost")
        axes.grid(color=LINE, linewidth=0.6)
        _name_powers(axes.xaxis)
        _name_powers(axes.yaxis)
        axes.axvline(asked, color=INK, linewidth=1)
        axes.text(asked, 1.02, "your traffic", transform=axes.get_xaxis_transform(), ha="center", color=INK)
        xs = [low * (high / low) ** (i / (_SAMPLES - 1)) for i in range(_SAMPLES)]
        for arm, dashes in zip(known, _DASHES * 8, strict=False):
            is_chosen = arm.arm == chosen
            color, width, style = (ACCENT, 2.5, (0, ())) if is_chosen else (MUTED, 1.5, (0, dashes))
            axes.plot(xs, [total(arm, x) for x in xs], color=color, linewidth=width, linestyle=style)
        axes.set_xlim(low, high)
        labels = Labels(axes)
        width = labels.room(arm.arm for arm in known)
        axes.set_xlim(low, high * (high / low) ** (width / max(axes.bbox.width - width, 1)))
        for arm in (arm for arm in known if arm.arm == chosen):
            for questions in crossings:
                at = (questions, total(arm, questions))
                axes.plot(*at, "o", color=INK, markersize=6, zorder=4)
                labels.place(_short_number(questions), at, [(3, -15, "left")], is_optional=True, ground=PANEL)
        ends = [(arm.arm, total(arm, high), ACCENT if arm.arm == chosen else INK) for arm in known]
        labels.name_ends(high, ends)

    lines = "; ".join(f"{arm.arm} {total(arm, asked):.3g}" for arm in costs if arm in known)
    met = "; ".join(f"{chosen} is cheaper than {b.other}: {b.text}" for b in found)
    about = f"At {asked:,.0f} questions in {months:g} months: {lines}. {met}."
    return draw_svg(draw, "Total cost against questions", about, _HEIGHT_IN)


def curve_plot(
    arm: str, metric: str, measured: Sequence[Size], line: Sequence[Size], rivals: Mapping[str, float]
) -> str:
    """An arm's mean against its training examples: what was measured, the fitted `line` with its band beyond that, and
    the means of arms that are not trained.
    """
    have, first, last = measured[-1].num_examples, measured[0].num_examples, line[-1].num_examples
    further = [size for size in line if size.num_examples >= have]

    def draw(axes: Axes) -> None:
        axes.set_xscale("log")
        axes.set_xlabel("training examples")
        axes.set_ylabel(f"mean {metric}")
        highest = max([size.high for size in (*measured, *further)] + [*rivals.values(), 0.05])
        axes.set_ylim(0, min(1.02, 1.12 * highest))
        axes.grid(axis="y", color=LINE, linewidth=0.6)
        low = first / (last / first) ** 0.04
        axes.set_xlim(low, last)
        xs = [size.num_examples for size in further]
        axes.fill_between(xs, [s.low for s in further], [s.high for s in further], color=BAND, linewidth=0)
        for (_, mean), dashes in zip(rivals.items(), _DASHES * 8, strict=False):
            axes.plot([low, last], [mean, mean], color=MUTED, linewidth=1.5, linestyle=(0, dashes))
        fitted = [size for size in line if size.num_examples <= have]
        for part, dashes in ((fitted, ()), (further, (5, 2))):
            at = ([size.num_examples for size in part], [size.mean for size in part])
            axes.plot(*at, color=ACCENT, linewidth=2, linestyle=(0, dashes))
        for size in measured:
            axes.plot([size.num_examples] * 2, [size.low, size.high], color=ACCENT, linewidth=1.5)
            axes.plot(size.num_examples, size.mean, "o", color=ACCENT, markersize=7)
        _name_sizes(axes.xaxis, [size.num_examples for size in measured], last)
        labels = Labels(axes)
        width = labels.room([arm, *rivals])
        right = last * (last / low) ** (width / max(axes.bbox.width - width, 1))
        axes.set_xlim(low, right)
        axes.axvspan(last, right, color=PANEL, linewidth=0)  # no grid behind the names
        labels.name_ends(last, [(arm, line[-1].mean, ACCENT), *((name, mean, INK) for name, mean in rivals.items())])

    points = [Mark(f"{size.num_examples:,} examples", size.mean, size.low, size.high) for size in measured]
    ahead = [line[-1]] if line[-1].num_examples > have else []
    ahead_told = [Mark(f"{size.num_examples:,} examples", size.mean, size.low, size.high) for size in ahead]
    others = "; ".join(f"{name} {as_score(mean)}" for name, mean in rivals.items())
    about = f"{arm}: {_told(points, as_score)}. Forecast: {_told(ahead_told, as_score)}. Not trained: {others}."
    return draw_svg(draw, f"Mean {metric} of {arm} against training examples", about, _HEIGHT_IN)


def _name_sizes(axis: Axis, measured: Sequence[int], last: int) -> None:
    """The sizes that were measured and their doublings, at most six of them, the largest that was measured for one."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    sizes = [*measured]
    while 2 * sizes[-1] <= last:
        sizes.append(2 * sizes[-1])
    step = -(-len(sizes) // _MOST_SIZES)
    shown = sizes[(len(measured) - 1) % step :: step]
    axis.set_major_locator(FixedLocator(shown))
    axis.set_major_formatter(FixedFormatter([f"{size:,}" for size in shown]))
    axis.set_minor_locator(NullLocator())


def _told(marks: Sequence[Mark], shown: Callable[[float], str], before: str = "") -> str:
    return "; ".join(f"{before}{m.name} {shown(m.mean)}, from {shown(m.low)} to {shown(m.high)}" for m in marks)


def _rows(axes: Axes, marks: Sequence[Mark], shown: Callable[[float], str]) -> None:
    for row, mark in enumerate(marks):
        color = ACCENT if mark.is_chosen else MUTED
        axes.plot([mark.low, mark.high], [row, row], color=color, linewidth=2.5, solid_capstyle="round")
        axes.plot(mark.mean, row, "o", color=color, markersize=8)
        axes.annotate(
            shown(mark.mean), (mark.mean, row), xytext=(0, 7), textcoords="offset points", ha="center", color=INK
        )
    axes.set_yticks(range(len(marks)), [shorten_name(mark.name) for mark in marks])
    axes.set_ylim(len(marks) - 0.5, -0.7)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=LINE, linewidth=0.6)


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


def _label_region(axes: Axes, labels: Labels, found: WinningMap, name: str | None) -> None:
    """The arm's name where its region has most room, upright where it is narrow, clear of all that is written."""
    from scipy.ndimage import distance_transform_edt

    mask = np.array([[winner == name for winner in row] for row in found.winners])
    if not mask.any():
        return
    xs, ys = axes.transData.transform([(x, y) for y in found.churns for x in found.volumes]).T.reshape(2, *mask.shape)
    shown = shorten_name(name or NO_ARM)
    width, height = labels.size(shown)
    free = mask.copy()
    for box in labels.taken:
        free &= (xs < box.x0) | (xs > box.x1) | (ys < box.y0 - height) | (ys > box.y1 + height)
    free = free if free.any() else mask
    across, up = xs[0, 1] - xs[0, 0], ys[1, 0] - ys[0, 0]
    # Names are wide and flat; beyond the frame is taken, too.
    room = distance_transform_edt(np.pad(free, 1), sampling=(2 * up, across))[1:-1, 1:-1]
    best = np.argwhere(room >= 0.95 * room.max())
    row, column = best[np.abs(best - best.mean(axis=0)).sum(axis=1).argmin()]  # the middle of all that are as good
    reach = int(width / 2 / across) + 1
    is_wide = bool(column >= reach and free[row, column - reach : column + reach + 1].all())
    half = (width / 2, height / 2) if is_wide else (height / 2, width / 2)
    inside = np.clip((xs[row, column], ys[row, column]), axes.bbox.p0 + half, axes.bbox.p1 - half)
    x, y = axes.transData.inverted().transform(inside)
    ground = BAND if name == found.winner else PANEL
    labels.write(shown, (x, y), ground=ground, rotation=0 if is_wide else 90, zorder=5)


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
