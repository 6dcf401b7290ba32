import json
import re
from dataclasses import replace

from fakes.comparison import Comparison
from fakes.decided import card_of, raced_card, usual_card, valued_card

from eval.report.tables import table, to_json, to_markdown
from router.deciding.policy import Policy, Prices


def test_json_has_exactly_the_agreed_shape(comparison: Comparison) -> None:
    row = to_json("/runs/1", usual_card())
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert list(row) == ["run", "arms", "decision"]
    assert row["run"] == "/runs/1"
    arms = row["arms"]
    assert isinstance(arms, list)
    assert [arm["name"] for arm in arms] == ["base", "fewshot", "rag", "tuned", "tuned_rag", "hybrid"]
    for arm in arms:
        counts = ["num_questions", "num_unscored", "num_failed"]
        assert list(arm) == ["name", "kind", *counts, "metrics", "latency_ms", "tokens"]
        for metric in arm["metrics"].values():
            assert list(metric) == ["mean", "low", "high"]
    base = arms[0]
    assert (base["kind"], base["num_questions"], base["num_unscored"], base["latency_ms"]) == ("base", 20, 0, 395.5)
    assert base["tokens"] == 20 * 57.5 + 20 * 4.5
    assert "context_recall" not in base["metrics"]
    assert (arms[-1]["num_unscored"], arms[-1]["num_failed"]) == (0, 1)
    decision = row["decision"]
    assert isinstance(decision, dict)
    assert list(decision) == ["arm", "verdict", "confidence", "margin", "runner_up", "reason"]
    assert (decision["arm"], decision["verdict"], decision["runner_up"]) == ("hybrid", "winner", "tuned_rag")
    assert decision["margin"] == comparison.decision.margin


def test_markdown_has_padded_tables_with_the_chosen_arm_marked(comparison: Comparison) -> None:
    text = to_markdown(usual_card())
    lines = text.splitlines()
    assert lines[0].startswith("Serve hybrid")
    first = next(i for i, line in enumerate(lines) if line.startswith("|"))
    assert len({len(line) for line in lines[first : first + 8]}) == 1
    assert re.match(r"\| \*hybrid +\| hybrid +\| 0\.78 ", lines[first + 2])
    assert comparison.decision.reason in text
    assert "significantly worse" in text
    assert "p (Holm)" in text
    assert "! 20 questions are too few to count on seeing any difference." in text
    assert "This would change if the margin were 0.425 instead of 0.03: then tuned." in text
    assert "Break-even: hybrid and tuned_rag cost the same." in text
    assert "all in: 0.0417 at 10,000 questions a month for 12 months." in text
    assert "- judge_faithfulness: the judge" in text
    assert "nan" not in text
    trained = next(line for line in lines if line.startswith("| raft@81aa"))
    cells = [cell.strip() for cell in trained.split("|")[2:-1]]
    assert cells == ["dpo", "bottleneck", "beside", "9.0 MB", "1,300", "2 min 44 s", "not measured"]
    ranked = [line for line in lines if line.startswith("| raft@81aa")][1]
    cells = [cell.strip() for cell in ranked.split("|")[2:-1]]
    assert cells[:3] == ["150", "52% (44% to 60%)", "71% (63% to 78%)"]
    assert cells[3:] == ["-0.02 (-0.06 to +0.02)", "+0.31 (+0.22 to +0.40)", "+0.33 (+0.25 to +0.41)"]


def test_markdown_of_a_race_says_what_it_spent_and_what_untouched_questions_say() -> None:
    text = to_markdown(raced_card())
    assert "Race: 82 of 120 answers were needed (68%)" in text
    assert "On 5 questions that decided nothing: 0.80 (" in text
    assert "+0.40 over tuned_rag" in text
    assert "not asked" in text
    assert "p (all looks)" in text


def test_markdown_of_a_decision_by_utility_has_a_column_for_it() -> None:
    lines = to_markdown(valued_card()).splitlines()
    assert next(line for line in lines if line.startswith("| arm")).split("|")[3].strip() == "utility"
    assert next(line for line in lines if line.startswith("| *hybrid")).split("|")[3].strip() == "0.6"


def test_floors_are_rows_without_a_mark_and_unknown_costs_are_said_so(comparison: Comparison) -> None:
    card = replace(comparison.scorecard, floors={"nearest training answer": (1.0,) * 15 + (0.0,) * 5})
    text = to_markdown(card_of(replace(comparison, scorecard=card, policy=Policy(prices=Prices(engine_hour=1.0)))))
    assert re.search(r"\| nearest training answer \| floor +\| 0\.75 ", text)
    assert "all in: unknown at" in text
    assert re.search(r"\| unknown +\| unknown +\|", text)


def test_cells_cannot_break_a_table() -> None:
    lines = table(("arm",), [("a|x\ny",)]).splitlines()
    assert lines == ["| arm    |", "|--------|", "| a\\|x y |"]


GATES = [
    {
        "gate": "forgetting",
        "title": "Forgetting",
        "arm": "hybrid",
        "verdict": "fail",
        "says": "forgetting: 50% is lost",
        "limit": 0.2,
        "is_required": True,
        "estimate": {"mean": 0.5, "low": 0.34, "high": 0.66},
        "more": None,
        "num_items": 40,
        "num_judged": 40,
        "num_failed": 0,
        "source": "somebody",
        "examples": [],
    },
    {
        "gate": "bias",
        "title": "Counterfactual bias",
        "arm": "hybrid",
        "verdict": None,
        "says": "bias was not measured",
        "limit": 0.2,
        "is_required": False,
        "estimate": None,
        "more": None,
        "num_items": 0,
        "num_judged": 0,
        "num_failed": 0,
        "source": "somebody",
        "examples": [],
    },
]


def test_gates_are_a_table_with_a_line_for_each_that_did_not_pass(comparison: Comparison) -> None:
    card = card_of(comparison, gates=GATES)
    text = to_markdown(card)
    assert re.search(r"\| forgetting \(required\) +\| hybrid +\| fail +\| 50% +\| 34% to 66% +\| 20% +\|", text)
    assert re.search(r"\| bias +\| hybrid +\| not measured +\| – +\| – +\| 20% +\|", text)
    assert "- hybrid: forgetting: 50% is lost" in text
    assert "bias was not measured" not in text
    assert "forgetting" not in to_markdown(usual_card())
    (first, second) = to_json("/runs/1", card)["gates"]  # type: ignore[misc]
    assert (first["verdict"], first["says"], second["verdict"]) == ("fail", "forgetting: 50% is lost", None)


def test_a_card_from_before_there_were_gates_is_shown() -> None:
    card = {key: value for key, value in usual_card().items() if key != "gates"}
    assert to_markdown(card) == to_markdown(usual_card())
