"""The report's plots as inline SVG: matplotlib draws, and colours and font are handed over to the page's style sheet.

    svg = interval_plot([Mark("rag", 0.31, 0.22, 0.40), Mark("hybrid", 0.62, 0.55, 0.70, is_chosen=True)], "token_f1")

Every plot is an <svg> with a <title> and a <desc>, without namespaces, links, or ids that clash with another plot's.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Stand-ins that matplotlib writes and `_inline` turns into the page's CSS variables, so that plots follow dark mode.
INK, MUTED, LINE, ACCENT, BAND = "#0a0a01", "#0a0a02", "#0a0a03", "#0a0a04", "#0a0a05"
_VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line", ACCENT: "--accent", BAND: "--band"}

# Narrow enough that 11 point text stays readable when a phone scales the drawing down to its width.
_WIDTH_IN = 5.2
_ROW_IN = 0.42
_FONT_PT = 11.0
# Mean width of a character of the page's fonts, in units of the font size.
_CHARACTER_EM = 0.56
# Longer names are cut in the middle; their ends tell variants apart.
_NAME_CHARACTERS = 18


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


def interval_plot(marks: Sequence[Mark], metric: str) -> str:
    """A row per arm, in the order given from the top: mean and interval."""

    def draw(axes: Axes) -> None:
        axes.set_xlim(0, min(1.02, 1.12 * max([mark.high for mark in marks] + [0.05])))
        _rows(axes, marks, "{:.2f}")
        axes.set_xlabel(f"mean {metric}")

    values = "; ".join(f"{m.name} {m.mean:.2f}, from {m.low:.2f} to {m.high:.2f}" for m in marks)
    return _svg(draw, f"Mean {metric} per arm with 95% intervals", values, _rows_height(marks))


def difference_plot(marks: Sequence[Mark], leader: str, margin: float) -> str:
    """A row per other arm: leader minus other with its interval, over the band where a difference does not matter."""

    def draw(axes: Axes) -> None:
        axes.axvspan(-margin, margin, color=BAND, linewidth=0)
        axes.axvline(0, color=MUTED, linewidth=1)
        low, high = min(mark.low for mark in marks), max(mark.high for mark in marks)
        low, high = min(low, -2 * margin), max(high, 2 * margin)
        axes.set_xlim(low - 0.06 * (high - low), high + 0.06 * (high - low))
        _rows(axes, marks, "{:+.2f}")
        axes.set_xlabel("leader minus other arm")

    values = "; ".join(f"{leader} minus {m.name} {m.mean:+.2f}, from {m.low:+.2f} to {m.high:+.2f}" for m in marks)
    title = f"Paired differences between {leader} and the other arms with 95% intervals"
    return _svg(draw, title, f"{values}. Differences within {margin:g} do not matter.", _rows_height(marks))


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

    values = "; ".join(f"{p.name} {p.y:.2f} at {p.x:.0f}" for p in points)
    return _svg(draw, f"Mean {metric} against {cost}", values, 3.2)


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats in both directions, cheapest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.x, -p.y)):
        if not front or point.y > front[-1].y:
            front.append(point)
    return front


def _rows_height(marks: Sequence[Mark]) -> float:
    return 0.75 + _ROW_IN * len(marks)


def _rows(axes: Axes, marks: Sequence[Mark], form: str) -> None:
    for row, mark in enumerate(marks):
        color = ACCENT if mark.is_chosen else MUTED
        axes.plot([mark.low, mark.high], [row, row], color=color, linewidth=2.5, solid_capstyle="round")
        axes.plot(mark.mean, row, "o", color=color, markersize=8)
        axes.annotate(
            form.format(mark.mean), (mark.mean, row), xytext=(0, 7), textcoords="offset points", ha="center", color=INK
        )
    axes.set_yticks(range(len(marks)), [_short(mark.name) for mark in marks])
    axes.set_ylim(len(marks) - 0.5, -0.7)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=LINE, linewidth=0.6)


def _label_points(axes: Axes, points: Sequence[Point]) -> None:
    """Names beside their points, each at the first place around its point that is still free."""
    axes.figure.canvas.draw()
    to_pixels, scale = axes.transData.transform, axes.figure.dpi / 72
    height, right_end = 1.2 * _FONT_PT * scale, axes.figure.bbox.width
    places = {point.name: to_pixels((point.x, point.y)) for point in points}
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in places.values()]
    for point in sorted(points, key=lambda p: -p.y):
        x, y = places[point.name]
        width = _CHARACTER_EM * _FONT_PT * scale * len(_short(point.name))
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
        label = axes.annotate(
            _short(point.name),
            (point.x, point.y),
            xytext=(dx, dy),
            textcoords="offset points",
            ha=align,
            va="center",
            color=INK,
        )
        label.set_in_layout(False)  # the layout is settled, and a name may not shrink the drawing


def _short(name: str) -> str:
    half = _NAME_CHARACTERS // 2
    return name if len(name) <= _NAME_CHARACTERS else f"{name[: half - 1]}…{name[-half:]}"


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _svg(draw: Callable[[Axes], None], title: str, description: str, height_in: float) -> str:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",  # text stays text: it can be selected, searched and read aloud
        "svg.hashsalt": title,  # ids differ among plots and are the same at every run
        "font.size": _FONT_PT,
        "axes.edgecolor": LINE,
        "axes.labelcolor": MUTED,
        "xtick.color": MUTED,
        "ytick.color": INK,
        "text.parse_math": False,  # an arm may be named "$"
    }
    # Text is drawn by the browser's fonts, so it does not matter which characters matplotlib's own font lacks.
    with matplotlib.rc_context(settings), warnings.catch_warnings(action="ignore", category=UserWarning):
        figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.set_axisbelow(True)
        draw(axes)
        figure.patch.set_alpha(0)
        axes.patch.set_alpha(0)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return _inline(written.getvalue(), title, description)


def _inline(svg: str, title: str, description: str) -> str:
    """matplotlib's file as an element of an HTML page."""
    box = re.search(r'viewBox="([^"]+)"', svg)
    assert box is not None
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    body = re.sub(r"<(metadata|style)\b.*?</\1>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)  # "axes_1" stands in every plot; only ids of <defs> are referred to
    body = body.replace("xlink:href", "href")
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    for color, variable in _VARIABLES.items():
        body = body.replace(color, f"var({variable})")
    about = f"<title>{html.escape(title)}</title><desc>{html.escape(description)}</desc>"
    return f'<svg role="img" viewBox="{box.group(1)}">{about}{body}'.strip()
