"""Search among 10,000 to 1,000,000 vectors beside LangChain's FAISS and raw FAISS, in one run.

python benchmarks/search.py --data FOLDER FOLDER --sizes 10000 100000 1000000 --json search.json

A FOLDER holds docs.jsonl and questions in test.jsonl or train.jsonl. Their chunks and questions are embedded once
(--cache keeps them). The vectors are these chunks; what is missing to a size is made of them: between two random
chunks, nearer to the first, plus noise of half their standard deviation. So the questions are real, and the corpus past
its first vectors is not.

Each contender runs in a process of its own, one after the other. recall@10 is against an exact search; p50 is of one
query at a time, asked for ten; `1 %` are searches that a filter leaves a random hundredth of the vectors. Raw FAISS
runs as it comes and on one thread, which is faster where the cores are busy. Private memory is what the process holds
after its searches beyond what it held before; mapped memory is pages of files, shared, and given back when memory is
short. Start-up is reading a saved view, checksum included, and one search, by a new process with the file in the page
cache.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from arbiter.models import EMBEDDER, resolve_model
from rag.chunking.chunk import ChunkSettings, embedding_text
from rag.chunking.split import split_documents
from rag.documents.load import load_documents
from rag.embedding.embedder import SentenceTransformerEmbedder
from rag.search.dense import DenseView

K = 10
# Key, width and digits of the printed columns.
CELLS = (
    ("build_s", 7, 2),
    ("recall", 9, 4),
    ("p50_ms", 6, 2),
    ("filtered_recall", 14, 4),
    ("filtered_p50_ms", 6, 2),
    ("private_mb", 10, 0),
    ("mapped_mb", 9, 0),
    ("start_up_s", 10, 2),
)
LANGCHAIN_FETCH_K = 5_000
Search = Callable[[NDArray[np.float32]], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders with docs.jsonl and questions")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--model", default=EMBEDDER, help="sentence-transformers model (default: %(default)s)")
    parser.add_argument("--cache", type=Path, help=".npz file that keeps the embeddings for the next run")
    parser.add_argument("--json", type=Path, dest="json_file")
    arguments = parser.parse_args()

    chunks, questions = embed(arguments.data, arguments.model, arguments.cache)
    queries = np.ascontiguousarray(questions[: arguments.queries])
    print(
        f"{len(chunks)} chunks and {len(queries)} questions embedded; larger sizes are made of the chunks (see --help)"
    )
    results = []
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as name:
            results += compare(Path(name), synthesise(chunks, size), queries)
    if arguments.json_file:
        arguments.json_file.write_text(json.dumps(results, indent=2))


def compare(folder: Path, vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> list[dict[str, object]]:
    """One row a contender, printed as it comes."""
    allowed = np.sort(np.random.default_rng(1).permutation(len(vectors))[: len(vectors) // 100])
    np.save(folder / "vectors.npy", vectors)
    np.save(folder / "queries.npy", queries)
    np.save(folder / "allowed.npy", allowed)
    np.save(folder / "exact.npy", nearest(vectors, queries))
    np.save(folder / "exact_filtered.npy", allowed[nearest(vectors[allowed], queries)])
    print(f"\n{len(vectors)} vectors of {vectors.shape[1]}")
    print(
        "contender              build s  recall@10  p50 ms  1 %: recall@10  p50 ms  private MB  mapped MB  start-up s"
    )
    rows: list[dict[str, Any]] = []
    for contender in (arbiter, arbiter_started, langchain, raw_faiss, raw_faiss_one_thread):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            row = {"contender": contender.__name__, "vectors": len(vectors), **pool.apply(contender, (folder,))}
        rows.append(row)
        cells = [
            "–".rjust(width) if row.get(key) is None else f"{row[key]:{width}.{digits}f}"
            for key, width, digits in CELLS
        ]
        print(f"{contender.__name__:21}  " + "  ".join(cells), flush=True)
    for row in rows[2:]:
        ratio, filtered = (row[key] / rows[0][key] for key in ("p50_ms", "filtered_p50_ms"))
        print(f"arbiter against {row['contender']}: {ratio:.1f} times as fast, with the filter {filtered:.1f} times")
    return rows


def arbiter(folder: Path) -> dict[str, object]:
    before, vectors = memory(), np.load(folder / "vectors.npy")
    clock = time.perf_counter()
    view = DenseView.build(np.arange(len(vectors)), vectors)
    build_s = time.perf_counter() - clock
    del vectors
    clock = time.perf_counter()
    view.save(folder / "view", "benchmark")
    save_s = time.perf_counter() - clock
    return {
        "build_s": build_s,
        "save_s": save_s,
        "file_mb": (folder / "view").stat().st_size / 1e6,
        **measure_arbiter(folder, view, before),
    }


def arbiter_started(folder: Path) -> dict[str, object]:
    """The same view, read from its file by a new process."""
    queries, before = np.load(folder / "queries.npy"), memory()
    clock = time.perf_counter()
    view = DenseView.load(folder / "view", "benchmark")
    assert view is not None
    view.search(queries[0], K)
    return {"start_up_s": time.perf_counter() - clock, **measure_arbiter(folder, view, before)}


def measure_arbiter(folder: Path, view: DenseView, before: dict[str, float]) -> dict[str, object]:
    allowed = np.load(folder / "allowed.npy")
    return measure(
        folder, lambda query: view.search(query, K)[0], lambda query: view.search(query, K, allowed)[0], before
    )


def raw_faiss_one_thread(folder: Path) -> dict[str, object]:
    import faiss

    faiss.omp_set_num_threads(1)
    return raw_faiss(folder)


def raw_faiss(folder: Path) -> dict[str, object]:
    import faiss

    before, vectors = memory(), np.load(folder / "vectors.npy")
    clock = time.perf_counter()
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    build_s = time.perf_counter() - clock
    del vectors
    selected = faiss.SearchParameters(sel=faiss.IDSelectorBatch(np.load(folder / "allowed.npy")))
    return {
        "build_s": build_s,
        **measure(
            folder,
            lambda query: index.search(query[None], K)[1][0],
            lambda query: index.search(query[None], K, params=selected)[1][0],
            before,
        ),
    }


def langchain(folder: Path) -> dict[str, object]:
    """Its filter is applied to the best `fetch_k`, 20 if nothing is said; here it is given 5,000."""
    import faiss
    from langchain_community.docstore.in_memory import InMemoryDocstore
    from langchain_community.vectorstores import FAISS
    from langchain_community.vectorstores.utils import DistanceStrategy
    from langchain_core.embeddings import DeterministicFakeEmbedding

    before, vectors = memory(), np.load(folder / "vectors.npy")
    is_allowed = np.isin(np.arange(len(vectors)), np.load(folder / "allowed.npy"))
    clock = time.perf_counter()
    store = FAISS(
        DeterministicFakeEmbedding(size=vectors.shape[1]),
        faiss.IndexFlatIP(vectors.shape[1]),
        InMemoryDocstore(),
        {},
        distance_strategy=DistanceStrategy.MAX_INNER_PRODUCT,
    )
    for start in range(0, len(vectors), 20_000):
        part = range(start, min(start + 20_000, len(vectors)))
        store.add_embeddings(
            [("", vectors[i]) for i in part],
            metadatas=[{"number": i, "is_allowed": bool(is_allowed[i])} for i in part],
            ids=[str(i) for i in part],
        )
    build_s = time.perf_counter() - clock
    del vectors

    def search(query: NDArray[np.float32], **options: object) -> NDArray[np.int64]:
        hits = store.similarity_search_with_score_by_vector(query, K, **options)
        return np.array([document.metadata["number"] for document, _ in hits], dtype=np.int64)

    filtered = partial(search, filter={"is_allowed": True}, fetch_k=LANGCHAIN_FETCH_K)
    return {"build_s": build_s, **measure(folder, search, filtered, before)}


def measure(folder: Path, search: Search, filtered: Search, before: dict[str, float]) -> dict[str, object]:
    queries = np.load(folder / "queries.npy")
    results: dict[str, object] = {}
    for prefix, ask, exact in (
        ("", search, np.load(folder / "exact.npy")),
        ("filtered_", filtered, np.load(folder / "exact_filtered.npy")),
    ):
        ask(queries[0])
        shares, latencies = [], []
        for query, best in zip(queries, exact, strict=True):
            clock = time.perf_counter()
            found = ask(query)
            latencies.append(1000 * (time.perf_counter() - clock))
            shares.append(np.isin(best, found).mean())
        results |= {
            f"{prefix}recall": float(np.mean(shares)),
            f"{prefix}p50_ms": float(np.median(latencies)),
            f"{prefix}p95_ms": float(np.quantile(latencies, 0.95)),
        }
    after = memory()
    return results | {key: after[key] - before[key] for key in after}


def memory() -> dict[str, float]:
    held = psutil.Process().memory_info()
    return {"private_mb": (held.rss - held.shared) / 1e6, "mapped_mb": held.shared / 1e6}


def nearest(vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.int64]:
    """(queries, K) positions, by numpy alone."""
    rows = []
    for query in queries:
        likeness = np.einsum("ij,j->i", vectors, query)
        best = np.argpartition(-likeness, K)[:K]
        rows.append(best[np.argsort(-likeness[best])])
    return np.array(rows)


def synthesise(chunks: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """(size, d) float32 unit rows: the chunks, then what is made of them."""
    generator = np.random.default_rng(0)
    made = np.empty((size, chunks.shape[1]), dtype=np.float32)
    made[: len(chunks)] = chunks[:size]
    noise = 0.5 * chunks.std(axis=0)
    for start in range(len(chunks), size, 50_000):
        count = min(50_000, size - start)
        first, second = chunks[generator.integers(len(chunks), size=(2, count))]
        share = generator.uniform(0, 0.5, size=(count, 1)).astype(np.float32)
        part = (1 - share) * first + share * second + noise * generator.normal(size=first.shape).astype(np.float32)
        made[start : start + count] = part / np.linalg.norm(part, axis=1, keepdims=True)
    return made


def embed(folders: list[Path], model_id: str, cache: Path | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The vectors of the folders' chunks and of their questions, shuffled."""
    if cache and cache.is_file():
        with np.load(cache) as kept:
            return kept["chunks"], kept["questions"]
    with tempfile.TemporaryDirectory() as home:
        model = resolve_model(model_id, home=Path(home))
        embedder = SentenceTransformerEmbedder(model.path, name=f"{model.name}@{model.revision}")
        texts, questions = [], read_questions(folders)
        for folder in folders:
            documents = load_documents(folder / "docs.jsonl").documents
            settings = ChunkSettings(chunk_tokens=120, overlap_tokens=20)
            texts += [embedding_text(chunk) for chunk in split_documents(documents, settings, embedder.token_spans)]
        clock = time.perf_counter()
        found = embedder.embed(texts), np.array([embedder.embed_query(question) for question in questions[:1_000]])
        print(f"embedded in {time.perf_counter() - clock:.0f} s")
    if cache:
        np.savez(cache, chunks=found[0], questions=found[1])
    return found


def read_questions(folders: list[Path]) -> list[str]:
    """The folders' questions, shuffled: those that `embed` gives vectors of, in that order."""
    questions = []
    for folder in folders:
        for file in (folder / "test.jsonl", folder / "train.jsonl"):
            lines = file.read_text().split("\n") if file.is_file() else []
            questions += [json.loads(line)["question"] for line in lines if line.strip()]
    random.Random(0).shuffle(questions)
    return questions


if __name__ == "__main__":
    main()
