"""Recall of the gold documents and embedding speed, over chunk sizes: `python benchmarks/retrieval.py --data FOLDER`.

FOLDER holds docs.jsonl and test.jsonl (rows with `question` and `doc_ids`; rows without gold documents are left out).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from rag.chunking.chunk import ChunkSettings
from rag.documents.load import load_documents
from rag.embedding.embedder import SentenceTransformerEmbedder
from rag.index import Index
from serving.models import EMBEDDER, resolve_model

TOP_KS = (1, 3, 5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with docs.jsonl and test.jsonl")
    parser.add_argument("--model", default=EMBEDDER, help="sentence-transformers model (default: %(default)s)")
    parser.add_argument("--chunk-tokens", type=int, nargs="+", default=[120, 160, 256])
    parser.add_argument("--overlap-tokens", type=int, default=20)
    arguments = parser.parse_args()

    documents = load_documents(arguments.data / "docs.jsonl").documents
    rows = [json.loads(line) for line in (arguments.data / "test.jsonl").read_text().splitlines()]
    questions = [(row["question"], set(row["doc_ids"])) for row in rows if row["doc_ids"]]
    print(f"{arguments.data.name}: {len(documents)} documents, {len(questions)} questions with gold documents")
    print(
        "chunk_tokens  chunks  " + "  ".join(f"recall@{k}" for k in TOP_KS) + "  embed chunks/s  sync s  search p50 ms"
    )
    for chunk_tokens in arguments.chunk_tokens:
        with tempfile.TemporaryDirectory() as home:
            model = resolve_model(arguments.model, home=Path(home))
            embedder = SentenceTransformerEmbedder(model.path, name=f"{model.name}@{model.revision}")
            index = Index.create(
                Path(home), "benchmark", embedder, ChunkSettings(chunk_tokens, arguments.overlap_tokens)
            )
            embedder.embed(["The model is loaded before the clock starts."])
            report = index.sync(documents)
            found, latencies = [], []
            for question, _ in questions:
                clock = time.perf_counter()
                # Several chunks of a document may be among the best; the ranks of interest are those of documents.
                passages = index.search(question, 4 * max(TOP_KS))
                latencies.append(1000 * (time.perf_counter() - clock))
                found.append(list(dict.fromkeys(passage.document_id for passage in passages)))
            recalls = [
                sum(bool(gold & set(ids[:k])) for ids, (_, gold) in zip(found, questions, strict=True)) / len(questions)
                for k in TOP_KS
            ]
            print(
                f"{chunk_tokens:12}  {report.num_chunks:6}  "
                + "  ".join(f"{recall:8.3f}" for recall in recalls)
                + f"  {report.embedded_chunks / index.indexing_s:14.1f}  {report.seconds:6.1f}"
                f"  {sorted(latencies)[len(latencies) // 2]:13.1f}"
            )


if __name__ == "__main__":
    main()
