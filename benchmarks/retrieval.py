"""Which documents are found, by vectors, words and both: `python benchmarks/retrieval.py --data FOLDER FOLDER`.

Each FOLDER holds docs.jsonl and questions with gold documents (test.jsonl unless named; questions without are left out
and counted). For every folder and chunking: recall, MRR and nDCG of the default search, of its parts and of both
fusions, what is shown to be better, and whether the default is at least as good as the better of vectors and words.
Exits 1 where it is not.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path

from passages import chunking, name_of

from arbiter.models import EMBEDDER, resolve_model
from eval.questions import load_judged
from eval.retrieval.evaluate import evaluate_retrieval, setting_name, standard_settings
from eval.retrieval.report import RetrievalReport, to_text
from rag.chunking.chunk import ChunkSettings
from rag.documents.load import load_documents
from rag.embedding.embedder import Embedder, SentenceTransformerEmbedder
from rag.home import IndexHome
from rag.index import Index
from rag.search.settings import SearchSettings

CHECKED = ("hit@5", "recall@5")


def main() -> None:
    default = SearchSettings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders with docs.jsonl and questions")
    parser.add_argument("--questions", default="test.jsonl", help="file in each folder (default: %(default)s)")
    parser.add_argument("--model", default=EMBEDDER, help="sentence-transformers model (default: %(default)s)")
    parser.add_argument(
        "--chunkings",
        nargs="+",
        type=chunking,
        default=[chunking("tokens:120/20")],
        metavar="STRATEGY:TOKENS/OVERLAP[/PARENT]",
        help="as benchmarks/passages.py takes them, which compares their answers (default: tokens:120/20)",
    )
    parser.add_argument("--mode", default=default.mode, help="of the default search (default: %(default)s)")
    parser.add_argument("--fusion", default=default.fusion)
    parser.add_argument("--dense-weight", type=float, default=default.dense_weight)
    parser.add_argument("--candidates", type=int, default=default.candidates)
    parser.add_argument("--reranker", help="a CrossEncoder, measured too")
    parser.add_argument("--home", type=Path, help="keep the indexes here, so that a second run embeds nothing")
    parser.add_argument("--json", type=Path, help="write every question's scores here")
    arguments = parser.parse_args()
    settings = SearchSettings(
        mode=arguments.mode,
        fusion=arguments.fusion,
        dense_weight=arguments.dense_weight,
        candidates=arguments.candidates,
    )
    reports: dict[str, RetrievalReport] = {}
    with tempfile.TemporaryDirectory() as temporary:
        home = arguments.home or Path(temporary)
        model = resolve_model(arguments.model, home=home)
        embedder = SentenceTransformerEmbedder(model.path, name=f"{model.name}@{model.revision}")
        for data in arguments.data:
            for way in arguments.chunkings:
                title = f"{data.name}, {name_of(way)}"
                index = _indexed(home, re.sub(r"[^\w.-]", "-", f"{data.name}-{name_of(way)}"), embedder, way, data)
                reports[title] = _measure(index, data / arguments.questions, settings, arguments.reranker)
                print(f"\n# {title}: {index.state.num_documents} documents, {index.state.num_chunks} chunks")
                print(to_text(reports[title]), flush=True)
    is_met = _summarise(reports)
    if arguments.json:
        arguments.json.write_text(json.dumps({title: report.to_dict() for title, report in reports.items()}))
    sys.exit(0 if is_met else 1)


def _indexed(home: Path, name: str, embedder: Embedder, way: ChunkSettings, data: Path) -> Index:
    index = IndexHome(home).create(name, embedder, way)
    report = index.sync(load_documents(data / "docs.jsonl").documents)
    print(f"{name}: {report.embedded_chunks} chunks embedded in {report.seconds:.0f} s", file=sys.stderr)
    return index


def _measure(index: Index, questions: Path, settings: SearchSettings, reranker: str | None) -> RetrievalReport:
    return evaluate_retrieval(
        lambda query, k, way: index.search(query, k, settings=way),
        load_judged(questions),
        standard_settings(settings, reranker),
        document_ids={entry.id for entry in index.documents(limit=index.state.num_documents + 1)},
        default=setting_name(settings),
    )


def _summarise(reports: dict[str, RetrievalReport]) -> bool:
    """Prints the default beside its parts; gives whether it is nowhere below the better of them."""
    print("\n# The default against the better of vectors and words")
    is_met = True
    for title, report in reports.items():
        for measure in CHECKED:
            dense, bm25, default = (report.scores[name].mean(measure) for name in ("dense", "bm25", report.default))
            # A sum of thirds in another order is another float.
            is_below = default < max(dense, bm25) - 1e-9
            is_met = is_met and not is_below
            print(
                f"{title}: {measure} dense {dense:.3f}, bm25 {bm25:.3f}, {report.default} {default:.3f}"
                f"{'  BELOW' if is_below else ''}"
            )
    return is_met


if __name__ == "__main__":
    main()
