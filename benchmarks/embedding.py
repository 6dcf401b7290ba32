"""Speed and quality of every way to embed on real passages: `python benchmarks/embedding.py --data FOLDER`.

FOLDER holds docs.jsonl and test.jsonl (rows with `question` and `doc_ids`). Passages are the default chunks. The speed
of each is told a second and a second of processor time, which other work on the machine disturbs less; nDCG@10 and
recall@5 are of documents, by vectors alone. `--busy N` lets N processes compute beside the measurement. `--threads`
takes a list: 0 leaves the number to the embedder. `library` is sentence-transformers' own encode.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ingest import DEPTH, Ranking, best_of, ndcg, read_questions
from numpy.typing import NDArray

from arbiter.models import EMBEDDER, resolve_model
from rag.chunking.chunk import ChunkSettings, embedding_text
from rag.chunking.split import split_documents
from rag.documents.load import load_documents
from rag.embedding.embedder import SentenceTransformerEmbedder
from rag.embedding.settings import EmbedderSettings

ALL = ["float32", "bfloat16"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with docs.jsonl and test.jsonl")
    parser.add_argument("--model", default=EMBEDDER, help="sentence-transformers model (default: %(default)s)")
    parser.add_argument("--run", nargs="+", choices=["library", *ALL], default=["library", *ALL], metavar="WAY")
    parser.add_argument("--threads", type=int, nargs="+", default=[0])
    parser.add_argument("--busy", type=int, default=0)
    parser.add_argument("--limit", type=int, help="time only so many passages, evenly taken; quality is then left out")
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("ARBITER_HOME", ".arbiter")))
    options = parser.parse_args()

    model = resolve_model(options.model, home=options.home)
    reference = SentenceTransformerEmbedder(model.path, name="reference")
    documents = load_documents(options.data / "docs.jsonl").documents
    chunks = split_documents(documents, ChunkSettings(), reference.token_spans)
    questions = read_questions(options.data / "test.jsonl")
    if options.limit:
        chunks = chunks[:: max(1, len(chunks) // options.limit)]
    texts = [embedding_text(chunk) for chunk in chunks]
    tokens = statistics.fmean(len(spans) for spans in reference.token_spans(texts))
    expected = reference.embed(texts)
    print(
        f"{options.data.name}: {len(texts)} passages of {tokens:.0f} tokens, {len(questions)} questions; "
        f"{options.busy} busy processes beside it\n"
    )
    print(
        "| way | threads | passages/s | passages/CPU s | query p50 ms | lowest cosine | mean cosine "
        "| nDCG@10 | recall@5 |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    with busy(options.busy):
        for run in options.run:
            for threads in options.threads:
                embed, embed_query, shown = open_way(run, model.path, threads)
                embed(texts[:100])
                wall, cpu = time.perf_counter(), time.process_time()
                vectors = embed(texts)
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                latencies, run_of = [], {}
                for key, (question, _) in questions.items():
                    clock = time.perf_counter()
                    query = embed_query(question)
                    latencies.append(1000 * (time.perf_counter() - clock))
                    run_of[key] = ranking(query, vectors, [chunk.document_id for chunk in chunks])
                cosines = (vectors * expected).sum(axis=1)
                quality = (
                    "– | –" if options.limit else f"{ndcg(questions, run_of):.4f} | {recall(questions, run_of):.4f}"
                )
                print(
                    f"| {run} | {shown()} | {len(texts) / wall:.1f} | {len(texts) / cpu:.1f} "
                    f"| {statistics.median(latencies):.1f} | {cosines.min():.5f} | {cosines.mean():.5f} | {quality} |",
                    flush=True,
                )


def open_way(
    run: str, folder: str, threads: int
) -> tuple[Callable[[list[str]], NDArray[np.float32]], Callable[[str], NDArray[np.float32]], Callable[[], str]]:
    """Passages to rows, a question to a vector, and the number of threads in words."""
    if run == "library":
        import torch
        from sentence_transformers import SentenceTransformer

        library = SentenceTransformer(folder, local_files_only=True)

        def encode(texts: Any) -> Any:
            torch.set_num_threads(threads or os.cpu_count() or 1)
            return library.encode(texts, normalize_embeddings=True, show_progress_bar=False)

        return encode, encode, lambda: f"1 x {torch.get_num_threads()}"
    settings = EmbedderSettings(precision=run, threads=threads or None)  # type: ignore[arg-type]
    embedder = SentenceTransformerEmbedder(folder, settings, name="benchmark")
    return embedder.embed, embedder.embed_query, lambda: f"{threads or 'a core each'} x 1"


def ranking(query: NDArray[np.float32], vectors: NDArray[np.float32], document_ids: list[str]) -> Ranking:
    scores = vectors @ query
    order = np.argsort(-scores, kind="stable")[: 10 * DEPTH]
    return best_of([(document_ids[row], float(scores[row])) for row in order])


def recall(questions: dict[str, tuple[str, set[str]]], run: dict[str, Ranking], k: int = 5) -> float:
    """The share of questions with a gold document among the first k."""
    return statistics.fmean(bool(gold & set(list(run[key])[:k])) for key, (_, gold) in questions.items())


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    processes = [multiprocessing.get_context("spawn").Process(target=_compute, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def _compute() -> None:
    while True:
        sum(range(10_000))


if __name__ == "__main__":
    main()
