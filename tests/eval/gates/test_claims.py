from fakes.gates import TUNED, FakeAsk

from eval.gates.claims import CLAIMS
from eval.gates.gate import Material
from eval.gates.measure import Measured, measure
from eval.questions import Question
from router.deciding.gating import rule

QUESTIONS = tuple(Question(f"q{i}", f"Tell me of desk {i}.", (f"gold {i}",)) for i in range(40))
PASSAGES = {one.id: ("The loan desk opens at nine on Monday. It closes at five.",) for one in QUESTIONS}
MATERIAL = Material(questions=QUESTIONS, passages=PASSAGES)


def verdict(found: Measured) -> str:
    return rule(found.harms, found.clusters, limit=CLAIMS.limit, alpha=0.05).verdict


def test_made_up_sentences_fail_and_supported_ones_pass() -> None:
    invented = measure(CLAIMS, TUNED, MATERIAL, FakeAsk(lambda _: "The mayor sold purple elephants. Nobody laughed."))
    assert (len(invented.harms), verdict(invented)) == (80, "fail")
    assert verdict(measure(CLAIMS, TUNED, MATERIAL, FakeAsk(lambda _: "The desk opens at nine [1]."))) == "pass"


def test_each_sentence_counts_and_those_of_one_answer_belong_together() -> None:
    found = measure(CLAIMS, TUNED, MATERIAL, FakeAsk(lambda _: "The desk opens at nine. Purple elephants dance."))
    assert found.harms[:2] == (0.0, 1.0)
    assert found.clusters[0] == found.clusters[1] == "question:q0"


def test_an_accepted_answer_makes_up_nothing_and_one_that_abstains_claims_nothing() -> None:
    gold = {question.text: question.answer for question in QUESTIONS}
    assert set(measure(CLAIMS, TUNED, MATERIAL, FakeAsk(gold.get)).harms) == {0.0}
    assert measure(CLAIMS, TUNED, MATERIAL, FakeAsk(lambda _: "I don't know.")).lacks == CLAIMS.silent


def test_labels_and_questions_without_passages_are_no_items() -> None:
    labelled = tuple(Question(f"l{i}", f"card {i}", ("card_lost" if i % 2 else "card_late",)) for i in range(8))
    material = Material(questions=labelled, passages={one.id: ("x",) for one in labelled})
    assert CLAIMS.probes(material) == []
    assert "such as rag" in measure(CLAIMS, TUNED, Material(questions=QUESTIONS), FakeAsk(lambda _: "x")).lacks
