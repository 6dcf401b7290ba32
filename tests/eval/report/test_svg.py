import re
import xml.etree.ElementTree as ET

import pytest

from eval.report.svg import ACCENT, PANEL, draw_svg, shorten_name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("hybrid", "hybrid"),
        ("exactly_18_letters", "exactly_18_letters"),
        ("hybrid_with_another_prompt", "hybrid_w…er_prompt"),
    ],
)
def test_a_long_name_is_cut_in_the_middle(name: str, shown: str) -> None:
    assert shorten_name(name) == shown


def test_a_drawing_says_what_it_shows_and_leaves_colours_to_the_page() -> None:
    svg = draw_svg(
        lambda axes: axes.plot([0, 1], [1, 2], "o-", color=ACCENT, markeredgecolor=PANEL), "Costs < 5", "a & b", 2.0
    )
    root = ET.fromstring(svg)
    assert [child.text for child in root[:2]] == ["Costs < 5", "a & b"]
    assert {"var(--accent)", "var(--panel)"} <= set(re.findall(r"var\(--\w+\)", svg))
    assert re.findall(r"#[0-9a-f]{6}\b", re.sub(r'(href="#|url\(#)\w+', "", svg)) == []
