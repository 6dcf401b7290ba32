"""The report's plots of quality as inline SVG: intervals, paired differences, and quality against cost.

marks = [Mark("rag", 0.31, 0.22, 0.40), Mark("hybrid", 0.62, 0.55, 0.70, is_chosen=True)]
svg = interval_plot(marks, "token_f1", "95% intervals")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eval.report.svg import ACCENT, BAND, CHARACTER_EM, FONT_PT, INK, LINE, MUTED, draw_svg, shorten_name, write
from router.deciding.wording import as_lead, as_score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROW_IN = 0.42


@dataclass(frozen=True, slots=True)
class Mark:
    """One arm's value with its interval, on the metric's own scale."""

    name: str
    mean: float
    low: float
    high: float
    is_chosen: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """One arm's place in quality against cost; `x` in the unit of the axis, `y` on the metric's own scale."""

    name: str
    x: float
    y: float
    is_chosen: bool = False


def interval_plot(marks: Sequence[Mark], metric: str, intervals: str) -> str:
    """A row per arm, in the order given from the top: mean and interval; `intervals` says of which kind they are."""

    def draw(axes: Axes) -> None:
        axes.set_xlim(0, min(1.02, 1.12 * max([mark.high for mark in marks] + [0.05])))
        _rows(axes, marks, as_score)
        axes.set_xlabel(f"mean {metric}")

    values = _told(marks, as_score)
    return draw_svg(draw, f"Mean {metric} per arm with {intervals}", values, _rows_height(marks))


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

    values = _told(marks, as_lead, f"{leader} minus ")
    title = f"Paired differences between {leader} and the other arms with {intervals}"
    return draw_svg(draw, title, f"{values}. Differences within {margin:g} do not matter.", _rows_height(marks))


def cost_plot(points: Sequence[Point], metric: str, cost: str) -> str:
    """Quality against `cost`, which names the axis and its unit; the line joins the arms that none beats in both."""

    def draw(axes: Axes) -> None:
        axes.set_xlim(0, 1.22 * max([point.x for point in points] + [1]))
        axes.set_ylim(0, min(1.08, 1.25 * max([point.y for point in points] + [0.05])))
        front = pareto_front(points)
        axes.plot([p.x for p in front], [p.y for p in front], color=LINE, linewidth=1.5, zorder=1)
        for point in points:
            axes.plot(point.x, point.y, "o", color=ACCENT if point.is_chosen else MUTED, markersize=8, zorder=3)
        _label_points(axes, points)
        axes.set_xlabel(cost)
        axes.set_ylabel(f"mean {metric}")
        axes.grid(color=LINE, linewidth=0.6)

    values = "; ".join(f"{p.name} {as_score(p.y)} at {p.x:.0f}" for p in points)
    return draw_svg(draw, f"Mean {metric} against {cost}", values, 3.2)


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats in both directions, cheapest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.x, -p.y)):
        if not front or point.y > front[-1].y:
            front.append(point)
    return front


def _rows_height(marks: Sequence[Mark]) -> float:
    return 0.75 + _ROW_IN * len(marks)


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


def _label_points(axes: Axes, points: Sequence[Point]) -> None:
    """Names beside their points, each at the first place around its point that is still free."""
    axes.figure.canvas.draw()
    to_pixels, scale = axes.transData.transform, axes.figure.dpi / 72
    height, right_end = 1.2 * FONT_PT * scale, axes.figure.bbox.width
    places = {point.name: to_pixels((point.x, point.y)) for point in points}
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in places.values()]
    for point in sorted(points, key=lambda p: -p.y):
        x, y = places[point.name]
        width = CHARACTER_EM * FONT_PT * scale * len(shorten_name(point.name))
        candidates = (
            (9.0, 0.0, "left", x + 9 * scale),
            (0.0, 12.0, "center", x - width / 2),
            (0.0, -12.0, "center", x - width / 2),
            (-9.0, 0.0, "right", x - 9 * scale - width),
            (9.0, 12.0, "left", x + 9 * scale),
            (9.0, -12.0, "left", x + 9 * scale),
            (9.0, 24.0, "left", x + 9 * scale),
            (9.0, -24.0, "left", x + 9 * scale),
        )
        boxes = [
            (left, y + dy * scale - height / 2, left + width, y + dy * scale + height / 2)
            for _, dy, _, left in candidates
        ]
        free = [
            i
            for i, box in enumerate(boxes)
            if box[0] >= 0 and box[2] <= right_end and not any(_overlap(box, other) for other in taken)
        ]
        chosen = free[0] if free else 0
        dx, dy, align, _ = candidates[chosen]
        taken.append(boxes[chosen])
        write(axes, shorten_name(point.name), (point.x, point.y), offset=(dx, dy), align=(align, "center"))


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
