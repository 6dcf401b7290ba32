"""Ingest speed beside LangChain's FAISS.from_documents: `python benchmarks/ingest.py --data FOLDER`.

FOLDER holds docs.jsonl and test.jsonl (rows with `question` and `doc_ids`). Documents become a searchable index on
disk. Both sides use the same model and the same chunks, and take turns. LangChain gets the chunks ready-made and keeps
them in a pickle; Arbiter's time counts chunking, embedding, the rows of the database and the view. nDCG@10 is of
documents, by vectors alone. At the end the unchanged documents are indexed once more.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arbiter.models import EMBEDDER, resolve_model
from rag.chunking.chunk import ChunkSettings, embedding_text
from rag.chunking.split import split_documents
from rag.documents.document import Document
from rag.documents.load import load_documents
from rag.embedding.embedder import SentenceTransformerEmbedder
from rag.embedding.settings import EmbedderSettings
from rag.home import IndexHome
from rag.search.settings import SearchSettings

DEPTH = 10
# Several chunks of a document may be among the best.
CHUNK_DEPTH = 50

Ranking = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, nargs="+", help="folders with docs.jsonl and test.jsonl")
    parser.add_argument("--model", default=EMBEDDER, help="sentence-transformers model (default: %(default)s)")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--repeat", type=int, default=2, help="the median counts (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="take only so many documents; nDCG then says nothing")
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("ARBITER_HOME", ".arbiter")))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    model = resolve_model(options.model, home=options.home)
    ours = SentenceTransformerEmbedder(
        model.path,
        EmbedderSettings(precision=options.precision),
        name=f"{model.name}@{model.revision}",
    )
    theirs = langchain_embeddings(model.path)
    # Both models are loaded, and have run, before the clock starts.
    ours.embed(["The desk opens at nine."])
    theirs.embed_query("The desk opens at nine.")
    rows = [compare(folder, ours, theirs, options) for folder in options.data]
    if options.json:
        print(json.dumps(rows))
        return
    print(f"{model.name}, {ours.model.runs_on}; load {os.getloadavg()[0]:.1f}\n")
    print(
        "| data | documents | chunks | LangChain chunks/s | Arbiter chunks/s | ratio | LangChain nDCG@10 "
        "| Arbiter nDCG@10 | unchanged s | ingest / unchanged |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['data']} | {row['documents']} | {row['chunks']} | {row['their_rate']:.1f} | {row['our_rate']:.1f} "
            f"| {row['our_rate'] / row['their_rate']:.2f} | {row['their_ndcg']:.4f} | {row['our_ndcg']:.4f} "
            f"| {row['unchanged_s']:.3f} | {row['our_s'] / row['unchanged_s']:.0f} |"
        )


def compare(
    folder: Path, ours: SentenceTransformerEmbedder, theirs: Any, options: argparse.Namespace
) -> dict[str, Any]:
    documents = load_documents(folder / "docs.jsonl").documents[: options.limit]
    questions = read_questions(folder / "test.jsonl")
    settings = ChunkSettings()
    chunks = split_documents(documents, settings, ours.token_spans)
    texts = [(embedding_text(chunk), chunk.document_id) for chunk in chunks]
    our_times, their_times, unchanged_times = [], [], []
    our_run: dict[str, Ranking] = {}
    their_run: dict[str, Ranking] = {}
    for turn in range(options.repeat):
        with tempfile.TemporaryDirectory() as home:
            sides = [
                lambda home=Path(home): their_times.append(
                    timed(lambda: ingest_langchain(texts, theirs, home / "langchain", questions, their_run))
                ),
                lambda home=Path(home): our_times.append(
                    timed(lambda: ingest_arbiter(documents, ours, home / "arbiter", settings, questions, our_run))
                ),
            ]
            for side in sides if turn % 2 == 0 else reversed(sides):
                side()
            index = IndexHome(Path(home) / "arbiter").open("benchmark", ours)
            unchanged_times.append(timed(lambda index=index: (index.sync(documents), None)[1]))
            index.close()
    our_s, their_s = statistics.median(our_times), statistics.median(their_times)
    return {
        "data": folder.name,
        "documents": len(documents),
        "chunks": len(chunks),
        "our_s": our_s,
        "their_s": their_s,
        "our_rate": len(chunks) / our_s,
        "their_rate": len(chunks) / their_s,
        "unchanged_s": statistics.median(unchanged_times),
        "our_ndcg": ndcg(questions, our_run),
        "their_ndcg": ndcg(questions, their_run),
    }


def ingest_arbiter(
    documents: tuple[Document, ...],
    embedder: SentenceTransformerEmbedder,
    home: Path,
    settings: ChunkSettings,
    questions: dict[str, tuple[str, set[str]]],
    run: dict[str, Ranking],
) -> Callable[[], None]:
    """Ingests, and gives back what asks the questions, which is not to be timed."""
    index = IndexHome(home, retrieval=SearchSettings(mode="dense")).create("benchmark", embedder, settings)
    index.sync(documents)

    def ask() -> None:
        for key, (question, _) in questions.items():
            passages = index.search(question, CHUNK_DEPTH)
            run[key] = best_of([(passage.document_id, passage.score) for passage in passages])
        index.close()

    return ask


def ingest_langchain(
    texts: list[tuple[str, str]],
    embeddings: Any,
    folder: Path,
    questions: dict[str, tuple[str, set[str]]],
    run: dict[str, Ranking],
) -> Callable[[], None]:
    from langchain_community.vectorstores import FAISS
    from langchain_core.documents import Document as LangChainDocument

    documents = [LangChainDocument(page_content=text, metadata={"document_id": key}) for text, key in texts]
    store = FAISS.from_documents(documents, embeddings)
    store.save_local(str(folder))

    def ask() -> None:
        for key, (question, _) in questions.items():
            # Squared distances of unit vectors: the smaller, the nearer.
            hits = store.similarity_search_with_score(question, k=CHUNK_DEPTH)
            run[key] = best_of([(document.metadata["document_id"], -float(score)) for document, score in hits])

    return ask


def timed(ingest: Callable[[], Callable[[], None] | None]) -> float:
    started = time.perf_counter()
    ask = ingest()
    seconds = time.perf_counter() - started
    if ask:
        ask()
    return seconds


def best_of(hits: list[tuple[str, float]]) -> Ranking:
    """Each document by its best chunk, the first `DEPTH` of them."""
    best: Ranking = {}
    for document_id, score in hits:
        best.setdefault(document_id, score)
    return dict(list(best.items())[:DEPTH])


def ndcg(questions: dict[str, tuple[str, set[str]]], run: dict[str, Ranking]) -> float:
    import pytrec_eval

    relevant = {key: dict.fromkeys(gold, 1) for key, (_, gold) in questions.items()}
    scores = pytrec_eval.RelevanceEvaluator(relevant, {f"ndcg_cut.{DEPTH}"}).evaluate(run)
    return statistics.fmean(score[f"ndcg_cut_{DEPTH}"] for score in scores.values())


def read_questions(file: Path) -> dict[str, tuple[str, set[str]]]:
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    return {str(number): (row["question"], set(row["doc_ids"])) for number, row in enumerate(rows) if row["doc_ids"]}


def langchain_embeddings(folder: str) -> Any:
    """LangChain's wrapper as it comes: float32, batches of 32 sorted by length in letters, torch's own threads."""
    from langchain_community.embeddings import HuggingFaceEmbeddings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return HuggingFaceEmbeddings(model_name=folder)


if __name__ == "__main__":
    main()
