import json
import math
from collections.abc import Sequence

import pytest

from eval.errors import EvalError
from eval.questions import Question
from eval.retrieval.evaluate import (
    compare,
    evaluate_retrieval,
    rank_documents,
    recommend,
    score_rankings,
    setting_name,
    standard_settings,
)
from eval.retrieval.report import MEASURES, SettingScores, to_text
from rag.passage import Passage
from rag.search.settings import SearchSettings

DENSE, BM25 = SearchSettings(mode="dense"), SearchSettings(mode="bm25", candidates=12)
LIBRARY = {"hours", "fines", "rooms"}
QUESTIONS = (
    Question("q1", "When?", (), ("hours",)),
    Question("q2", "How much?", (), ("fines", "gone")),
    Question("q3", "Where?", ()),
    Question("q4", "Who?", (), ("gone",)),
)


class Rankings:
    """A search whose rankings are written down: vectors find everything, words the hours alone."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, str]] = []

    def __call__(self, query: str, k: int, settings: SearchSettings) -> Sequence[Passage]:
        self.asked.append((query, k, settings.mode))
        found = ["fines", "fines", "hours"] if settings.mode == "dense" else ["hours"]
        return [Passage(f"c{i}", name, "", "", 1.0, i) for i, name in enumerate(found, start=1)]


def test_each_setting_is_scored_on_the_questions_that_can_be_found() -> None:
    report = evaluate_retrieval(Rankings(), QUESTIONS, {"dense": DENSE, "bm25": BM25}, document_ids=LIBRARY)
    assert report.question_ids == ("q1", "q2")
    assert (report.num_without_gold, report.num_not_indexed) == (1, 1)
    dense, bm25 = report.scores["dense"], report.scores["bm25"]
    assert dense.rankings == (("fines", "hours"), ("fines", "hours"))
    assert dense.values["recall@1"] == (0, 1)
    # A gold document that the index does not hold is not counted as missed.
    assert dense.values["recall@5"] == (1, 1)
    assert dense.mean("mrr@10") == pytest.approx(0.75)
    assert bm25.values["recall@5"] == (1, 0)
    assert report.intervals["bm25"].mean == pytest.approx(0.5)


def test_the_first_setting_is_the_default_and_stays_recommended_without_evidence() -> None:
    report = evaluate_retrieval(Rankings(), QUESTIONS, {"bm25": BM25, "dense": DENSE}, document_ids=LIBRARY)
    assert (report.default, report.recommended) == ("bm25", "bm25")
    assert [(c.setting, c.against, c.verdict) for c in report.comparisons] == [("dense", "bm25", "open")]


def test_the_query_is_embedded_before_the_clock_runs_and_as_much_is_asked_for_as_in_use() -> None:
    search = Rankings()
    evaluate_retrieval(search, QUESTIONS[:1], {"bm25": BM25, "dense": DENSE}, document_ids=LIBRARY, default="dense")
    assert search.asked == [("When?", 50, "dense"), ("When?", 12, "bm25"), ("When?", 50, "dense")]


def test_progress_counts_the_questions_that_are_asked() -> None:
    seen: list[tuple[int, int]] = []
    evaluate_retrieval(
        Rankings(),
        QUESTIONS,
        {"dense": DENSE},
        document_ids=LIBRARY,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        (QUESTIONS[2:3], "none of 1 questions names a gold document"),
        (QUESTIONS[3:], "the index holds none of the documents that 1 questions name, such as 'gone'"),
        ((), "none of 0 questions"),
    ],
)
def test_questions_that_measure_nothing_are_refused(questions: tuple[Question, ...], message: str) -> None:
    with pytest.raises(EvalError, match=message):
        evaluate_retrieval(Rankings(), questions, {"dense": DENSE}, document_ids=LIBRARY)


def test_the_report_is_json_with_every_question_and_names_what_nothing_finds() -> None:
    questions = (*QUESTIONS[:1], Question("q5", "Which room?", (), ("rooms",)))
    report = evaluate_retrieval(Rankings(), questions, {"dense": DENSE, "bm25": BM25}, document_ids=LIBRARY)
    row = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert row["means"]["dense"]["recall@5"] == 0.5
    assert row["question_ids"] == ["q1", "q5"]
    measures = ("hit@5", "recall@1", "recall@3", "recall@5", "recall@10", "mrr@10", "ndcg@10")
    assert row["scores"]["bm25"]["values"] == {key: [1.0, 0.0] for key in measures}
    assert row["scores"]["bm25"]["rankings"] == [["hours"], ["hours"]]
    assert row["never_found"] == ["q5"]
    assert row["scores"]["bm25"]["settings"]["mode"] == "bm25"


def test_the_text_has_the_table_the_verdicts_and_what_was_left_out() -> None:
    report = evaluate_retrieval(Rankings(), QUESTIONS, {"dense": DENSE, "bm25": BM25}, document_ids=LIBRARY)
    text = to_text(report)
    assert "2 questions with gold documents; left out: 1 without gold documents and 1 about documents that" in text
    assert "bm25: no difference shown from dense, the default: -0.500 [" in text
    assert "Recommended: dense, as it is set" in text
    row = next(line for line in text.splitlines() if line.startswith("bm25 "))
    assert row.split()[1:8] == ["0.500", "0.500", "0.500", "0.500", "0.500", "0.500", "0.500"]


def test_a_verdict_says_by_how_much() -> None:
    names = [f"d{i}" for i in range(20)]
    questions = [Question(f"q{i}", "How much?", (), (name,)) for i, name in enumerate(names)]

    def search(_query: str, _k: int, settings: SearchSettings) -> Sequence[Passage]:
        # Ten of twenty documents are in a ranking of ten.
        return [Passage(name, name, "", "", 1.0, 1) for name in (names if settings.mode == "bm25" else ["hours"])]

    report = evaluate_retrieval(
        search,
        questions,
        {"dense": DENSE, "bm25": BM25},
        document_ids={"hours", *names},
        measure="recall@10",
    )
    assert report.recommended == "bm25"
    text = to_text(report)
    assert "bm25: better than dense, the default, by 0.500 [" in text
    assert "Recommended: bm25, shown to be better than dense." in text


def test_the_standard_ways_hold_the_given_settings_against_their_parts() -> None:
    own = SearchSettings(mode="hybrid", dense_weight=0.7, threshold=0.2, mmr=0.5)
    ways = standard_settings(own)
    assert list(ways) == ["dense", "bm25", "hybrid minmax", "hybrid rrf"]
    assert ways["hybrid minmax"] == own
    assert ways["dense"] == SearchSettings(mode="dense", dense_weight=0.7, mmr=0.5)
    assert ways["hybrid rrf"].threshold is None


@pytest.mark.parametrize(
    ("own", "reranker", "added", "default"),
    [
        (SearchSettings(mode="dense"), "org/ranker", "dense reranked", "dense"),
        (SearchSettings(mode="hybrid", reranker="own"), None, "hybrid minmax reranked", "hybrid minmax reranked"),
        (SearchSettings(mode="hybrid", fusion="rrf", reranker="own"), "other", "hybrid rrf reranked", None),
    ],
)
def test_a_reranker_adds_the_given_settings_reranked(
    own: SearchSettings, reranker: str | None, added: str, default: str | None
) -> None:
    ways = standard_settings(own, reranker)
    assert list(ways) == ["dense", "bm25", "hybrid minmax", "hybrid rrf", added]
    assert ways[added].reranker == (reranker or own.reranker)
    assert default is None or setting_name(own) == default


MINMAX = SearchSettings(mode="hybrid")
RRF = SearchSettings(mode="hybrid", fusion="rrf")
RERANKED = SearchSettings(mode="hybrid", reranker="a-model")


def scores(settings: SearchSettings, found: Sequence[int]) -> SettingScores:
    values = tuple(float(value) for value in found)
    return SettingScores(settings, dict.fromkeys(MEASURES, values), tuple(() for _ in values), 1.0)


def table(*rows: tuple[SearchSettings, Sequence[int]]) -> dict[str, SettingScores]:
    return {setting_name(settings): scores(settings, found) for settings, found in rows}


def alone(measured: dict[str, SettingScores]) -> list[str]:
    return [str(i) for i in range(len(next(iter(measured.values())).rankings))]


def test_a_fusion_is_held_against_the_better_of_its_parts_and_a_reranking_against_the_same_without() -> None:
    measured = table(
        (DENSE, [1, 0, 0]), (BM25, [1, 1, 0]), (MINMAX, [1, 1, 1]), (RRF, [0, 0, 0]), (RERANKED, [1, 1, 1])
    )
    found = compare(measured, alone(measured), measure="recall@5", default="hybrid minmax")
    assert [(c.setting, c.against, c.reason) for c in found] == [
        ("hybrid minmax", "bm25", "the better of its parts"),
        ("hybrid rrf", "bm25", "the better of its parts"),
        ("hybrid minmax reranked", "hybrid minmax", "the same without reranking"),
        ("dense", "hybrid minmax", "the default"),
        ("hybrid rrf", "hybrid minmax", "the default"),
    ]
    assert found[0].difference.mean == pytest.approx(1 / 3)


def test_a_difference_is_a_verdict_once_the_corrected_p_value_shows_it() -> None:
    # 12 questions that only the fusion finds, none lost: exact McNemar p = 2 / 2**12, times 3 comparisons by Holm.
    measured = table((DENSE, [0] * 40), (BM25, [1] * 20 + [0] * 20), (MINMAX, [1] * 32 + [0] * 8))
    found = compare(measured, alone(measured), measure="recall@5", default="hybrid minmax")
    fused, dense = found
    assert (fused.setting, fused.verdict) == ("hybrid minmax", "better")
    assert fused.p_value == pytest.approx(2 / 2**12)
    assert (dense.setting, dense.verdict) == ("dense", "worse")
    assert recommend(measured, found, measure="recall@5", default="hybrid minmax") == "hybrid minmax"


def test_without_a_shown_difference_the_verdict_is_open_and_the_default_stays() -> None:
    measured = table((DENSE, [1] * 10), (BM25, [1] * 8 + [0] * 2), (MINMAX, [1] * 9 + [0]))
    found = compare(measured, alone(measured), measure="recall@5", default="hybrid minmax")
    assert {c.verdict for c in found} == {"open"}
    assert recommend(measured, found, measure="recall@5", default="hybrid minmax") == "hybrid minmax"


def test_a_part_that_is_shown_better_than_the_default_fusion_is_recommended() -> None:
    measured = table((DENSE, [0] * 30), (BM25, [1] * 30), (MINMAX, [1] * 15 + [0] * 15))
    found = compare(measured, alone(measured), measure="recall@5", default="hybrid minmax")
    assert found[0].verdict == "worse"
    assert recommend(measured, found, measure="recall@5", default="hybrid minmax") == "bm25"


def test_a_setting_shown_better_than_another_default_is_recommended() -> None:
    measured = table((DENSE, [0] * 30), (BM25, [1] * 20 + [0] * 10), (MINMAX, [1] * 30))
    found = compare(measured, alone(measured), measure="recall@5", default="dense")
    assert recommend(measured, found, measure="recall@5", default="dense") == "hybrid minmax"


def test_questions_about_one_document_count_once() -> None:
    measured = table((DENSE, [0] * 30), (BM25, [0] * 30), (MINMAX, [1] * 30))
    found = compare(measured, ["one document"] * 30, measure="recall@5", default="hybrid minmax")
    assert {c.verdict for c in found} == {"open"}


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
