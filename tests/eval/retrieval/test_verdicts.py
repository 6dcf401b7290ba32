from collections.abc import Sequence

import pytest

from eval.retrieval.evaluate import setting_name
from eval.retrieval.measures import MEASURES
from eval.retrieval.report import SettingScores
from eval.retrieval.verdicts import compare, recommend
from rag.search.settings import SearchSettings

DENSE = SearchSettings(mode="dense")
BM25 = SearchSettings(mode="bm25")
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
