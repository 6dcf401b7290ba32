"""Measures ways to search on questions with gold documents, and says which is shown better.

report = evaluate_retrieval(
    lambda query, k, settings: index.search(query, k, settings=settings),
    load_judged(Path("questions.jsonl")),
    {"dense": SearchSettings(mode="dense"), "bm25": SearchSettings(mode="bm25")},
    document_ids=ids,
)
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from eval.errors import EvalError
from eval.questions import Question, are_documents_given
from eval.retrieval.report import ALPHA, MEASURES, Comparison, Measure, RetrievalReport, SettingScores, Verdict
from rag.passage import Passage
from rag.search.settings import SearchSettings
from router.answering.condense import query_without_engine
from router.deciding.statistics import holm, mean_interval, paired_difference

_DEPTH = 10
# What pytrec_eval calls the measures.
_NAMES = ("success_5", "recall_1", "recall_3", "recall_5", "recall_10", "recip_rank", "ndcg_cut_10")
# Long documents fill a ranking with their passages; ten documents are to be seen behind them.
_PASSAGES = 50
# Equivalence is not claimed here; the statistics ask for a margin all the same.
_MARGIN = 0.05

Search = Callable[[str, int, SearchSettings], Sequence[Passage]]


def setting_name(settings: SearchSettings) -> str:
    """What a report calls these settings: `dense`, `bm25`, `hybrid minmax`, `hybrid rrf reranked`."""
    fusion = f" {settings.fusion}" if settings.mode == "hybrid" else ""
    return f"{settings.mode}{fusion}{' reranked' if settings.reranker is not None else ''}"


def standard_settings(settings: SearchSettings, reranker: str | None = None) -> dict[str, SearchSettings]:
    """The given settings and their rivals by name: dense, BM25, both fusions, and the given ones reranked by `reranker`
    or the model they name. A threshold fits the scores of one way to search, so only the given settings keep theirs.
    """
    plain = replace(settings, reranker=None)
    ways = [
        replace(plain, mode="dense", threshold=None),
        replace(plain, mode="bm25", threshold=None),
        replace(plain, mode="hybrid", fusion="minmax", threshold=None),
        replace(plain, mode="hybrid", fusion="rrf", threshold=None),
        plain,
    ]
    if (model := reranker or settings.reranker) is not None:
        ways.append(replace(settings, reranker=model))
    return {setting_name(way): way for way in ways}


def evaluate_retrieval(
    search: Search,
    questions: Sequence[Question],
    settings: Mapping[str, SearchSettings],
    *,
    document_ids: Collection[str],
    default: str | None = None,
    measure: Measure = "recall@5",
    progress: Callable[[int, int], object] = lambda *_: None,
) -> RetrievalReport:
    """Search every question with every setting and compare them on `measure`.

    `search(query, k, settings)` gives passages, best first; it is asked for 50, or as many as the settings have
    candidates where those are fewer, so that fusion and reranking see what they see in use. A document's rank is that
    of its best passage. `document_ids` are all that the index holds. `default` (the first setting, unless named) is
    recommended until another is shown to be better. `progress(done, total)` counts questions.

    Raises EvalError when no question has a gold document in the index, and what `search` raises.
    """
    default = default or next(iter(settings))
    known = frozenset(document_ids)
    judged = [question for question in questions if question.document_ids]
    asked = [question for question in judged if not known.isdisjoint(question.document_ids)]
    if not judged:
        raise EvalError(f'none of {len(questions)} questions names a gold document; add "doc_ids": [...] to them')
    if not asked:
        raise EvalError(
            f"the index holds none of the documents that {len(judged)} questions name, such as "
            f"{judged[0].document_ids[0]!r}; index them first, or give the questions of this index"
        )
    rankings: dict[str, list[tuple[str, ...]]] = {name: [] for name in settings}
    times: dict[str, list[float]] = {name: [] for name in settings}
    first_times = []
    for number, question in enumerate(asked, start=1):
        query = query_without_engine(question.messages, "recent")
        # The query's embedding is made once and then remembered: whoever came first would pay for all.
        first_times.append(_timed(search, query, settings[default])[1])
        for name, way in settings.items():
            found, seconds = _timed(search, query, way)
            rankings[name].append(rank_documents(found))
            times[name].append(seconds)
        progress(number, len(asked))
    # What the index does not hold cannot be found, and says nothing about the search.
    golds = [[name for name in question.document_ids if name in known] for question in asked]
    scores = {
        name: SettingScores(
            settings=way,
            values=score_rankings(golds, rankings[name]),
            rankings=tuple(rankings[name]),
            p50_ms=1000 * statistics.median(times[name]),
        )
        for name, way in settings.items()
    }
    stands_alone = are_documents_given(asked, known)
    clusters = [question.id if stands_alone else question.cluster for question in asked]
    comparisons = compare(scores, clusters, measure=measure, default=default)
    return RetrievalReport(
        question_ids=tuple(question.id for question in asked),
        num_without_gold=len(questions) - len(judged),
        num_not_indexed=len(judged) - len(asked),
        measure=measure,
        scores=scores,
        intervals={name: mean_interval(way.values[measure], clusters) for name, way in scores.items()},
        comparisons=comparisons,
        default=default,
        recommended=recommend(scores, comparisons, measure=measure, default=default),
        first_p50_ms=1000 * statistics.median(first_times),
    )


def rank_documents(passages: Iterable[Passage]) -> tuple[str, ...]:
    """The documents of ranked passages, each at the rank of its best passage, the first ten of them."""
    return tuple(dict.fromkeys(passage.document_id for passage in passages))[:_DEPTH]


def score_rankings(
    golds: Sequence[Collection[str]], rankings: Sequence[Sequence[str]]
) -> dict[Measure, tuple[float, ...]]:
    """Every measure, by pytrec_eval, for every question, in their order. `golds` and `rankings` hold document ids, best
    first, without repeats; each question has a gold document.
    """
    import pytrec_eval

    judged = {str(number): dict.fromkeys(gold, 1) for number, gold in enumerate(golds)}
    ranked = {
        str(number): {name: float(_DEPTH - place) for place, name in enumerate(ranking[:_DEPTH])}
        for number, ranking in enumerate(rankings)
    }
    found = pytrec_eval.RelevanceEvaluator(judged, set(_NAMES)).evaluate(ranked)
    return {
        measure: tuple(float(found[str(number)][name]) for number in range(len(golds)))
        for measure, name in zip(MEASURES, _NAMES, strict=True)
    }


def compare(
    scores: Mapping[str, SettingScores],
    clusters: Sequence[str],
    *,
    measure: Measure,
    default: str,
) -> tuple[Comparison, ...]:
    """Each fused setting against the better of its parts, each reranked one against itself without reranking, each
    other one against the default; the p-values are corrected over all of them.

    Fusing two rankings helps on some collections and hurts on others, and a reranker may too, so each is held against
    what it is made of, on the same questions. `clusters` names what each question is counted by. The same questions
    choose the better part, which favours the part a little and never the fusion.
    """
    pairs = _pairs(scores, measure, default)
    differences = [
        paired_difference(
            scores[name].values[measure],
            scores[against].values[measure],
            clusters,
            margin=_MARGIN,
        )
        for name, against, _ in pairs
    ]
    corrected = holm([difference.p_value for difference in differences])
    return tuple(
        Comparison(name, against, reason, difference, p_value, _verdict(difference.mean, p_value))
        for (name, against, reason), difference, p_value in zip(pairs, differences, corrected, strict=True)
    )


def recommend(
    scores: Mapping[str, SettingScores], comparisons: Sequence[Comparison], *, measure: Measure, default: str
) -> str:
    """The default, unless a setting is shown to be better than it: then the best of those."""
    better = [c.setting for c in comparisons if c.against == default and c.verdict == "better"]
    better += [c.against for c in comparisons if c.setting == default and c.verdict == "worse"]
    return max(better, key=lambda name: scores[name].mean(measure), default=default)


def _timed(search: Search, query: str, settings: SearchSettings) -> tuple[Sequence[Passage], float]:
    clock = time.perf_counter()
    found = search(query, max(min(settings.candidates, _PASSAGES), _DEPTH), settings)
    return found, time.perf_counter() - clock


def _pairs(scores: Mapping[str, SettingScores], measure: Measure, default: str) -> list[tuple[str, str, str]]:
    """(setting, against, reason), no two settings compared twice."""
    plain = {name: s for name, s in scores.items() if s.settings.reranker is None}
    parts = [name for name, s in plain.items() if s.settings.mode != "hybrid"]
    pairs: list[tuple[str, str, str]] = []
    for name, s in scores.items():
        if s.settings.reranker is not None:
            bare = replace(s.settings, reranker=None)
            without = next((other for other, o in plain.items() if o.settings == bare), None)
            if without is not None:
                pairs.append((name, without, "the same without reranking"))
        elif s.settings.mode == "hybrid" and {scores[part].settings.mode for part in parts} == {"dense", "bm25"}:
            best = max(parts, key=lambda part: scores[part].mean(measure))
            pairs.append((name, best, "the better of its parts"))
    known = {frozenset(pair[:2]) for pair in pairs}
    pairs += [
        (name, default, "the default") for name in scores if name != default and frozenset((name, default)) not in known
    ]
    return pairs


def _verdict(mean: float, p_value: float) -> Verdict:
    if p_value >= ALPHA or mean == 0:
        return "open"
    return "better" if mean > 0 else "worse"
