from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from fakes.curves import measured, report

from eval.report.plots import (
    Mark,
    Size,
    break_even_plot,
    cost_plot,
    curve_plot,
    difference_plot,
    interval_plot,
    pareto_front,
    winning_map_plot,
)
from router.deciding.costs import ArmCosts, break_even
from router.deciding.policy import Policy, Traffic
from router.deciding.preference import WinningMap, winning_map
from storage.records import from_row

MARKS = [Mark("hybrid", 0.62, 0.5, 0.75, is_chosen=True), Mark("a <b> & $c$", 0.2, 0.1, 0.3)]
KIND = "95% intervals"
POINTS = [
    (60, Mark("base", 0.1, 0, 1)),
    (400, Mark("hybrid", 0.6, 0, 1, is_chosen=True)),
    (410, Mark("rag", 0.3, 0, 1)),
]
POLICY = Policy(traffic=Traffic(questions=1000, months=10, churn=0.1))
TUNED = ArmCosts("tuned", 0.001, 40.0, 0.0, 0.0, 0.0)
RAG = ArmCosts("a <b> & $c$", 0.005, 0.0, 2.0, 0.0, 0.0)
UNKNOWN = ArmCosts("bought", None, 0.0, 0.0, 0.0, 0.0)
FREE = ArmCosts("free", 0.0, 0.0, 0.0, 0.0, 0.0)


def choose(policy: Policy) -> str | None:
    """Three regions and one where nobody is left."""
    traffic = policy.traffic
    if traffic.churn > 0.9:
        return None
    if traffic.questions > 3e5:
        return "a <b> & $c$"
    return "tuned" if traffic.questions * (1 - traffic.churn) > 500 else "base"


def lines(chosen: ArmCosts, *others: ArmCosts) -> str:
    found = [break_even(chosen, other, POLICY) for other in others]
    return break_even_plot([chosen, *others], found, POLICY, chosen=chosen.arm)


def learned(*right: int, rivals: dict[str, int] | None = None) -> str:
    row = report(measured(right, rivals)).to_dict()
    sizes, line = ([from_row(Size, one, extra="ignore") for one in row[part]] for part in ("measured", "line"))
    return curve_plot("tuned", "f1", sizes, line, {name: one["mean"] for name, one in row["rivals"].items()})


@pytest.fixture(scope="module")
def curve_svg() -> str:
    return learned(1, 4, 8, 14, rivals={"base": 0, "rag": 20, "a <b> & $c$": 20})


@pytest.fixture(scope="module")
def map_svg() -> str:
    return winning_map_plot(winning_map(choose, POLICY), "the cheapest within 0.05 of the best")


@pytest.fixture(scope="module")
def lines_svg() -> str:
    return lines(TUNED, RAG, UNKNOWN, FREE)


@pytest.fixture(params=["intervals", "differences", "cost", "map_svg", "lines_svg", "curve_svg"])
def svg(request: pytest.FixtureRequest) -> str:
    drawn = {
        "intervals": lambda: interval_plot(MARKS, "f1", KIND),
        "differences": lambda: difference_plot(MARKS, "hybrid", 0.03, KIND),
        "cost": lambda: cost_plot(POINTS, "f1", "tokens"),
    }
    return drawn[request.param]() if request.param in drawn else str(request.getfixturevalue(request.param))


def texts_of(svg: str) -> list[str]:
    return ["".join(element.itertext()) for element in ET.fromstring(svg).iter("text")]


def description_of(svg: str) -> str:
    return ET.fromstring(svg)[1].text or ""


@pytest.mark.slow
def test_a_plot_is_one_svg_element_with_a_title_and_a_description(svg: str) -> None:
    root = ET.fromstring(svg)
    assert root.tag == "svg"
    assert root.get("role") == "img"
    assert [child.tag for child in root[:2]] == ["title", "desc"]
    assert all(child.text for child in root[:2])


@pytest.mark.slow
def test_a_plot_asks_for_nothing_and_styles_nothing_but_itself(svg: str) -> None:
    assert "http" not in svg
    assert "<style" not in svg
    assert "xlink" not in svg
    assert set(re.findall(r'href="(.)', svg)) <= {"#"}


@pytest.mark.slow
def test_a_plot_takes_its_colours_and_font_from_the_page(svg: str) -> None:
    assert re.findall(r"#[0-9a-f]{6}\b", re.sub(r'(href="#|url\(#)\w+', "", svg)) == []
    assert "var(--accent)" in svg
    assert "font-family" not in svg
    assert len(svg) < 60_000


@pytest.mark.slow
def test_plots_on_one_page_share_no_id() -> None:
    plots = [
        interval_plot(MARKS, "f1", KIND),
        difference_plot(MARKS, "hybrid", 0.03, KIND),
        *(cost_plot(POINTS, "f1", cost) for cost in ("tokens", "ms")),
    ]
    ids = [found for svg in plots for found in re.findall(r' id="([^"]+)"', svg)]
    assert len(ids) == len(set(ids))


@pytest.mark.slow
def test_a_plot_is_the_same_at_every_run() -> None:
    assert interval_plot(MARKS, "f1", KIND) == interval_plot(MARKS, "f1", KIND)
    assert lines(TUNED, RAG) == lines(TUNED, RAG)


@pytest.mark.slow
def test_names_are_text_and_escaped() -> None:
    root = ET.fromstring(interval_plot(MARKS, "f1", KIND))
    texts = ["".join(element.itertext()) for element in root.iter("text")]
    assert "a <b> & $c$" in texts
    assert {"0.62", "0.20", "mean f1"} <= set(texts)


@pytest.mark.slow
def test_the_description_tells_the_values() -> None:
    description = ET.fromstring(difference_plot(MARKS, "hybrid", 0.03, KIND))[1].text
    assert description is not None
    assert "hybrid minus a <b> & $c$ +0.20, from +0.10 to +0.30" in description
    assert "within 0.03" in description


@pytest.mark.slow
def test_names_in_a_cost_plot_do_not_lie_on_each_other() -> None:
    crowded = [(400, Mark(name, 0.5, 0, 1)) for name in ("rag", "tuned_rag", "hybrid", "fewshot")]
    root = ET.fromstring(cost_plot(crowded, "f1", "tokens"))
    labels = [t for t in root.iter("text") if "".join(t.itertext()) in {mark.name for _, mark in crowded}]
    places = [(t.get("transform"), t.get("x"), t.get("y")) for t in labels]
    assert len(set(places)) == len(crowded)


@pytest.mark.slow
def test_the_front_holds_what_no_other_point_beats() -> None:
    assert pareto_front([(9, 0.9), (1, 0.2), (5, 0.3), (4, 0.5)]) == [(1, 0.2), (4, 0.5), (9, 0.9)]
    assert pareto_front([(1, 0.1), (1, 0.3)]) == [(1, 0.3)]


@pytest.mark.slow
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_extreme_values_are_drawn(value: float) -> None:
    assert interval_plot([Mark("base", value, value, value)], "f1", KIND).endswith("</svg>")
    assert difference_plot([Mark("base", 0.0, 0.0, 0.0)], "hybrid", 0.03, KIND).endswith("</svg>")
    assert cost_plot([(0.0, Mark("base", value, value, value))], "f1", "tokens").endswith("</svg>")


@pytest.mark.slow
def test_a_name_that_the_drawing_font_lacks_is_drawn_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    assert "検索" in interval_plot([Mark("検索", 0.5, 0.4, 0.6)], "f1", KIND)
    assert not [w for w in recwarn if "Glyph" in str(w.message)]


@pytest.mark.slow
def test_every_region_is_named_and_the_policys_traffic_is_marked(map_svg: str) -> None:
    assert {"tuned", "base", "a <b> & $c$", "no arm", "your traffic", "100%", "10M"} <= set(texts_of(map_svg))


@pytest.mark.slow
def test_all_but_the_winner_at_the_policys_traffic_are_hatched_each_in_its_own_way(map_svg: str) -> None:
    patterns = re.findall(r"<pattern.*?</pattern>", map_svg, flags=re.DOTALL)
    drawn = {re.sub(r'id="\w+"', "", pattern) for pattern in patterns}
    assert len(drawn) == 3


@pytest.mark.slow
def test_the_description_of_the_map_tells_shares_and_the_policys_traffic(map_svg: str) -> None:
    text = description_of(map_svg)
    assert text.startswith("the cheapest within 0.05 of the best. tuned on ")
    assert text.endswith("At 1,000 questions a month and 10% of the documents changing: tuned.")


@pytest.mark.slow
def test_a_map_of_one_arm_or_of_none_is_drawn() -> None:
    assert "rag" in texts_of(winning_map_plot(winning_map(lambda _: "rag", POLICY), "r"))
    assert "no arm" in texts_of(winning_map_plot(winning_map(lambda _: None, POLICY), "r"))


@pytest.mark.slow
@pytest.mark.parametrize(("questions", "churn"), [(1.0, 0.0), (1e9, 1.0)])
def test_traffic_at_the_edge_of_the_map_is_drawn(questions: float, churn: float) -> None:
    edge = Policy(traffic=Traffic(questions=questions, churn=churn))
    assert "your traffic" in texts_of(winning_map_plot(winning_map(choose, edge), "r"))


@pytest.mark.slow
def test_a_region_of_one_cell_is_named() -> None:
    winners = (("a", "a", "a"), ("a", "b", "a"), ("a", "a", "a"))
    found = WinningMap((1e2, 1e3, 1e4), (0.0, 0.5, 1.0), winners, 1e2, 0.0, "a")
    assert {"a", "b"} <= set(texts_of(winning_map_plot(found, "r")))


@pytest.mark.slow
def test_lines_are_named_and_their_crossings_counted(lines_svg: str) -> None:
    # 40 - 2 over 0.004 a question.
    assert {"tuned", "a <b> & $c$", "your traffic", "9.5k"} <= set(texts_of(lines_svg))
    assert not {"bought", "free"} & set(texts_of(lines_svg))
    text = description_of(lines_svg)
    assert "tuned is cheaper than a <b> & $c$: from 9,500 questions (950 a month)" in text
    assert "tuned is cheaper than bought: unknown: a cost was not measured" in text
    assert "At 10,000 questions in 10 months: tuned 50; a <b> & $c$ 52." in text


@pytest.mark.slow
def test_names_of_lines_that_end_together_do_not_lie_on_each_other() -> None:
    others = [ArmCosts(f"rag{i}", 0.005, 0.0, 2.0, 0.0, 0.0) for i in range(5)]
    root = ET.fromstring(lines(TUNED, *others))
    labels = [t for t in root.iter("text") if "".join(t.itertext()).startswith("rag")]
    heights = sorted(float(label.get("y", "nan")) for label in labels)
    assert len(labels) == 5
    assert all(below - above > 10 for above, below in pairwise(heights))


@pytest.mark.slow
def test_arms_that_cost_nothing_leave_a_plot_without_lines() -> None:
    assert lines(FREE).endswith("</svg>")


@pytest.mark.slow
def test_a_curve_has_its_sizes_and_the_names_of_all_its_lines(curve_svg: str) -> None:
    texts = texts_of(curve_svg)
    assert {"10", "20", "40", "80", "160", "320", "training examples", "mean f1"} <= set(texts)
    assert {"tuned", "rag", "base", "a <b> & $c$"} <= set(texts)
    text = description_of(curve_svg)
    assert text.startswith("tuned: 10 examples 0.03, from ")
    assert "80 examples 0.35, from " in text
    assert "Forecast: 320 examples 0." in text
    assert text.endswith("Not trained: base 0.00; rag 0.50; a <b> & $c$ 0.50.")


@pytest.mark.slow
def test_names_at_the_lines_of_a_curve_do_not_lie_on_each_other(curve_svg: str) -> None:
    names = {"tuned", "rag", "base", "a <b> & $c$"}
    labels = [t for t in ET.fromstring(curve_svg).iter("text") if "".join(t.itertext()) in names]
    heights = sorted(float(label.get("y", "nan")) for label in labels)
    assert len(labels) == len(names)
    assert all(below - above > 10 for above, below in pairwise(heights))


@pytest.mark.slow
def test_a_curve_without_rivals_and_one_of_nothing_or_all_is_drawn() -> None:
    assert learned(0, 0, 0, rivals={}).endswith("</svg>")
    assert learned(40, 40, 40, 40).endswith("</svg>")


@pytest.mark.slow
def test_of_many_sizes_six_are_named_and_the_largest_that_was_measured_is_one() -> None:
    texts = texts_of(learned(4, 4, 5, 5, rivals={"rag": 7}))
    sizes = [text.replace(",", "") for text in texts if re.fullmatch(r"[\d,]+", text)]
    assert "80" in sizes
    assert 3 <= len(sizes) <= 6


@pytest.mark.slow
def test_importing_the_module_imports_no_matplotlib() -> None:
    heavy = "any(name in sys.modules for name in ('matplotlib', 'jinja2', 'scipy'))"
    code = f"import sys, eval.report.plots, eval.report.page; sys.exit({heavy})"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
