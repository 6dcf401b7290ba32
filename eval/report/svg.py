"""One drawing as inline SVG: matplotlib draws, and colours and font are handed over to the page's style sheet.

svg = draw_svg(lambda axes: axes.plot([0, 1], [0, 1], color=ACCENT), title="...", description="...", height_in=3.2)

Every drawing is an <svg> with a <title> and a <desc>, without namespaces, links, or ids that clash with another's.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Stand-ins that matplotlib writes and `_inline` turns into the page's CSS variables, so that plots follow dark mode.
INK, MUTED, LINE, ACCENT, BAND, PANEL = "#0a0a01", "#0a0a02", "#0a0a03", "#0a0a04", "#0a0a05", "#0a0a06"
_VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line", ACCENT: "--accent", BAND: "--band", PANEL: "--panel"}

# Narrow enough that 11 point text stays readable when a phone scales the drawing down to its width.
WIDTH_IN = 5.2
FONT_PT = 11.0
# Mean width of a character of the page's fonts, in units of the font size.
CHARACTER_EM = 0.62
# Longer names are cut in the middle; their ends tell variants apart.
_NAME_CHARACTERS = 18


def shorten_name(name: str) -> str:
    """An arm's name as it fits into a drawing."""
    half = _NAME_CHARACTERS // 2
    return name if len(name) <= _NAME_CHARACTERS else f"{name[: half - 1]}…{name[-half:]}"


def write(
    axes: Axes,
    text: str,
    at: tuple[float, float],
    *,
    offset: tuple[float, float] = (0, 0),
    align: tuple[str, str] = ("center", "center"),
    color: str = INK,
    ground: str | None = None,
    **style: Any,
) -> None:
    """Text so many points away from a place, on a `ground` or none; the drawing is not shrunk to make room for it."""
    box = {"facecolor": ground, "edgecolor": "none", "pad": style.pop("pad", 2)} if ground is not None else None
    across, up = align
    axes.annotate(
        text, at, xytext=offset, textcoords="offset points", ha=across, va=up, color=color, bbox=box, **style
    ).set_in_layout(False)


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
