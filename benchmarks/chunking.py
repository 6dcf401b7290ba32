"""Speed of cutting documents, beside LangChain's splitter in one run: `python benchmarks/chunking.py --data FOLDER`.

Each FOLDER (one or more) holds docs.jsonl. LangChain's RecursiveCharacterTextSplitter gets the same separators,
and the embedder's tokenizer as its length function; its chunks carry no offsets. The last row is one line of 5 MB.
Times are CPU seconds of all threads, which other work on the machine disturbs less than the clock.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from langchain_text_splitters import RecursiveCharacterTextSplitter

from arbiter.models import EMBEDDER, resolve_model
from rag.chunking.chunk import ChunkSettings, Strategy
from rag.chunking.split import split_documents
from rag.documents.document import Document
from rag.documents.load import load_documents
from rag.embedding.embedder import SentenceTransformerEmbedder

STRATEGIES: tuple[Strategy, ...] = ("tokens", "structure", "parent_child")
SENTENCE = "The quick brown fox jumps over the lazy dog near the loan desk. "


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders with docs.jsonl")
    parser.add_argument("--model", default=EMBEDDER, help="sentence-transformers model (default: %(default)s)")
    parser.add_argument("--chunk-tokens", type=int, default=160)
    parser.add_argument("--overlap-tokens", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3, help="the fastest counts (default: %(default)s)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as home:
        model = resolve_model(arguments.model, home=Path(home))
        embedder = SentenceTransformerEmbedder(model.path, name=model.name)
        embedder.token_spans(["The tokenizer is loaded before the clock starts."])
        corpora = {folder.name: load_documents(folder / "docs.jsonl").documents for folder in arguments.data}
        corpora["all in one text"] = (
            Document("all", "", "\n\n".join(document.text for corpus in corpora.values() for document in corpus)),
        )
        corpora["one 5 MB line"] = (Document("line", "", SENTENCE * (5_000_000 // len(SENTENCE))),)
        rows = [_measure(name, documents, embedder, arguments) for name, documents in corpora.items()]
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'':18}    MB  langchain s   chunks  " + "  ".join(f"{name:>12} s  ratio" for name in STRATEGIES))
    for row in rows:
        cells = "  ".join(f"{row[name]['s']:14.2f}  {row[name]['ratio']:5.1f}" for name in STRATEGIES)
        print(f"{row['corpus']:18} {row['mb']:5.2f}  {row['langchain_s']:11.2f}  {row['langchain_chunks']:7}  {cells}")


def _measure(
    name: str, documents: tuple[Document, ...], embedder: SentenceTransformerEmbedder, arguments: argparse.Namespace
) -> dict[str, object]:
    splitter = RecursiveCharacterTextSplitter(
        separators=["\n\n", "\n", ". ", "? ", "! ", " ", ""],
        keep_separator="end",
        chunk_size=arguments.chunk_tokens,
        chunk_overlap=arguments.overlap_tokens,
        length_function=lambda text: len(embedder.token_spans([text])[0]),
    )
    langchain_s, langchain_chunks = _fastest(
        lambda: sum(len(splitter.split_text(document.text)) for document in documents), arguments.repeats
    )
    row: dict[str, object] = {
        "corpus": name,
        "mb": sum(len(document.text) for document in documents) / 1e6,
        "langchain_s": langchain_s,
        "langchain_chunks": langchain_chunks,
    }
    for strategy in STRATEGIES:
        settings = ChunkSettings(arguments.chunk_tokens, arguments.overlap_tokens, strategy)
        ours_s, num_chunks = _fastest(
            lambda settings=settings: len(split_documents(documents, settings, embedder.token_spans)),
            arguments.repeats,
        )
        row[strategy] = {"s": ours_s, "chunks": num_chunks, "ratio": langchain_s / ours_s}
    return row


def _fastest(work: Callable[[], int], repeats: int) -> tuple[float, int]:
    """CPU seconds of the fastest run and what it returned."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        result = work()
        times.append(time.process_time() - started)
    return min(times), result


if __name__ == "__main__":
    main()
