"""What a whole index costs as it grows, database and views included: memory, disk, start-up, searches, changes.

python benchmarks/growth.py --data FOLDER FOLDER --sizes 10000 100000 1000000 --json growth.json

A FOLDER holds docs.jsonl and questions in test.jsonl or train.jsonl. Documents of four chunks are made of random
sentences of theirs, so the words are as common and as rare as in real text. A chunk's vector is made between those of
two random passages (benchmarks/search.py), which costs next to nothing: what is timed is everything but the embedding
model. Questions are real, and are embedded before the clock starts.

Each size is one index in a SQLite file, filled by one `add`, in a process of its own. Another process, as a server that
starts does, opens it and searches; it adds, replaces and deletes single documents and searches for each; a third
verifies it. Private memory is what the process holds beyond what it held before it opened the index; mapped memory is
pages of files, shared, and given back when memory is short. The files are in the page cache.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import re
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from search import embed, memory, read_questions

from arbiter.models import EMBEDDER
from rag.chunking.chunk import ChunkSettings
from rag.documents.document import Document
from rag.documents.load import load_documents
from rag.home import IndexHome
from rag.index import Index
from rag.search.filters import parse_filter
from rag.search.settings import SearchSettings

K = 5
NAME = "growth"
CHUNK_TOKENS = 120
CHUNKS_A_DOCUMENT = 4
CHANGES = 5
_TOKEN = re.compile(r"\w+|[^\w\s]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders with docs.jsonl and questions")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000], help="chunks, about")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--model", default=EMBEDDER, help="sentence-transformers model (default: %(default)s)")
    parser.add_argument("--cache", type=Path, help=".npz file that keeps the embeddings for the next run")
    parser.add_argument("--json", type=Path, dest="json_file")
    options = parser.parse_args()

    passages, vectors = embed(options.data, options.model, options.cache)
    questions = read_questions(options.data)[: options.queries]
    rows = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            np.savez(folder / "vectors.npz", passages=passages, questions=vectors[: len(questions)])
            row: dict[str, Any] = {"size": size}
            for phase, arguments in (
                (fill, (folder, options.data, size, questions)),
                (serve, (folder, options.data, questions)),
                (check, (folder, options.data, size, questions)),
            ):
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    row |= pool.apply(phase, arguments)
                print(f"{size} {phase.__name__}: done", flush=True)
            rows.append(row)
            print_rows(rows)
            if options.json_file:
                options.json_file.write_text(json.dumps(rows, indent=2))


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """A line a measure, a column a size."""
    print("\n| | " + " | ".join(f"{row['num_chunks']:,} chunks" for row in rows) + " |")
    print("|---|" + "---|" * len(rows))
    for key in rows[0]:
        print(f"| {key} | " + " | ".join(f"{row[key]:,.4g}" for row in rows) + " |", flush=True)


class MadeEmbedder:
    """Vectors between those of real passages, drawn by the text; questions have their own."""

    name = "made"
    max_tokens = None

    def __init__(self, folder: Path, questions: Sequence[str]) -> None:
        with np.load(folder / "vectors.npz") as kept:
            self._passages = kept["passages"]
            self._questions = dict(zip(questions, kept["questions"], strict=True))
        self._noise = 0.5 * self._passages.std(axis=0)
        self.dimension = self._passages.shape[1]

    def embed(self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None) -> NDArray[np.float32]:
        generator = np.random.default_rng(random.Random(texts[0]).getrandbits(64))
        first, second = self._passages[generator.integers(len(self._passages), size=(2, len(texts)))]
        share = generator.uniform(0, 0.5, size=(len(texts), 1)).astype(np.float32)
        noise = generator.standard_normal(first.shape, dtype=np.float32)
        made = (1 - share) * first + share * second + self._noise * noise
        if progress is not None:
            progress(len(texts), len(texts))
        return made / np.linalg.norm(made, axis=1, keepdims=True)

    def embed_query(self, query: str) -> NDArray[np.float32]:
        return self._questions[query]

    def token_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [[match.span() for match in _TOKEN.finditer(text)] for text in texts]


def fill(folder: Path, data: Sequence[Path], size: int, questions: Sequence[str]) -> dict[str, Any]:
    """The index is made, by one `add`."""
    embedder = MadeEmbedder(folder, questions)
    made = list(documents(data, size))
    before = memory()["private_mb"]
    index = open_index(folder, embedder)
    clock = time.perf_counter()
    report = index.add(made)
    fill_s = time.perf_counter() - clock
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    index.close()
    return {
        "num_chunks": report.num_chunks,
        "chunks/s besides the model": report.num_chunks / fill_s,
        "fill: peak private MB": peak - before,
        "database MB": sum(file.stat().st_size for file in folder.glob("home/arbiter.db*")) / 1e6,
        "FAISS file MB": sum(file.stat().st_size for file in folder.rglob("*.faiss")) / 1e6,
        "BM25 file MB": sum(file.stat().st_size for file in folder.rglob("*.bm25")) / 1e6,
    }


def serve(folder: Path, data: Sequence[Path], questions: Sequence[str]) -> dict[str, Any]:
    """A process opens the index, asks, changes it and asks again."""
    embedder = MadeEmbedder(folder, questions)
    before = memory()
    clock = time.perf_counter()
    index = open_index(folder, embedder)
    index.search(questions[0], K)
    row: dict[str, Any] = {"open and first answer s": time.perf_counter() - clock}
    one_percent = parse_filter({"type": "eq", "key": "share", "value": 0.0})
    for label, settings, filters in (
        ("hybrid", SearchSettings(), None),
        ("vectors", SearchSettings(mode="dense"), None),
        ("BM25", SearchSettings(mode="bm25"), None),
        ("hybrid, 1 % filter", SearchSettings(), one_percent),
    ):
        ask = partial(index.search, k=K, settings=settings, filters=filters)
        ask(questions[0])
        times = [timed(partial(ask, question)) for question in questions]
        row[f"{label} p50 ms"] = 1000 * median(times)
        row[f"{label} p95 ms"] = 1000 * float(np.quantile(times, 0.95))
    after = memory()
    row |= {f"serve: {key.replace('_mb', ' MB')}": after[key] - before[key] for key in after}
    half = parse_filter({"type": "gte", "key": "share", "value": 0.5})
    row["new filter that half pass, ms"] = 1000 * timed(lambda: index.search(questions[0], K, filters=half))
    given = [
        replace(document, id=f"new-{i}") for i, document in enumerate(documents(data, CHUNKS_A_DOCUMENT * CHANGES))
    ]
    changes: dict[str, Callable[[Document], object]] = {
        "add": lambda document: index.add([document]),
        "replace": lambda document: index.add([replace(document, text=document.text[::-1])]),
        "delete": lambda document: index.delete([document.id]),
    }
    for label, change in changes.items():
        times = [timed(partial(change, document)) + timed(partial(index.search, questions[0], K)) for document in given]
        row[f"{label} one and ask, ms"] = 1000 * median(times)
    index.close()
    return row


def check(folder: Path, data: Sequence[Path], size: int, questions: Sequence[str]) -> dict[str, Any]:
    """Another process has the same documents indexed again, and verifies."""
    index = open_index(folder, MadeEmbedder(folder, questions))
    made = list(documents(data, size))
    unchanged_s = timed(lambda: index.add(made))
    verify_s = timed(index.verify)
    index.close()
    return {"unchanged documents again s": unchanged_s, "verify s": verify_s}


def timed(run: Callable[[], object]) -> float:
    clock = time.perf_counter()
    run()
    return time.perf_counter() - clock


def open_index(folder: Path, embedder: MadeEmbedder) -> Index:
    return IndexHome(folder / "home").create(NAME, embedder, ChunkSettings(chunk_tokens=CHUNK_TOKENS, overlap_tokens=0))


def documents(data: Sequence[Path], num_chunks: int) -> Iterator[Document]:
    """Documents of four chunks each, of random sentences; `share` goes from 0.00 to 0.99."""
    sentences = [
        sentence.strip()
        for folder in data
        for document in load_documents(folder / "docs.jsonl").documents
        for sentence in re.split(r"(?<=[.!?])\s+", document.text)
        if 20 < len(sentence) < 400
    ]
    lengths = [len(_TOKEN.findall(sentence)) for sentence in sentences]
    generator = random.Random(0)
    for number in range(num_chunks // CHUNKS_A_DOCUMENT):
        picked, length = [], 0
        while length < CHUNK_TOKENS * (CHUNKS_A_DOCUMENT - 0.5):
            place = generator.randrange(len(sentences))
            picked.append(sentences[place])
            length += lengths[place]
        yield Document(f"{number:08}", f"Document {number}", " ".join(picked), {"share": number % 100 / 100})


if __name__ == "__main__":
    main()
