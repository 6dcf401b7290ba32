"""What the chunking changes: is the answer in the passages, at equal length of the prompt?

`python benchmarks/passages.py --data FOLDER --joined FOLDER:KEY --pages 'docs/*.md' --home /tmp/home`

Many small chunks and a few large ones do not cost a model the same, so each chunking gives the passages that fit a
number of tokens, the last cut to what is left, and the answer counts as given if one of them holds it whole.

- `--data`: docs.jsonl and test.jsonl; the gold is an answer's words in a gold document. `--labels`: the same, but
  answers that are labels (yes, no) stand nowhere, so only the gold document counts.
- `--joined FOLDER:KEY`: documents that share metadata KEY become one long text; the gold is still in the old place.
- `--pages`: a folder or pattern of Markdown. A question is the page's title and a heading; the gold is a sentence of
  that section, picked by chance.

Each chunking is held against the first at the middle budget, on the same questions; p-values are corrected over a set
(Holm).
"""

from __future__ import annotations

import argparse
import functools
import json
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from arbiter.models import EMBEDDER, resolve_model
from eval.questions import Question, are_documents_given, load_questions
from rag.chunking.chunk import ChunkSettings
from rag.chunking.outline import read_outline
from rag.documents.document import Document
from rag.documents.load import load_documents
from rag.embedding.embedder import Embedder, SentenceTransformerEmbedder
from rag.errors import RagError
from rag.home import IndexHome
from router.answering.prompts import place_of
from router.deciding.statistics import holm, mean_interval, paired_difference

CHUNKINGS = (
    "tokens:120/20",
    "tokens:60/10",
    "tokens:120/0",
    "tokens:240/20",
    "tokens:400/20",
    "structure:120/20",
    "structure:240/20",
    "parent_child:120/20/240",
    "parent_child:120/20/480",
)
# Passages that are asked for: enough to fill the largest budget with the smallest chunks.
_ASKED = 60
_SENTENCE = re.compile(r"(?<!\S)[A-Z][^.!?]*(?:[.!?](?!\s)[^.!?]*)*[.!?](?=\s)")
_NOT_PROSE = re.compile(r"[|{}<>]|\]\[|^\s*[*+-]\s", re.MULTILINE)
_SENTENCE_WORDS = range(8, 41)

Place = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Gold:
    """A question and the places (document id, start, end) of which one has to be given whole."""

    question: Question
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """A set: its documents, and the questions about them."""

    name: str
    documents: tuple[Document, ...]
    golds: tuple[Gold, ...]
    num_left_out: int


@dataclass(frozen=True, slots=True)
class Given:
    """What one chunking gave: for each budget and question whether the gold was there whole, and its document."""

    num_chunks: int
    whole: dict[int, list[float]]
    document: dict[int, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", default=[])
    parser.add_argument("--labels", type=Path, nargs="+", default=[])
    parser.add_argument("--joined", nargs="+", default=[], metavar="FOLDER:KEY")
    parser.add_argument("--pages", nargs="+", default=[], metavar="PATTERN")
    parser.add_argument("--questions", type=int, default=300, help="the most of a set of pages (default: %(default)s)")
    parser.add_argument(
        "--chunkings",
        nargs="+",
        type=chunking,
        default=[chunking(name) for name in CHUNKINGS],
        metavar="STRATEGY:TOKENS/OVERLAP[/PARENT]",
        help=f"the first is what the others are held against (default: {' '.join(CHUNKINGS)})",
    )
    parser.add_argument("--budgets", type=int, nargs="+", default=[240, 480, 960], help="tokens of the embedder")
    parser.add_argument("--model", default=EMBEDDER, help="sentence-transformers model (default: %(default)s)")
    parser.add_argument("--home", type=Path, help="keep the indexes here, so that a second run embeds nothing")
    parser.add_argument("--json", type=Path, help="write every question's scores here")
    arguments = parser.parse_args()

    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        home = arguments.home or Path(temporary)
        model = resolve_model(arguments.model, home=home)
        embedder = SentenceTransformerEmbedder(model.path, name=f"{model.name}@{model.revision}")
        for case in _cases(arguments):
            found = {}
            for settings in arguments.chunkings:
                found[name_of(settings)] = _measure(case, settings, arguments.budgets, embedder, home)
                print(f"{case.name}, {name_of(settings)}: measured", file=sys.stderr)
            print(table(case, found, arguments.budgets), flush=True)
            rows += [{"set": case.name, "chunking": name, **asdict(given)} for name, given in found.items()]
    if arguments.json:
        arguments.json.write_text(json.dumps(rows))


def chunking(text: str) -> ChunkSettings:
    """`parent_child:120/20/480` as settings; the last size may be left out. Raises ArgumentTypeError for others."""
    strategy, _, sizes = text.partition(":")
    names = ("chunk_tokens", "overlap_tokens", "parent_tokens")
    try:
        numbers = dict(zip(names, map(int, sizes.split("/")), strict=False))
        return ChunkSettings(strategy=strategy, **numbers)
    except (RagError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def name_of(settings: ChunkSettings) -> str:
    """The text that `chunking` reads."""
    parent = f"/{settings.parent_tokens}" if settings.strategy == "parent_child" else ""
    return f"{settings.strategy}:{settings.chunk_tokens}/{settings.overlap_tokens}{parent}"


def _cases(arguments: argparse.Namespace) -> Iterator[Case]:
    for folder in arguments.data:
        yield answer_case(folder.name, *_read(folder))
    for folder in arguments.labels:
        documents, questions = _read(folder)
        golds = tuple(Gold(question, ()) for question in questions if question.document_ids)
        yield Case(f"{folder.name} (documents)", documents, golds, len(questions) - len(golds))
    for given in arguments.joined:
        folder, _, key = given.rpartition(":")
        yield joined(answer_case(f"{Path(folder).name} joined", *_read(Path(folder))), key)
    for pattern in arguments.pages:
        yield page_case(pattern, load_documents(pattern).documents, arguments.questions)


def _read(folder: Path) -> tuple[tuple[Document, ...], tuple[Question, ...]]:
    return load_documents(folder / "docs.jsonl").documents, load_questions(folder / "test.jsonl")


def answer_case(name: str, documents: tuple[Document, ...], questions: Sequence[Question]) -> Case:
    """Questions whose gold is wherever their gold documents say an answer, as whole words in any case."""
    texts = {document.id: document.text for document in documents}
    golds = []
    for question in questions:
        words = "|".join(r"\s+".join(map(re.escape, answer.split())) for answer in question.answers)
        sought = re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)
        places = tuple(
            (name, match.start(), match.end())
            for name in question.document_ids
            if name in texts
            for match in sought.finditer(texts[name])
        )
        if places:
            golds.append(Gold(question, places))
    return Case(name, documents, tuple(golds), len(questions) - len(golds))


def joined(case: Case, key: str) -> Case:
    """The case with all documents that share metadata `key` as one, in their order, a blank line between them."""
    texts: dict[str, str] = {}
    titles: dict[str, str] = {}
    moved: dict[str, tuple[str, int]] = {}
    for document in case.documents:
        name = str(document.metadata[key])
        before = f"{texts[name]}\n\n" if name in texts else ""
        moved[document.id] = (name, len(before))
        texts[name] = before + document.text
        titles[name] = document.title
    golds = []
    for gold in case.golds:
        places = tuple((moved[n][0], moved[n][1] + start, moved[n][1] + end) for n, start, end in gold.places)
        names = tuple(dict.fromkeys(moved[n][0] for n in gold.question.document_ids))
        golds.append(Gold(replace(gold.question, document_ids=names), places))
    return replace(case, documents=tuple(Document(n, titles[n], texts[n]) for n in texts), golds=tuple(golds))


def page_case(name: str, documents: tuple[Document, ...], limit: int, *, seed: int = 0) -> Case:
    """Questions made of the headings that no two sections share; those without a sentence of prose are left out."""
    outlines = {document.id: read_outline(document.text) for document in documents}
    headings = Counter(section.path[-1:] for outline in outlines.values() for section in outline.sections)
    rng = random.Random(seed)
    golds, num_left_out = [], 0
    for document in documents:
        sections = outlines[document.id].sections
        ends = [*(section.start for section in sections[1:]), len(document.text)]
        for section, end in zip(sections, ends, strict=True):
            if section.level < 2 or not section.path or headings[section.path[-1:]] > 1:
                continue
            sentences = _sentences(document.text, section.body or end, end)
            if not sentences:
                num_left_out += 1
                continue
            asked = f"{document.title}: {section.path[-1]}"
            start, stop = rng.choice(sentences)
            question = Question(f"{document.id}@{section.start}", asked, (document.text[start:stop],), (document.id,))
            golds.append(Gold(question, ((document.id, start, stop),)))
    return Case(name, documents, tuple(rng.sample(golds, min(limit, len(golds)))), num_left_out)


def _sentences(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Sentences of prose: no table, code, list item or reference."""
    inside = [
        match.span()
        for match in _SENTENCE.finditer(text, start, end)
        if len(match[0].split()) in _SENTENCE_WORDS and not _NOT_PROSE.search(match[0]) and "\n\n" not in match[0]
    ]
    code = read_outline(text[start:end]).code
    return [(a, b) for a, b in inside if not any(start + x < b and a < start + y for x, y in code)]


def _measure(case: Case, settings: ChunkSettings, budgets: Sequence[int], embedder: Embedder, home: Path) -> Given:
    name = re.sub(r"[^\w.-]", "-", f"{case.name}-{name_of(settings)}")[-100:]
    index = IndexHome(home).create(name, embedder, settings)
    index.sync(case.documents)
    texts = {document.id: document.text for document in case.documents}
    extents = functools.cache(
        lambda name: {chunk.id: chunk.context or (chunk.start, chunk.end) for chunk in index.chunks_of(name)}
    )
    spans = functools.cache(lambda text: embedder.token_spans([text])[0])
    whole: dict[int, list[float]] = {budget: [] for budget in budgets}
    document: dict[int, list[float]] = {budget: [] for budget in budgets}
    for gold in case.golds:
        ranked = []
        for passage in index.search(gold.question.text, _ASKED):
            start, end = extents(passage.document_id)[passage.chunk_id]
            assert passage.text == texts[passage.document_id][start:end]
            ends = [stop for _, stop in spans(passage.text)]
            ranked.append(((passage.document_id, start, end), ends, len(spans(place_of(passage)))))
        for budget in budgets:
            places = fill(ranked, budget)
            whole[budget].append(float(any(holds(place, wanted) for place in places for wanted in gold.places)))
            document[budget].append(float(any(name in gold.question.document_ids for name, _, _ in places)))
    index.close()
    return Given(index.state.num_chunks, whole, document)


def fill(ranked: Sequence[tuple[Place, Sequence[int], int]], budget: int) -> list[Place]:
    """The places of the passages, best first, that fit the budget, the last cut to what is left.

    Each passage comes with the ends of its tokens in its text and the number of those that the prompt writes before it.
    """
    places = []
    for (name, start, end), token_ends, num_before in ranked:
        left = budget - num_before
        if left <= 0:
            break
        if len(token_ends) > left:
            end = start + token_ends[left - 1]
        places.append((name, start, end))
        budget = left - len(token_ends)
        if budget <= 0:
            break
    return places


def holds(place: Place, wanted: Place) -> bool:
    """Whether the whole of `wanted` lies in the place."""
    return place[0] == wanted[0] and place[1] <= wanted[1] and wanted[2] <= place[2]


def table(case: Case, found: dict[str, Given], budgets: Sequence[int]) -> str:
    """One row a chunking, as Markdown."""
    middle = sorted(budgets)[len(budgets) // 2]
    has_places = any(gold.places for gold in case.golds)
    scores = {name: given.whole if has_places else given.document for name, given in found.items()}
    questions = [gold.question for gold in case.golds]
    stands_alone = are_documents_given(questions, {document.id for document in case.documents})
    clusters = [question.id if stands_alone else question.cluster for question in questions]
    first, *others = found
    differences = {
        name: paired_difference(scores[name][middle], scores[first][middle], clusters, margin=0.05) for name in others
    }
    corrected = dict(zip(others, holm([difference.p_value for difference in differences.values()]), strict=True))
    kind = "answer" if has_places else "document"
    lines = [
        f"\n{case.name}: {len(case.documents)} documents, {len(case.golds)} questions, {case.num_left_out} left out\n",
        f"| chunking | chunks | gold document, {middle} | "
        + " | ".join(f"{kind}, {budget}" for budget in budgets)
        + f" | 95 %, {middle} | against {first} | p |",
        "|---" * (len(budgets) + 6) + "|",
    ]
    for name, given in found.items():
        interval = mean_interval(scores[name][middle], clusters)
        cells = [name, f"{given.num_chunks:,}", _mean(given.document[middle])]
        cells += [_mean(scores[name][budget]) for budget in budgets]
        cells.append(f"{interval.low:.3f} to {interval.high:.3f}")
        difference = differences.get(name)
        cells += (
            [f"{difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]", f"{corrected[name]:.2g}"]
            if difference
            else ["", ""]
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.3f}"


if __name__ == "__main__":
    main()
