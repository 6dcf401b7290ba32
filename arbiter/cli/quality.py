"""How well an index finds the documents that answer questions: what `arbiter index evaluate` does.

text, row = evaluate_index(index, load_judged(Path("questions.jsonl")), SearchSettings(), console=console)
"""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from arbiter.console import Console, Output
from arbiter.pipeline import Pipeline
from eval.questions import Question
from eval.retrieval.evaluate import evaluate_retrieval, setting_name, standard_settings
from eval.retrieval.report import Measure, to_text
from rag.index import Index
from rag.search.settings import SearchSettings
from storage.errors import ArbiterError


def evaluate_index(
    index: Index,
    questions: Sequence[Question],
    settings: SearchSettings,
    *,
    console: Console,
    reranker: str | None = None,
    measure: Measure = "recall@5",
) -> Output:
    """Compares the ways to search an index; `settings` are its own. Raises what the index and the questions raise."""
    ways = standard_settings(settings, reranker)
    with console.step(f"searching {len(questions)} questions in {len(ways)} ways") as step:
        report = evaluate_retrieval(
            lambda query, k, way: index.search(query, k, settings=way),
            questions,
            ways,
            document_ids={entry.id for entry in index.documents(limit=None)},
            default=setting_name(settings),
            measure=measure,
            progress=step.update,
        )
    keys = config_lines(report.scores[report.recommended].settings)
    nested = {"index": {"retrieval": {key.rpartition(".")[2]: value for key, value in keys.items()}}}
    text = f"{to_text(report)}\n\nIn the config:\n{yaml.safe_dump(nested, sort_keys=False)}"
    return text, {"index": index.name, **report.to_dict(), "config": keys}


def documents_of(pipeline: Pipeline) -> Index:
    """A config's index of documents, brought up to date. Raises ArbiterError when no arm retrieves from documents."""
    index = pipeline.indexes.get("documents")
    if index is None:
        raise ArbiterError("no arm of this config retrieves from documents, so there is no index to evaluate")
    return index


def config_lines(settings: SearchSettings) -> dict[str, object]:
    """The settings as keys of a config: `{"index.retrieval.mode": "hybrid", ...}`."""
    keys: dict[str, object] = {"mode": settings.mode}
    if settings.mode == "hybrid":
        keys |= {"fusion": settings.fusion, "dense_weight": settings.dense_weight, "candidates": settings.candidates}
    if settings.reranker is not None:
        keys |= {"reranker": settings.reranker, "candidates": settings.candidates}
    return {f"index.retrieval.{key}": value for key, value in keys.items()}
