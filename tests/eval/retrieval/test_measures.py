import math

import pytest

from eval.retrieval.measures import MEASURES, rank_documents, score_rankings
from rag.passage import Passage


def passage(document_id: str, rank: int) -> Passage:
    return Passage(f"{document_id}-{rank}", document_id, "", "", 1 / rank, rank)


def test_a_document_has_the_rank_of_its_best_passage() -> None:
    passages = [passage(name, rank) for rank, name in enumerate(["b", "b", "a", "b", "c"], start=1)]
    assert rank_documents(passages) == ("b", "a", "c")


def test_only_the_first_ten_documents_are_ranked() -> None:
    assert len(rank_documents(passage(f"d{rank}", rank) for rank in range(1, 31))) == 10


@pytest.mark.parametrize(
    ("gold", "ranking", "expected"),
    [
        (["a"], ["a", "b"], {"hit@5": 1, "recall@1": 1, "mrr@10": 1, "ndcg@10": 1}),
        (["a"], ["b", "a"], {"recall@1": 0, "recall@3": 1, "mrr@10": 1 / 2, "ndcg@10": 1 / math.log2(3)}),
        # The ideal ranking has both golds first: 1 + 1/log2(3).
        (
            ["a", "c"],
            ["b", "a", "c"],
            {"recall@1": 0, "recall@3": 1, "ndcg@10": (1 / math.log2(3) + 1 / 2) / (1 + 1 / math.log2(3))},
        ),
        (["a", "z"], ["a"], {"hit@5": 1, "recall@1": 0.5, "recall@10": 0.5}),
        (["a"], ["b", "c", "d", "e", "f", "a"], {"hit@5": 0, "recall@5": 0, "recall@10": 1, "mrr@10": 1 / 6}),
        (["a"], [], dict.fromkeys(MEASURES, 0)),
    ],
)
def test_measures_are_those_worked_by_hand(gold: list[str], ranking: list[str], expected: dict[str, float]) -> None:
    scores = score_rankings([gold], [ranking])
    assert {name: scores[name][0] for name in expected} == pytest.approx(expected, abs=1e-6)  # type: ignore[index]


def test_ids_may_be_any_text_and_questions_keep_their_order() -> None:
    names = ["with blank", "é", "", "line\nfeed", "0"]
    scores = score_rankings([[name] for name in names], [names for _ in names])
    assert scores["mrr@10"] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5])


def test_no_question_gives_no_score() -> None:
    assert score_rankings([], []) == dict.fromkeys(MEASURES, ())
