"""Evaluation questions: load and validate, refuse or drop golds that contradict each other, merge what is asked twice,
split by source document.

questions = load_questions(Path("data/test.jsonl"))
train, test = split_by_document(questions, (0.8, 0.2))
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from eval.errors import EvalError
from storage.jsonl import sound_rows
from tuning.data.examples import Question as Question
from tuning.data.examples import Scanned, scan_examples
from tuning.data.formats.given import Columns, Given
from tuning.data.formats.read import Say
from tuning.data.formats.registry import PAIR_FORMATS
from tuning.errors import TuningError

_NOT_WORD = re.compile(r"\W+")
_CONTRADICTION = (
    "asks {!r} as {} {} does, with other golds; no answer can be right for both, so remove one, give both all "
    "accepted answers, or leave all such rows out with limits.contradictions=drop"
)


def are_documents_given(questions: Sequence[Question], document_ids: Collection[str]) -> bool:
    """Whether every document of `document_ids`, the whole collection, is asked about: there are no others to speak for.

    Where some are not, documents are what was sampled, and questions about one are alike. Without any document nothing
    is known.
    """
    asked_about = {name for question in questions for name in question.document_ids}
    return bool(document_ids) and asked_about.issuperset(document_ids)


def load_questions(
    path: Path, columns: Columns | None = None, *, refuse_contradictions: bool = True, say: Say = lambda _: None
) -> tuple[Question, ...]:
    """Questions from rows as `tuning.data.examples.scan_examples` reads them; every answer is an accepted gold, and of
    preference pairs every answer that was chosen for a prompt.

    Raises EvalError naming file and line of every faulty row (the first ten), of every row that asks what another asks
    with no gold in common (unless told not to), and when there is no question at all.
    """
    found = _scanned(path, no_gold, columns=columns, say=say)
    rows = list(found.rows)
    if found.format in PAIR_FORMATS:
        shared = iter(share_golds([row for _, row in rows if isinstance(row, Question)]))
        rows = [(line, row if isinstance(row, str) else next(shared)) for line, row in rows]
    if refuse_contradictions:
        sound = [(i, row) for i, (_, row) in enumerate(rows) if isinstance(row, Question)]
        for place, earlier in find_contradictions([question for _, question in sound]):
            i, question = sound[place]
            rows[i] = (rows[i][0], _CONTRADICTION.format(question.text[:40], found.unit, rows[sound[earlier][0]][0]))
    like = '{"question": ..., "answers": [...]}'
    return sound_rows(found.called, rows, called="questions", like=like, error=EvalError, unit=found.unit)


def load_judged(path: Path, columns: Columns | None = None) -> tuple[Question, ...]:
    """Questions with the documents that answer them, from the same rows; answers are not needed, and what is asked
    twice is one question. Raises as `load_questions`.
    """
    found = _scanned(path, needs_answers=False, columns=columns)
    like = '{"question": ..., "doc_ids": [...]}'
    rows = sound_rows(found.called, found.rows, called="questions", like=like, error=EvalError, unit=found.unit)
    return merge_repeats(rows)[0]


def merge_repeats(questions: Sequence[Question]) -> tuple[tuple[Question, ...], tuple[tuple[str, str], ...]]:
    """Questions with the same text (case and the end's punctuation aside) after the same history as one: the first of
    them, with the golds and documents of all; and the ids that are gone, each with the id it went to.

    A repeat tells nothing new, and counted twice it would make a result look surer than it is.
    """
    firsts: dict[tuple[str, ...], Question] = {}
    gone: list[tuple[str, str]] = []
    for question in questions:
        asked = _asked(question)
        first = firsts.setdefault(asked, question)
        if first is not question:
            firsts[asked] = replace(
                first,
                answers=tuple(dict.fromkeys((*first.answers, *question.answers))),
                document_ids=tuple(dict.fromkeys((*first.document_ids, *question.document_ids))),
                contexts=tuple(dict.fromkeys((*first.contexts, *question.contexts))),
            )
            gone.append((question.id, first.id))
    return tuple(firsts.values()), tuple(gone)


def share_golds(questions: Sequence[Question]) -> tuple[Question, ...]:
    """The questions, each with the golds of all that ask the same after its own."""
    golds: dict[tuple[str, ...], list[str]] = {}
    for question in questions:
        golds.setdefault(_asked(question), []).extend(question.answers)
    return tuple(
        replace(question, answers=tuple(dict.fromkeys((*question.answers, *golds[_asked(question)]))))
        for question in questions
    )


def find_contradictions(questions: Sequence[Question]) -> list[tuple[int, int]]:
    """Places of questions that ask what an earlier one asks with no gold in common, each with the earlier one's."""
    asked: dict[tuple[str, ...], list[tuple[int, set[str]]]] = {}
    found: list[tuple[int, int]] = []
    for place, question in enumerate(questions):
        golds = {plain_text(answer) for answer in question.answers}
        earlier = asked.setdefault(_asked(question), [])
        other = next((known for known, others in earlier if not golds & others), None)
        if other is not None:
            found.append((place, other))
        earlier.append((place, golds))
    return found


def drop_contradictions(questions: Sequence[Question]) -> tuple[tuple[Question, ...], tuple[str, ...]]:
    """The questions without all that ask what another asks with no gold in common, whichever is right; and their ids.

    Raises EvalError when none is left.
    """
    disputed = {_asked(questions[i]) for i, _ in find_contradictions(questions)}
    kept = tuple(question for question in questions if _asked(question) not in disputed)
    if questions and not kept:
        raise EvalError(f"all {len(questions)} questions contradict another one; give other golds")
    return kept, tuple(question.id for question in questions if _asked(question) in disputed)


def split_by_document(
    rows: Sequence[Question], shares: Sequence[float], *, seed: int = 0, labels: Sequence[Hashable] | None = None
) -> tuple[tuple[Question, ...], ...]:
    """One part per share, with about that share of the rows, each in the order of the rows.

    Rows that name a common document, or ask the same (case and punctuation aside), are in one part, and so is whatever
    they are connected to; a row without a document stands alone. The same rows, shares and seed give the same parts.
    Shares are positive and add up to 1. Raises EvalError where there are fewer such groups than parts.

    Groups are dealt out from the largest on, each to the part with the least of its due (Sainte-Laguë's rule), so that
    every part gets large and small documents; the seed orders groups of one size. With `labels`, one a row, dues of
    each label count beside those of all rows, so that the parts have alike shares of them as far as groups allow.
    """
    groups = _groups(rows)
    if len(groups) < len(shares):
        raise EvalError(
            f"{len(rows)} rows cannot be split into {len(shares)} parts by document: documents in common make them "
            f"{len(groups)} group{'s' if len(groups) > 1 else ''}"
        )
    random.Random(seed).shuffle(groups)
    groups.sort(key=len, reverse=True)
    parts: list[list[int]] = [[] for _ in shares]
    dealt_of: list[Counter[Hashable]] = [Counter() for _ in shares]
    for dealt, group in enumerate(groups):
        empty = [part for part in range(len(parts)) if not parts[part]]
        # The last groups go to parts that would otherwise stay empty.
        open_parts = empty if len(empty) >= len(groups) - dealt else range(len(parts))
        counts = Counter(labels[i] for i in group) if labels is not None else Counter[Hashable]()
        dues = {
            part: (len(parts[part]) + len(group) / 2) / shares[part]
            + sum(
                count / len(group) * ((dealt_of[part][label] + count / 2) / shares[part])
                for label, count in counts.items()
            )
            for part in open_parts
        }
        least = min(dues, key=dues.__getitem__)
        parts[least].extend(group)
        dealt_of[least] += counts
    return tuple(tuple(rows[i] for i in sorted(part)) for part in parts)


def as_row(question: Question) -> dict[str, object]:
    """The question as a row of a file that `load_questions` reads; answers that are learned have a weight."""
    learned = [
        {**message, "weight": 1} if place in question.learned else message
        for place, message in enumerate(question.history)
    ]
    return {
        "id": question.id,
        "question": question.text,
        "answers": list(question.answers),
        "doc_ids": list(question.document_ids),
        "metadata": dict(question.metadata),
        **({"history": learned} if learned else {}),
    }


def as_whole_row(question: Question, given: Given) -> dict[str, object]:
    """The same of a row with all that came with it: the texts in `context`, or both sides of a preference pair."""
    if given.rejected is None:
        contexts = {"context": list(given.contexts)} if given.contexts else {}
        return as_row(question) | contexts
    return as_pair(question, given.rejected)


def as_pair(question: Question, rejected: str) -> dict[str, object]:
    """A preference pair as a row."""
    sides = {"chosen": question.answer, "rejected": rejected}
    return {"id": question.id, "prompt": list(question.messages), **sides, "metadata": dict(question.metadata)}


def plain_text(text: str) -> str:
    """Lower case without punctuation, to compare what was asked; a text without words stays as it is."""
    return _NOT_WORD.sub(" ", text.lower()).strip() or text.strip()


def plain_turns(question: Question) -> tuple[str, ...]:
    """The plain texts of the conversation, to compare what was asked in it; what a system message orders is not."""
    said = (str(message["content"]) for message in question.messages if message["role"] in ("user", "assistant"))
    return tuple(map(plain_text, said))


def _scanned(path: Path, *needs: Callable[[Question], str | None], **rest: Any) -> Scanned:
    """The rows of a file. Raises EvalError where its columns are not known."""
    try:
        return scan_examples(path, *needs, **rest)
    except TuningError as error:
        raise EvalError(str(error)) from error


def no_gold(row: Question) -> str | None:
    """What is wrong with a question without any answer that counts."""
    return None if any(map(str.strip, row.answers)) else "the question has no gold answer"


def _asked(question: Question) -> tuple[str, ...]:
    # Punctuation counts within a question: "What is C?" is not "What is C++?".
    before = (str(message["content"]) for message in question.history)
    return (*before, " ".join(question.text.lower().split()).rstrip(" ?!."))


def _groups(rows: Sequence[Question]) -> list[list[int]]:
    """Places of rows that are connected by documents or by asking the same, in the order of their first row. A row is
    also what it asks on the way, where another one asks that at its end.
    """
    from scipy.cluster.hierarchy import DisjointSet

    connected = DisjointSet(range(len(rows)))
    firsts: dict[tuple[str, ...], int] = {}
    for i, row in enumerate(rows):
        for key in (("text", *plain_turns(row)), *(("document", name) for name in row.document_ids)):
            connected.merge(firsts.setdefault(key, i), i)
    for i, row in enumerate(rows):
        for exchange in row.exchanges[:-1]:
            connected.merge(firsts.get(("text", *plain_turns(exchange)), i), i)
    return [sorted(group) for group in connected.subsets()]
