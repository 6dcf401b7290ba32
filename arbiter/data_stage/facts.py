"""What is known about rows, one aspect a function, each as a value for --json.

repeats_of(rows), leaks_of(rows, questions), contradictions_of(rows), lengths_of(...), personal_data_of(rows)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from arbiter.data_stage.source import SourceRow
from eval.metrics.labels import labels_of
from eval.questions import Question, find_contradictions, no_gold, plain_text, plain_turns
from eval.repeats import NEAR_PERCENT, find_exact_repeats, find_near_repeats, find_repeats
from storage.errors import ArbiterError
from storage.jsonl import grouped
from tuning.data.alike import AlikeTexts
from tuning.data.bias import Terms, audit_rows
from tuning.data.examples import scan_examples
from tuning.data.formats.given import Columns
from tuning.data.pii import PiiFinder, over_texts
from tuning.data.rows import TrainingRow
from tuning.errors import TuningError
from tuning.objectives.preview import unlearnable
from tuning.objectives.supervised import SUPERVISED

Fact = dict[str, Any]

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class PartRows:
    """A part of a data folder as it is, faulty rows counted: `fact` says how it was read."""

    name: str
    rows: tuple[SourceRow, ...]
    fact: Fact

    @property
    def questions(self) -> tuple[Question, ...]:
        """What its rows ask and answer."""
        return tuple(row.question for row in self.rows)


def read_part(name: str, path: Path, columns: Columns) -> PartRows:
    """The sound rows of a file, and how many are not."""
    said: list[str] = []
    fact: Fact = {"part": name, "file": path.name}
    try:
        found = scan_examples(path, no_gold, columns=columns, say=said.append)
    except ArbiterError as error:
        return PartRows(name, (), fact | {"format": "", "rows": 0, "faulty": 0, "left_out": 0, "faults": [str(error)]})
    faulty = [(line, row) for line, row in found.rows if isinstance(row, str)]
    rows = tuple(SourceRow(line, row, found.given[row.id]) for line, row in found.rows if not isinstance(row, str))
    fact |= {
        "format": found.format,
        "rows": len(rows),
        "faulty": len(faulty),
        "left_out": len(found.left_out),
        "faults": grouped(faulty, found.unit),
        "said": said,
    }
    return PartRows(name, rows, fact)


def repeats_of(part: Sequence[SourceRow], progress: Progress) -> Fact:
    """Rows that repeat an earlier one with an answer in common, the near ones by label."""
    rows = [row.question for row in part]
    found = find_repeats(rows, beside=[row.rejected for row in part], progress=progress)
    labels = labels_of(rows)
    near = [repeat for repeat in found if not repeat.is_exact]
    return {"exact": len(found) - len(near), "near": len(near), "near_of_label": _by_label(near_places(near), labels)}


def near_places(repeats: Iterable[Any]) -> list[int]:
    """The places of rows that repeat others."""
    return [repeat.place for repeat in repeats]


def leaks_of(rows: Sequence[Question], questions: Sequence[Question]) -> Fact:
    """Training rows that ask an evaluation question, in the same words or nearly, the near ones by label."""
    exact = find_exact_repeats(rows, questions)
    left = [row for row in rows if row.id not in exact]
    near, labels = find_near_repeats(left, questions), labels_of(rows)
    places = [place for place, row in enumerate(rows) if row.id in near]
    return {"exact": len(exact), "near": len(near), "near_of_label": _by_label(places, labels)}


def contradictions_of(rows: Sequence[SourceRow]) -> Fact:
    """Rows that ask what an earlier one asks and have no answer in common with it, by line; and those of other labels
    that do in nearly the same words. Preference pairs contradict each other where one chooses what the other rejects.
    """
    questions = [row.question for row in rows]
    if any(row.rejected for row in rows):
        return {"same": _turned_round(rows), "near": []}
    same = [(rows[place].line, rows[other].line) for place, other in find_contradictions(questions)]
    labels, alike, near = labels_of(questions), AlikeTexts(NEAR_PERCENT), list[tuple[int, int]]()
    taken = {place for place, _ in find_contradictions(questions)}
    for place, (question, label) in enumerate(zip(questions, labels, strict=True)):
        if label is None or place in taken:
            continue
        text = plain_text(question.text)
        other = next((key for key, _ in alike.find(text) if labels[key] != label), None)
        if other is not None:
            near.append((rows[place].line, rows[other].line))
        alike.add(place, text)
    return {"same": same, "near": near}


def _turned_round(rows: Sequence[SourceRow]) -> list[tuple[int, int]]:
    chosen: dict[tuple[object, ...], int] = {}
    found = []
    for row in rows:
        sides = plain_text(row.question.answer), plain_text(row.rejected)
        asked = plain_turns(row.question)
        if (other := chosen.get((asked, *reversed(sides)))) is not None:
            found.append((row.line, other))
        chosen.setdefault((asked, *sides), row.line)
    return found


def labels_fact(rows: Sequence[Question]) -> Fact:
    """How many rows have each label, and how many times as many the most frequent has as the rarest."""
    counts = Counter(label for label in labels_of(rows) if label is not None)
    if not counts:
        return {}
    ordered = counts.most_common()
    return {"counts": dict(ordered), "ratio": round(ordered[0][1] / ordered[-1][1], 2)}


def lengths_of(rows: Sequence[SourceRow], made: Sequence[TrainingRow], tokenizer: Any, max_length: int) -> Fact:
    """Tokens of the rows as they are trained on: percentiles, how many lie between powers of two, how many are longer
    than a training takes, and why some cannot be trained on at all, by line.
    """
    lengths, refused = list[int](), list[tuple[int, str]]()
    for row, prompt in zip(rows, made, strict=True):
        try:
            encoded = SUPERVISED.encode(tokenizer, prompt)
        except TuningError as error:
            refused.append((row.line, str(error)))
            continue
        lengths.append(encoded.num_tokens)
        if (reason := unlearnable(tokenizer, encoded)) is not None:
            refused.append((row.line, reason))
    ordered = sorted(lengths)
    bins = Counter(1 << max(0, math.ceil(math.log2(length))) for length in ordered)
    return {
        "max_length": max_length,
        "histogram": [{"up_to": top, "rows": bins[top]} for top in sorted(bins)],
        **{f"p{q}": ordered[math.ceil(q / 100 * len(ordered)) - 1] for q in (50, 95) if ordered},
        "longest": ordered[-1] if ordered else 0,
        "total": sum(ordered),
        "over": sum(length > max_length for length in ordered),
        "refused": grouped(refused, "line"),
    }


def personal_data_of(rows: Sequence[SourceRow], finder: PiiFinder, progress: Progress) -> Fact:
    """What may point to persons: how often each kind is found, and in how many rows, with the first lines."""
    counts, lines = Counter[str](), list[int]()
    for done, row in enumerate(rows, start=1):
        found: list[str] = []

        def look(text: str, found: list[str] = found) -> str:
            found += [one.kind for one in finder.find(text)]
            return text

        over_texts(row.as_written(), look)
        counts.update(found)
        lines += [row.line] if found else []
        progress(done, len(rows))
    return {"found": dict(counts.most_common()), "rows": len(lines), "lines": lines[:20]}


def bias_of(rows: Sequence[Question], terms: Terms) -> Fact:
    """How rows that speak of one group differ from those that speak of the other (`tuning.data.bias`)."""
    audit = audit_rows([row.text for row in rows], labels_of(rows), terms)
    return asdict(audit) | {
        "num_alone": audit.num_alone,
        "differences": [asdict(one) | {"is_shown": one.is_shown} for one in audit.differences],
    }


def _by_label(places: Iterable[int], labels: Sequence[str | None]) -> Mapping[str, int]:
    return dict(Counter(label for place in places if (label := labels[place]) is not None).most_common())
