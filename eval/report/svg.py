"""One drawing as inline SVG: matplotlib draws, and colours and font are handed over to the page's style sheet.

svg = draw_svg(lambda axes: axes.plot([0, 1], [0, 1], color=ACCENT), title="...", description="...", height_in=3.2)

Every drawing is an <svg> with a <title> and a <desc>, without namespaces, links, or ids that clash with another's.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

# Stand-ins that matplotlib writes and `_inline` turns into the page's CSS variables, so that plots follow dark mode.
INK, MUTED, LINE, ACCENT, BAND, PANEL = "#0a0a01", "#0a0a02", "#0a0a03", "#0a0a04", "#0a0a05", "#0a0a06"
_VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line", ACCENT: "--accent", BAND: "--band", PANEL: "--panel"}

# Narrow enough that 11 point text stays readable when a phone scales the drawing down to its width.
WIDTH_IN = 5.2
FONT_PT = 11.0
# Mean width of a character of the page's fonts, and the height of a line, in units of the font size.
_CHARACTER_EM, _LINE_EM = 0.62, 1.25
# Longer names are cut in the middle; their ends tell variants apart.
_NAME_CHARACTERS = 18

Point = tuple[float, float]
# Of a text from its place, in points across and up, and which of its ends lies there.
Offset = tuple[float, float, Literal["left", "center", "right"]]


def shorten_name(name: str) -> str:
    """An arm's name as it fits into a drawing."""
    half = _NAME_CHARACTERS // 2
    return name if len(name) <= _NAME_CHARACTERS else f"{name[: half - 1]}…{name[-half:]}"


class Labels:
    """Texts on one drawing that lie neither on each other nor beyond its frame; made when all else is drawn.

    `taken` holds their boxes in pixels, of which a point has `pixel`.
    """

    def __init__(self, axes: Axes) -> None:
        axes.figure.canvas.draw()  # settles the layout, which every place depends on
        self.taken: list[Bbox] = []
        self.pixel, self._axes = axes.figure.dpi / 72, axes

    def size(self, text: str) -> tuple[float, float]:
        """How wide and high a text is, in pixels."""
        return _CHARACTER_EM * FONT_PT * len(text) * self.pixel, _LINE_EM * FONT_PT * self.pixel

    def keep_clear(self, at: Point) -> None:
        """No text on a marker that lies here."""
        self.taken.append(self._box(at, (0, 0, "center"), 12.0, 12.0))

    def place(self, text: str, at: Point, offsets: Sequence[Offset], is_optional: bool = False, **style: Any) -> None:
        """Write at the first of the offsets that is free; where none is, at the first one, or not if `is_optional`."""
        boxes = [self._box(at, offset, *self.size(text)) for offset in offsets]
        frame = self._axes.bbox
        inside = [i for i, box in enumerate(boxes) if frame.contains(*box.p0) and frame.contains(*box.p1)]
        free = [i for i in inside if not any(boxes[i].fully_overlaps(other) for other in self.taken)]
        if free or not is_optional:
            chosen = free[0] if free else 0
            self.taken.append(boxes[chosen])
            self.write(text, at, offsets[chosen], **style)

    def write(self, text: str, at: Point, offset: Offset = (0, 0, "center"), ground: str = "", **style: Any) -> None:
        """Write here, on a `ground` or none; the drawing is not shrunk to make room for it."""
        across, up, align = offset
        box = {"facecolor": ground, "edgecolor": "none", "pad": 1.5} if ground else None
        style = {"color": INK, "ha": align, "va": "center", "bbox": box, **style}
        self._axes.annotate(text, at, xytext=(across, up), textcoords="offset points", **style).set_in_layout(False)

    def room(self, names: Iterable[str]) -> float:
        """How wide the names of lines are, with their distance from them, in pixels."""
        return max((self.size(shorten_name(name))[0] for name in names), default=0.0) + 14

    def name_ends(self, x: float, ends: Sequence[tuple[str, float, str]]) -> None:
        """Name lines that end at `x`, to their right: name, height and colour. The names of those that end together are
        pushed apart, in the order of the lines.
        """
        ends = sorted(ends, key=lambda end: (end[1], end[0]))
        heights = np.array([self._axes.transData.transform((x, y))[1] for _, y, _ in ends])
        line = self.size("")[1]
        apart = line * np.arange(len(ends))
        places = np.maximum.accumulate(heights - apart) + apart
        places = np.minimum(places, self._axes.bbox.y1 - line / 2 - apart[::-1])
        for (name, y, color), up in zip(ends, (places - heights) / self.pixel, strict=True):
            self.write(shorten_name(name), (x, y), (5, up, "left"), color=color)

    def _box(self, at: Point, offset: Offset, width: float, height: float) -> Bbox:
        from matplotlib.transforms import Bbox

        (x, y), (across, up, align) = self._axes.transData.transform(at), offset
        left = x + across * self.pixel - width * {"left": 0.0, "center": 0.5, "right": 1.0}[align]
        return Bbox.from_bounds(left, y + up * self.pixel - height / 2, width, height)


def draw_svg(draw: Callable[[Axes], None], title: str, description: str, height_in: float) -> str:
    """The element with what `draw` puts on the axes. `title` must differ among the drawings of one page."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",  # text stays text: it can be selected, searched and read aloud
        "svg.hashsalt": title,  # ids differ among plots and are the same at every run
        "font.size": FONT_PT,
        "axes.edgecolor": LINE,
        "axes.labelcolor": MUTED,
        "xtick.color": MUTED,
        "ytick.color": INK,
        "text.parse_math": False,  # an arm may be named "$"
    }
    # Text is drawn by the browser's fonts, so it does not matter which characters matplotlib's own font lacks.
    with matplotlib.rc_context(settings), warnings.catch_warnings(action="ignore", category=UserWarning):
        figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
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
