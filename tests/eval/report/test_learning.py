from __future__ import annotations

import json
from dataclasses import replace

import pytest
from fakes.comparison import Comparison, make_comparison
from fakes.curves import curves, measured, report
from fakes.decided import card_of

from eval.report.learning import Curves, example_lines
from eval.report.tables import to_markdown
from router.deciding.decision import Decision


def lines(given: Curves, *, arm: str = "rag", verdict: str = "winner", **changes: object) -> list[str]:
    comparison = make_comparison()
    decision: Decision = replace(comparison.decision, arm=arm, verdict=verdict, **changes)  # type: ignore[arg-type]  # any fields of it
    return list(example_lines(given, comparison.table, decision, command="arbiter run my.yaml seed=1"))


def test_the_text_has_each_size_the_forecast_and_what_each_rival_takes() -> None:
    found = report(example_price=2.0, training_price=100.0)
    needed = found.needed["rag"].expected
    assert needed is not None
    text = found.to_text()
    assert text.startswith("tuned by token_f1 on 40 dev questions:\n")
    assert "      80 examples: 0.35 (" in text
    assert "), trained in 1 min 12 s" in text
    assert "     160 examples: 0." in text
    assert "\nrag: 0.50 (" in text
    assert f"); about {needed - 80} more examples until tuned is as good (90%: " in text
    # 0.9 s a row, at 100 an hour.
    assert f", at a cost of {2 * (needed - 80)}; training on {needed} takes about " in text
    assert f" and costs {needed * 0.9 / 36:.3g}" in text


def test_json_keeps_its_fields_and_has_the_line_the_training_and_the_costs() -> None:
    found = report(example_price=2.0, training_price=100.0)
    row = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    fields = ["arm", "metric", "num_questions", "measured", "forecast", "line", "rivals", "most"]
    assert list(row) == fields
    assert [one["num_examples"] for one in row["measured"]] == [10, 20, 40, 80]
    assert [one["training_s"] for one in row["measured"]] == [9.0, 18.0, 36.0, 72.0]
    sizes = [one["num_examples"] for one in row["line"]]
    assert sizes == sorted(set(sizes))
    assert (sizes[0], sizes[-1]) == (10, 320)
    assert {10, 20, 40, 80, 160, 320} <= set(sizes)
    assert next(one for one in row["line"] if one["num_examples"] == 160) == row["forecast"][0]
    rag = row["rivals"]["rag"]
    expected = rag["needed"]["expected"]
    assert rag["costs"] == {
        "examples": 2.0 * (expected - 80),
        "training_s": pytest.approx(0.9 * expected),
        "training": pytest.approx(expected * 0.9 / 36),
    }
    assert row["rivals"]["base"]["costs"] is None


def test_the_line_goes_on_to_where_a_rival_is_reached() -> None:
    far = report(measured((4, 6, 8, 10)), most=5000)
    expected = far.needed["rag"].expected
    assert expected is not None
    assert expected > 4 * 80
    assert far.to_dict()["line"][-1]["num_examples"] == expected


def test_the_card_says_in_one_sentence_what_reaches_the_arm_that_is_served() -> None:
    found = report()
    more = (found.needed["rag"].expected or 0) - 80
    (line,) = lines(curves(found))
    assert line.startswith(f"About {more} more examples until tuned is as good as rag (90%: ")
    assert f"; training on {more + 80} takes about " in line
    assert line.endswith(".")
    # The arm that is served, or the best that could be.
    assert "as good as base with the fewest that were tried, 10." in lines(curves(found), arm="base")[0]
    assert "as good as rag (" in lines(curves(found), arm="hybrid")[0]
    assert "as good as base with" in lines(curves(found), arm="hybrid", excluded={"rag": "too slow"})[0]


def test_rows_that_the_curve_had_to_leave_to_the_dev_questions_are_no_more_examples() -> None:
    found = report()
    expected = found.needed["rag"].expected
    assert expected is not None
    assert f"About {expected - 90} more examples" in lines(curves(found, num_examples=90))[0]
    enough = lines(curves(found, num_examples=expected))[0]
    assert enough.startswith(f"tuned is expected to be as good as rag with {expected} examples (90%: ")


def test_what_is_out_of_reach_is_not_worth_asking_for() -> None:
    (line,) = lines(curves(report(measured((4, 4, 4, 4)), most=500), most=500))
    assert line.startswith("More than 500 more examples until tuned is as good as rag")
    assert line.endswith(": not worth asking for.")


def test_a_curve_without_rivals_says_what_is_expected() -> None:
    (line,) = lines(curves(report(measured(rivals={}))))
    assert line.startswith("tuned is expected to score 0.")
    assert line.endswith(" with 160 examples.")


def test_without_a_curve_the_command_that_measures_it_is_said_where_the_answer_matters() -> None:
    none = curves()
    (line,) = lines(none)
    assert "No curve was measured" in line
    assert "80 examples" in line
    assert line.endswith(": arbiter tune --curve my.yaml seed=1")
    assert lines(none, arm="hybrid", verdict="undecided") == [line]
    assert lines(none, arm="hybrid") == [], "a trained arm has won"
    assert lines(curves(num_examples=39)) == [], "too few for a curve"
    assert lines(curves(num_examples=1000)) == [], "as many as are worth asking for"
    assert lines(none, excluded=dict.fromkeys(("tuned", "tuned_rag", "hybrid"), "too slow")) == []
    assert lines(curves(report())) != [line]


def test_the_command_names_an_arm_that_may_be_served_where_its_own_may_not() -> None:
    def command(arm: str | None, *excluded: str) -> str:
        (line,) = lines(curves(arm=arm), excluded=dict.fromkeys(excluded, "too slow"))
        return line.rpartition(": ")[2]

    plain = "arbiter tune --curve my.yaml seed=1"
    assert command("tuned") == command("tuned", "hybrid") == command("hybrid") == plain
    means = {row.name: row.mean for row in make_comparison().table.rows}
    assert means["hybrid"] > means["tuned_rag"] > means["tuned"]
    assert command("tuned", "tuned") == f"{plain} curve.arm=hybrid"
    assert command("tuned", "tuned", "hybrid") == f"{plain} curve.arm=tuned_rag"
    assert command(None) == command("no-such-arm") == f"{plain} curve.arm=hybrid"


def test_the_card_holds_curves_and_sentences_in_json_and_text(comparison: Comparison) -> None:
    card = card_of(comparison, curves=curves(report()))
    assert json.loads(json.dumps(card, allow_nan=False)) == card
    assert [curve["arm"] for curve in card["curves"]] == ["tuned"]
    (line,) = card["summary"]["examples"]
    assert line in to_markdown(card)
    bare = card_of(comparison)
    assert (bare["curves"], bare["summary"]["examples"]) == ([], [])
