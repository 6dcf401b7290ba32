from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from eval.report.plots import Mark, Point, cost_plot, difference_plot, interval_plot, pareto_front

MARKS = [Mark("hybrid", 0.62, 0.5, 0.75, is_chosen=True), Mark("a <b> & $c$", 0.2, 0.1, 0.3)]
KIND = "95% intervals"
POINTS = [Point("base", 60, 0.1), Point("hybrid", 400, 0.6, is_chosen=True), Point("rag", 410, 0.3)]


@pytest.fixture(params=["intervals", "differences", "cost"])
def svg(request: pytest.FixtureRequest) -> str:
    return {
        "intervals": lambda: interval_plot(MARKS, "f1", KIND),
        "differences": lambda: difference_plot(MARKS, "hybrid", 0.03, KIND),
        "cost": lambda: cost_plot(POINTS, "f1", "tokens"),
    }[request.param]()


def test_a_plot_is_one_svg_element_with_a_title_and_a_description(svg: str) -> None:
    root = ET.fromstring(svg)
    assert root.tag == "svg"
    assert root.get("role") == "img"
    assert [child.tag for child in root[:2]] == ["title", "desc"]
    assert all(child.text for child in root[:2])


def test_a_plot_asks_for_nothing_and_styles_nothing_but_itself(svg: str) -> None:
    assert "http" not in svg
    assert "<style" not in svg
    assert "xlink" not in svg
    assert set(re.findall(r'href="(.)', svg)) <= {"#"}


def test_a_plot_takes_its_colours_and_font_from_the_page(svg: str) -> None:
    assert re.findall(r"#[0-9a-f]{6}", svg) == []
    assert "var(--accent)" in svg
    assert "font-family" not in svg


def test_plots_on_one_page_share_no_id() -> None:
    plots = [
        interval_plot(MARKS, "f1", KIND),
        difference_plot(MARKS, "hybrid", 0.03, KIND),
        *(cost_plot(POINTS, "f1", cost) for cost in ("tokens", "ms")),
    ]
    ids = [found for svg in plots for found in re.findall(r' id="([^"]+)"', svg)]
    assert len(ids) == len(set(ids))


def test_a_plot_is_the_same_at_every_run() -> None:
    assert interval_plot(MARKS, "f1", KIND) == interval_plot(MARKS, "f1", KIND)


def test_names_are_text_and_escaped() -> None:
    root = ET.fromstring(interval_plot(MARKS, "f1", KIND))
    texts = ["".join(element.itertext()) for element in root.iter("text")]
    assert "a <b> & $c$" in texts
    assert {"0.62", "0.20", "mean f1"} <= set(texts)


def test_the_description_tells_the_values() -> None:
    description = ET.fromstring(difference_plot(MARKS, "hybrid", 0.03, KIND))[1].text
    assert description is not None
    assert "hybrid minus a <b> & $c$ +0.20, from +0.10 to +0.30" in description
    assert "within 0.03" in description


def test_names_in_a_cost_plot_do_not_lie_on_each_other() -> None:
    crowded = [Point(name, 400, 0.5) for name in ("rag", "tuned_rag", "hybrid", "fewshot")]
    root = ET.fromstring(cost_plot(crowded, "f1", "tokens"))
    labels = [t for t in root.iter("text") if "".join(t.itertext()) in {p.name for p in crowded}]
    places = [(t.get("transform"), t.get("x"), t.get("y")) for t in labels]
    assert len(set(places)) == len(crowded)


def test_the_front_holds_what_no_other_point_beats() -> None:
    points = [Point("dear", 9, 0.9), Point("cheap", 1, 0.2), Point("worse", 5, 0.3), Point("mid", 4, 0.5)]
    assert [point.name for point in pareto_front(points)] == ["cheap", "mid", "dear"]
    assert [point.name for point in pareto_front([Point("a", 1, 0.1), Point("b", 1, 0.3)])] == ["b"]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_extreme_values_are_drawn(value: float) -> None:
    assert interval_plot([Mark("base", value, value, value)], "f1", KIND).endswith("</svg>")
    assert difference_plot([Mark("base", 0.0, 0.0, 0.0)], "hybrid", 0.03, KIND).endswith("</svg>")
    assert cost_plot([Point("base", 0.0, value)], "f1", "tokens").endswith("</svg>")


def test_a_name_that_the_drawing_font_lacks_is_drawn_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    assert "検索" in interval_plot([Mark("検索", 0.5, 0.4, 0.6)], "f1", KIND)
    assert not [w for w in recwarn if "Glyph" in str(w.message)]


def test_importing_the_module_imports_no_matplotlib() -> None:
    heavy = "'matplotlib' in sys.modules or 'jinja2' in sys.modules"
    code = f"import sys, eval.report.plots, eval.report.page; sys.exit({heavy})"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
