import time
from dataclasses import replace

import numpy as np
import pytest
from fakes.comparison import make_comparison
from fakes.decided import usual_decision
from fakes.priced import make_card, make_scores

from eval.report.doubts import find_doubts, flipping_bias, how_sure
from eval.report.side_by_side import unit_of
from router.answering.arm import Arm
from router.deciding.arm_table import ArmTable, make_table
from router.deciding.decision import Comparison, Decision
from router.deciding.policy import Limits, Policy
from router.deciding.recommend import recommend
from router.deciding.scorecard import Scorecard
from router.deciding.statistics import Difference


def doubts_of(table: ArmTable, decision: Decision | None = None) -> str:
    return " ".join(find_doubts(table, decision or recommend(table), leader="hybrid"))


def judged(card: Scorecard) -> Scorecard:
    arms = (replace(s, scores={"judge_correctness": s.scores["exact_match"]}) for s in card.arms)
    return replace(card, primary="judge_correctness", arms=tuple(arms))


@pytest.mark.parametrize(
    ("confidence", "verdict", "words"),
    [
        (
            0.997,
            "winner",
            "Very sure: with other questions of this kind, in 99 of 100 cases no arm would be better than",
        ),
        (0.83, "tie", "Fairly sure: with other questions of this kind, in 83 of 100 cases"),
        (0.5, "undecided", "Not sure, and not decided: with other questions of this kind, in 50 of 100 cases"),
    ],
)
def test_how_sure_it_is_is_one_sentence(confidence: float, verdict: str, words: str) -> None:
    decision = replace(usual_decision(), confidence=confidence, verdict=verdict)
    sentence = how_sure(decision, unit_of(make_comparison().table))
    assert sentence.startswith(words)
    assert sentence.endswith("by more than 0.03.")
    alone = how_sure(replace(decision, runner_up=None), unit_of(make_comparison().table))
    assert "nothing to be sure of" in alone


def test_the_bias_of_a_judge_that_would_flip_the_verdict_is_named() -> None:
    card = judged(make_comparison().scorecard)
    table = make_table(card, Policy())
    lead = Difference(0.2, 0.07, 0.33, 0.001, 0.0, 0.9, 0.4, 20, "exact McNemar")
    worse, far = Comparison("rag", lead, 0.01, "beaten"), Comparison("base", replace(lead, low=0.2), 0.01, "beaten")
    decision = replace(usual_decision(), comparisons=(far, worse))
    assert flipping_bias(decision, 0.05) == (worse, 0.07)
    text = doubts_of(table, decision)
    assert "If the judge is more lenient with hybrid than with rag by 0.07 or more, rag is not shown to be" in text
    tie = replace(decision, comparisons=(Comparison("rag", replace(lead, low=-0.02, high=0.04), 0.5, "equivalent"),))
    assert flipping_bias(tie, 0.05) == (tie.comparisons[0], pytest.approx(0.01))
    assert "with one of hybrid and rag than with the other by 0.01 or more, rag is not as good" in doubts_of(table, tie)
    # Where people's labels decided, or another metric, the judge's bias is nobody's concern.
    by_labels = replace(worse, difference=replace(lead, test="prediction-powered t"))
    assert flipping_bias(replace(decision, comparisons=(by_labels,)), 0.05) is None
    assert "judge" not in doubts_of(make_comparison().table, decision)


def test_few_documents_and_limits_that_are_near_are_named() -> None:
    comparison = make_comparison()
    card = replace(comparison.scorecard, clusters=("a", "b") * 10)
    table = make_table(card, Policy(limits=Limits(latency_ms=900.0, score=0.2)))
    text = doubts_of(table, replace(usual_decision(), arm="hybrid"))
    assert "If the 2 documents that were asked about are unlike the others" in text
    assert (
        "If hybrid is on the other side of a limit that it is near to, it could not be served: median latency in"
        in text
    )
    # Excluded by a hair, though better.
    near = make_table(comparison.scorecard, Policy(limits=Limits(latency_ms=850.0)))
    assert "it could be served, and it scores no less" in doubts_of(near, replace(usual_decision(), arm="tuned"))
    assert doubts_of(make_comparison().table, usual_decision()) == ""


def test_answers_without_a_score_are_named_where_the_verdict_hangs_on_them() -> None:
    made = tuple(replace(c, unscored=3, standing="open") for c in usual_decision().comparisons[:1])
    text = doubts_of(make_comparison().table, replace(usual_decision(), comparisons=made))
    assert "answers without a score decide about" in text


def test_a_slider_may_ask_for_all_of_it_at_every_move() -> None:
    rng = np.random.default_rng(0)
    arms = [make_scores(Arm(f"a{i}", adapter=f"a@{i}"), (rng.random(1000) < 0.4 + i / 25).tolist()) for i in range(10)]
    card, taken = make_card(*arms), []
    for _ in range(3):
        started = time.perf_counter()
        table = make_table(card, Policy())
        decision = recommend(table)
        find_doubts(table, decision, leader=decision.arm)
        how_sure(decision, unit_of(table))
        taken.append(time.perf_counter() - started)
    assert min(taken) < 0.25  # 50 ms are wanted; a busy machine takes longer
