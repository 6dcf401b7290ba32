"""Which passages are asked about, in which way and order, before anything is written.

test, train = divide(chunks, questions=40, examples=40, seed=0)     no document is on both sides
tasks = plan(test, ("fact", "multi-hop"), part="test", seed=0)      passage by passage, document after document
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from eval.errors import EvalError
from eval.generation.settings import Kind
from eval.questions import Question, split_by_document
from rag.chunking.chunk import Chunk
from storage.errors import listed

Part = Literal["test", "train"]

# A heading or a page's footer tells nothing to ask about.
MIN_WORDS = 12
# A name that more documents have connects nothing, at least where there are many.
_MOST_DOCUMENTS = 10
_WORD = re.compile(r"[^\W\d_][\w'\u2019-]*")
_ENDS = frozenset('.!?:;\n\u2022|#*"\u201c(')


@dataclass(frozen=True, slots=True)
class Task:
    """One draft to ask for: a question of a kind about one passage, or about two that share a `bridge`."""

    part: Part
    kind: Kind
    chunks: tuple[Chunk, ...]
    bridge: str = ""

    @property
    def document_ids(self) -> tuple[str, ...]:
        """The documents that hold the answer."""
        return tuple(dict.fromkeys(chunk.document_id for chunk in self.chunks))


def divide(
    chunks: Sequence[Chunk], *, questions: int, examples: int, seed: int
) -> tuple[tuple[Chunk, ...], tuple[Chunk, ...]]:
    """The passages to evaluate on and those to train on, in proportion, by document; copies of one stay together.

    Passages of a few words are in neither. Raises EvalError where no passage is long enough, or where all belong to one
    document and both sides are wanted.
    """
    usable = [chunk for chunk in chunks if len(chunk.text.split()) >= MIN_WORDS]
    if not usable:
        raise EvalError(
            f"no passage of the documents has {MIN_WORDS} words to ask about; give documents with more text"
        )
    if not questions or not examples:
        return (tuple(usable), ()) if questions else ((), tuple(usable))
    rows = [Question(str(place), chunk.text, (), (chunk.document_id,)) for place, chunk in enumerate(usable)]
    share = questions / (questions + examples)
    try:
        parts = split_by_document(rows, (share, 1 - share), seed=seed)
    except EvalError as error:
        raise EvalError(
            "all passages belong to one document, which cannot be both asked and trained on; give more documents, or "
            "make questions alone with generate.examples=0"
        ) from error
    test, train = (tuple(usable[int(row.id)] for row in part) for part in parts)
    return test, train


def plan(chunks: Sequence[Chunk], kinds: Sequence[Kind], *, part: Part, seed: int) -> Iterator[Task]:
    """Every passage once in each kind, in an order that begins with all documents and all kinds: the next document is
    asked in the next kind, and a document's next passage comes when all others had a turn. Passages without a partner
    are left out of `multi-hop`.
    """
    rng = random.Random(f"{seed} {part}")
    of_document: dict[str, list[Chunk]] = defaultdict(list)
    for chunk in chunks:
        of_document[chunk.document_id].append(chunk)
    documents = [of_document[name] for name in sorted(of_document)]
    rng.shuffle(documents)
    for passages in documents:
        rng.shuffle(passages)
    partners = _Partners(chunks, rng) if "multi-hop" in kinds else None
    longest = max(map(len, documents), default=0)
    for turn in range(longest * len(kinds)):
        for place, passages in enumerate(documents):
            lap, passage = divmod(turn, len(passages))
            if lap >= len(kinds):
                continue
            kind, chunk = kinds[(lap + passage + place) % len(kinds)], passages[passage]
            if kind != "multi-hop":
                yield Task(part, kind, (chunk,))
            elif partners is not None and (found := partners.of(chunk)) is not None:
                yield Task(part, kind, (chunk, found[0]), found[1])


def names_in(text: str) -> set[str]:
    """Names in a text: runs of capitalised words. The first word of a sentence may be one or not: such a run counts
    with it and without it, and it alone does not.
    """
    runs: list[list[re.Match[str]]] = []
    for word in _WORD.finditer(text):
        if not word[0][0].isupper():
            continue
        if runs and text[runs[-1][-1].end() : word.start()] == " ":
            runs[-1].append(word)
        else:
            runs.append([word])
    found = set()
    for run in runs:
        words = [word[0] for word in run]
        begins = _begins_sentence(text[: run[0].start()])
        if len(words) > 1 or not begins:
            found.add(" ".join(words))
        if begins and len(words) > 1:
            found.add(" ".join(words[1:]))
    return {name for name in found if len(name) > 1}


class _Partners:
    """The second passage of a question that takes two: another one that has a rare name in common."""

    def __init__(self, chunks: Sequence[Chunk], rng: random.Random) -> None:
        self._rng = rng
        self._names = {chunk.id: sorted(names_in(chunk.text)) for chunk in chunks}
        self._with: dict[str, list[Chunk]] = defaultdict(list)
        for chunk in chunks:
            for name in self._names[chunk.id]:
                self._with[name].append(chunk)

    def of(self, chunk: Chunk) -> tuple[Chunk, str] | None:
        """A passage of another document before one of the same, by the rarest name; None where none shares any."""
        shared = [
            (len(self._with[name]), name, other)
            for name in self._names[chunk.id]
            if len({one.document_id for one in self._with[name]}) <= _MOST_DOCUMENTS
            for other in self._with[name]
            if other.id != chunk.id and other.text != chunk.text
        ]
        apart = [one for one in shared if one[2].document_id != chunk.document_id] or shared
        if not apart:
            return None
        rarest = min(count for count, _, _ in apart)
        _, name, other = self._rng.choice([one for one in apart if one[0] == rarest])
        return other, name


def _begins_sentence(before: str) -> bool:
    bare = before.rstrip(" ")
    return not bare or bare[-1] in _ENDS


def without_tasks(kinds: Sequence[Kind], tasks: Sequence[Task]) -> tuple[str, ...]:
    """A note where no passage can be asked in some kind."""
    missing = [kind for kind in kinds if all(task.kind != kind for task in tasks)]
    return (f"no two passages share a name, so there are no questions: {listed(missing)}",) if missing else ()
