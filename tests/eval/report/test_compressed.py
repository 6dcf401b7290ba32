from dataclasses import replace
from typing import Any

import pytest
from fakes.comparison import Comparison
from fakes.decided import card_of

from eval.report.compressed import losses_of
from eval.report.page import to_html
from eval.report.tables import to_markdown
from router.answering.arm import Arm
from router.deciding.scorecard import Scorecard
from router.deciding.statistics import paired_difference

TOLD: dict[str, Any] = {
    "before": "",
    "kind": "2:4",
    "layer_numbers": 1000,
    "layer_zeros": 500,
    "numbers": 1500,
    "nonzero": 990,
    "num_bytes": 6100,
    "packed_bytes": None,
    "is_trained": False,
}


def compressed(comparison: Comparison, before: str = "", **told: Any) -> Comparison:
    """`tuned` answers with an adapter that was pruned, and `hybrid` with another that was not."""
    card = comparison.scorecard
    facts = {
        "method": "pruned",
        "form": "merged",
        "num_bytes": 6200,
        "num_rows": 9,
        "training_s": 2.0,
        "parity": None,
        "compression": {**TOLD, "before": before, **told},
    }
    return replace(
        comparison, scorecard=replace(card, provenance={**card.provenance, "adapters": {"closed_book@3f9c": facts}})
    )


def with_arm(card: Scorecard, arm: Arm, like: str) -> Scorecard:
    """One more arm, which answers as another."""
    scores = next(scores for scores in card.arms if scores.arm.name == like)
    return replace(card, arms=(*card.arms, replace(scores, arm=arm)))


def test_an_arm_is_compared_with_the_one_that_asks_with_what_it_was(comparison: Comparison) -> None:
    card = compressed(comparison).scorecard
    tuned, tuned_rag = losses_of(card, alpha=0.05)
    by_name = {scores.arm.name: scores.column(card.primary) for scores in card.arms}
    wanted = paired_difference(by_name["tuned"], by_name["base"], card.documents, margin=0.05)
    assert (tuned.arm, tuned.before, tuned.num_pairs, tuned.metric) == ("tuned", "base", 20, card.primary)
    # tuned answers 7 of 20, base 1.
    assert tuned.mean == pytest.approx(6 / 20)
    assert (tuned.low, tuned.high) == (wanted.low, wanted.high)
    assert (tuned_rag.arm, tuned_rag.before) == ("tuned_rag", "rag"), "with the same passages"


def test_an_adapter_that_was_tuned_first_is_what_it_is_compared_with(comparison: Comparison) -> None:
    card = with_arm(compressed(comparison, "lora@12ab").scorecard, Arm("lora", adapter="lora@12ab"), "tuned")
    tuned, tuned_rag = losses_of(card, alpha=0.05)
    assert (tuned.before, tuned.mean) == ("lora", 0.0)
    assert tuned.low is not None
    assert tuned.high is not None
    assert tuned.low < 0 < tuned.high
    assert (tuned_rag.before, tuned_rag.mean, tuned_rag.num_pairs) == (None, None, 0), "nobody asks so"


@pytest.mark.slow
def test_of_other_runs_nothing_is_said(comparison: Comparison) -> None:
    assert losses_of(comparison.scorecard, alpha=0.05) == []
    card = card_of(comparison)
    assert card["compressions"] == []
    assert "compressed arm" not in to_markdown(card)
    assert "What that cost" not in to_html(card)


@pytest.mark.slow
def test_the_card_shows_the_difference_the_zeros_and_the_bytes(comparison: Comparison) -> None:
    found = compressed(comparison)
    card = card_of(found)
    for shown in (to_markdown(card), to_html(card)):
        for said in ("50.00%", "990 of 1,500", "6.1 kB", "the base", "+0.30"):
            assert said in shown, said
    rounded = card_of(compressed(comparison, "lora@12ab", packed_bytes=2200, kind="nf4", is_trained=True))
    for shown in (to_markdown(rounded), to_html(rounded)):
        for said in ("2.2 kB", "lora@12ab", "nf4, then trained", "not asked in this run"):
            assert said in shown, said


@pytest.mark.slow
def test_a_card_from_before_is_shown_without(comparison: Comparison) -> None:
    card = card_of(compressed(comparison))
    del card["compressions"]
    for row in card["adapters"]:
        del row["compression"]
    assert "compressed arm" not in to_markdown(card)
    assert "What that cost" not in to_html(card)
