from dataclasses import replace
from typing import Any

import pytest
from fakes.comparison import Comparison
from fakes.decided import make_raced, make_valued, usual_decision

from eval.judge.certificate import judge_standing
from eval.report.summary import find, leader_of, summarise
from router.deciding.decision import Decision, Trade
from router.deciding.policy import Policy, Prices
from router.deciding.statistics import Interval


def summary_of(comparison: Comparison, decision: Decision | None = None, notes: tuple[str, ...] = ()) -> dict[str, Any]:
    return summarise(find(comparison.table, decision or comparison.decision), notes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"verdict": "winner", "margin": 0.42, "confidence": 0.97},
            "Serve hybrid, the winner: 0.78 token_f1 on 20 questions, 0.42 ahead of tuned_rag, with 97% confidence.",
        ),
        (
            {"verdict": "tie", "margin": -0.01, "confidence": 0.974, "trade": Trade("tuned_rag", 0.123, 0.01)},
            "Serve hybrid, a tie within 0.03: 0.78 token_f1 on 20 questions, 0.01 behind tuned_rag, with 97% "
            "confidence; served for a saving of 12%, at an expected loss of 0.01.",
        ),
        (
            {"verdict": "tie", "margin": 0.01, "confidence": 0.974},
            "Serve hybrid, a tie within 0.03: 0.78 token_f1 on 20 questions, 0.01 ahead of tuned_rag, with 97% "
            "confidence.",
        ),
        (
            {"verdict": "undecided", "margin": 0.04, "confidence": 0.6, "more_questions": 1200},
            "Serve hybrid for now, undecided: 0.78 token_f1 on 20 questions, 0.04 ahead of tuned_rag; about 1,200 more "
            "questions would settle it (60% confidence that no arm is better by more than 0.03).",
        ),
        (
            {"verdict": "undecided", "margin": 0.04, "confidence": 0.6, "more_questions": 1},
            "Serve hybrid for now, undecided: 0.78 token_f1 on 20 questions, 0.04 ahead of tuned_rag; about 1 more "
            "question would settle it (60% confidence that no arm is better by more than 0.03).",
        ),
        (
            {"verdict": "winner", "runner_up": None},
            "Serve hybrid: 0.78 token_f1 on 20 questions; there was no other arm to compare it with.",
        ),
    ],
)
def test_the_headline_says_the_decision_in_one_sentence(
    comparison: Comparison, changes: dict[str, object], sentence: str
) -> None:
    decision = replace(usual_decision(), **changes)  # type: ignore[arg-type]
    assert summary_of(comparison, decision)["headline"] == sentence


def test_the_headline_of_a_decision_by_utility_is_in_currency() -> None:
    valued = make_valued()
    # 16 right and 4 wrong, the failed one among them: 12 of 20. tuned_rag has 8 right and 12 wrong, -4 of 20.
    assert summary_of(valued)["headline"].startswith(
        "Serve hybrid, the winner: an expected utility of 0.6 a question on 20 questions, 0.8 ahead of tuned_rag"
    )


def test_the_headline_of_a_race_counts_the_questions_that_decided() -> None:
    raced = make_raced()
    assert "0.77 token_f1 on 15 questions" in summary_of(raced)["headline"]


def test_the_effect_has_its_interval_and_changes_sign_for_a_cheaper_arm(comparison: Comparison) -> None:
    lead = summary_of(comparison, usual_decision())["lead"]
    compared = {c.other: c.difference for c in usual_decision().comparisons}
    assert lead == Interval(compared["tuned_rag"].mean, compared["tuned_rag"].low, compared["tuned_rag"].high)
    tie = replace(usual_decision(), arm="tuned", verdict="tie", runner_up="hybrid", margin=-0.4)
    assert leader_of(comparison.table, tie) == "hybrid"
    lead = summary_of(comparison, tie)["lead"]
    assert lead == Interval(-compared["tuned"].mean, -compared["tuned"].high, -compared["tuned"].low)


def test_after_a_race_the_untouched_questions_and_what_was_spent_are_said() -> None:
    found = summary_of(make_raced())
    # Of the last five notes hybrid has four right and tuned_rag two.
    assert found["held_out"] is not None
    assert found["held_out_lead"] is not None
    assert (found["held_out"].mean, found["held_out_lead"].mean) == (pytest.approx(0.8), pytest.approx(0.4))
    assert found["spent"] == "82 of 120 answers were needed (68%); it ended because all questions were spent"


def test_without_a_race_there_is_nothing_of_it(comparison: Comparison) -> None:
    found = summary_of(comparison, usual_decision())
    assert (found["held_out"], found["held_out_lead"], found["spent"]) == (None, None, None)


def test_the_nearest_flip_and_the_break_even_are_sentences(comparison: Comparison) -> None:
    found = summary_of(comparison, usual_decision())
    assert found["change"] == "This would change if the margin were 0.425 instead of 0.03: then tuned."
    # Both read the same passages, and without prices for training nothing else differs on the shared questions.
    assert found["break_even"] == "hybrid and tuned_rag cost the same"


def test_what_must_not_be_overlooked_comes_first(comparison: Comparison) -> None:
    line = judge_standing("small", None)[1]
    floors = {"nearest training answer": (1.0,) * 20, "majority answer": (0.0,) * 20}
    card = replace(comparison.scorecard, diagnostics=(line, "something else"), floors=floors)
    policy = Policy(margin=0.03, prices=Prices(engine_hour=1.0))
    warnings = summary_of(replace(comparison, scorecard=card, policy=policy), notes=("The data has changed.",))[
        "warnings"
    ]
    assert warnings[:4] == [
        "The data has changed.",
        "The judge 'small' is not certified: its metrics are diagnostics.",
        "Answers that failed, counted as wrong: hybrid 1 of 20.",
        "The floor “nearest training answer” scores 1.00 token_f1 without any model, no less than hybrid (0.78).",
    ]
    assert (
        "What base, fewshot, rag, tuned, tuned_rag, hybrid would cost is unknown: engine seconds were not measured."
        in warnings
    )
    assert not any("majority" in line or "something else" in line for line in warnings)


def test_a_better_arm_that_a_limit_excludes_is_named(comparison: Comparison) -> None:
    policy = replace(comparison.policy, limits=replace(comparison.policy.limits, latency_ms=500.0))
    warnings = summary_of(replace(comparison, policy=policy))["warnings"]
    assert (
        "hybrid scores higher (0.78 token_f1) but may not be served: median latency 875.5 ms is over the limit of "
        "500 ms. Excluded too and higher: tuned_rag." in warnings
    )


def test_a_tie_says_whether_it_was_traded_for_a_cost(comparison: Comparison) -> None:
    tie = replace(usual_decision(), verdict="tie")
    traded = replace(tie, trade=Trade("tuned_rag", 0.123, 0.01))
    found = [summary_of(comparison, decision)["meaning"] for decision in (tie, traded)]
    assert found == [
        "the best arms are equally good, none saves enough to be served instead",
        "the best arms are equally good, one that costs less is served",
    ]


def test_without_another_arm_nothing_would_change_it(comparison: Comparison) -> None:
    lonely = replace(comparison, scorecard=replace(comparison.scorecard, arms=comparison.scorecard.arms[:1]))
    assert summary_of(lonely)["change"] == "There is no other arm to choose."


def test_a_choice_that_the_means_alone_would_not_make_is_said(comparison: Comparison) -> None:
    tie = replace(usual_decision(), arm="tuned", verdict="tie", runner_up="hybrid", comparisons=())
    found = summary_of(comparison, tie)
    assert found["change"].startswith("The choice by the measured means alone (hybrid) would change if")
    assert any(line.startswith("By the measured means alone hybrid would be served") for line in found["warnings"])


def test_arms_that_were_never_compared_leave_no_lead_and_no_tie(comparison: Comparison) -> None:
    hybrid, base = (comparison.scorecard.by_name(name) for name in ("hybrid", "base"))
    facts, notes = range(12), range(12, 20)
    arms = [
        replace(s, scores={"token_f1": tuple(v if i in own else None for i, v in enumerate(s.scores["token_f1"]))})
        for s, own in ((base, notes), (hybrid, facts))
    ]
    found = summary_of(replace(comparison, scorecard=replace(comparison.scorecard, arms=tuple(arms))))
    assert found["headline"] == (
        "Serve hybrid for now, undecided: 0.71 token_f1 on 20 questions; there was no other arm to compare it with."
    )
    assert (found["lead"], found["break_even"], found["confidence"]) == (None, None, "<1%")
    assert "hybrid was never compared with base: no question was scored for both." in found["warnings"]
