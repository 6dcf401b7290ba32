"""What a judge is certified on: labelled answers, labelled pairs, and the single asks that are made of them.

labelled = load_labelled(Path("labels.jsonl"))       {"question", "response", "reference", "label": 0 or 1}
pairs = load_pairs(Path("pairs.jsonl"))              {"prompt", "chosen", "rejected"}
probes = plan_probes(labelled, pairs, repeats=3, repeat_rows=30)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from eval.errors import EvalError, listed
from eval.judge.labels import read_label
from storage.hashes import content_hash
from storage.jsonl import scan_jsonl
from tuning.data.examples import sample, texts_of

_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True)
class LabelledAnswer:
    """A response that a person called right or wrong, with all accepted answers."""

    question: str
    response: str
    references: tuple[str, ...]
    is_correct: bool


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Two responses to one prompt, of which a person chose one."""

    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True)
class Probe:
    """One ask of the judge: the metric, its inputs, and the number of the repeat, 0 for the first."""

    name: str
    inputs: tuple[str | tuple[str, ...], ...]
    repeat: int = 0

    @property
    def key(self) -> str:
        """A hash of what is asked, and which repeat of it."""
        return content_hash(self.name, json.dumps(self.inputs), str(self.repeat))


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """Every ask of a certification, ordered as the rows they belong to.

    `verdicts[i]` are the asks about labelled answer i, the first one and any repeats; `orders[j]` are those about pair
    j, with the chosen response first and second.
    """

    verdicts: tuple[tuple[Probe, ...], ...]
    orders: tuple[tuple[Probe, Probe], ...]

    def distinct(self) -> tuple[Probe, ...]:
        """All asks, equal ones once: first verdicts, then pairs, then repeats."""
        firsts = [asks[0] for asks in self.verdicts]
        repeats = [ask for asks in self.verdicts for ask in asks[1:]]
        return tuple(dict.fromkeys((*firsts, *(ask for orders in self.orders for ask in orders), *repeats)))


def plan_probes(
    labelled: Sequence[LabelledAnswer],
    pairs: Sequence[LabelledPair] = (),
    *,
    repeats: int = 3,
    repeat_rows: int = 30,
    seed: int = 0,
) -> ProbePlan:
    """One ask a labelled answer, `repeats` asks for `repeat_rows` of them drawn with `seed`, and two a pair."""
    repeated = set(sample(range(len(labelled)), repeat_rows, seed))
    return ProbePlan(
        verdicts=tuple(
            tuple(
                Probe("judge_correctness", (row.question, row.response, row.references), repeat)
                for repeat in range(repeats if i in repeated else 1)
            )
            for i, row in enumerate(labelled)
        ),
        orders=tuple(
            (
                Probe("preference", (pair.prompt, pair.chosen, pair.rejected)),
                Probe("preference", (pair.prompt, pair.rejected, pair.chosen)),
            )
            for pair in pairs
        ),
    )


def load_labelled(path: Path) -> tuple[LabelledAnswer, ...]:
    """Rows `{question | user_input, response, reference | answers[], label}`, label as `read_label` reads 0 and 1.

    Raises EvalError naming the line of every faulty row (the first ten), and when there is no row at all; StorageError
    when there is no such file.
    """
    return _load(path, _labelled, 'rows like {"question": ..., "response": ..., "reference": ..., "label": 1}')


def load_pairs(path: Path) -> tuple[LabelledPair, ...]:
    """Rows `{prompt, chosen, rejected}`, all texts, the two responses different. Raises as `load_labelled`."""
    return _load(path, _pair, 'rows like {"prompt": ..., "chosen": ..., "rejected": ...}')


def _load(path: Path, read: Callable[[Mapping[str, object]], _Row | str], wanted: str) -> tuple[_Row, ...]:
    rows: list[_Row] = []
    faults: list[str] = []
    for line, raw in scan_jsonl(path):
        row = raw if isinstance(raw, str) else read(raw)
        if isinstance(row, str):
            faults.append(f"line {line}: {row}")
        else:
            rows.append(row)
    if faults:
        raise EvalError(f"{path}: {len(faults)} faulty rows: {listed(faults)}")
    if not rows:
        raise EvalError(f"{path} holds no rows; add {wanted}")
    return tuple(rows)


def _labelled(row: Mapping[str, object]) -> LabelledAnswer | str:
    """The labelled answer of a row, or what is wrong with it."""
    question, response = row.get("question", row.get("user_input")), row.get("response")
    references = row.get("reference", row.get("answers"))
    label = read_label(row.get("label"))
    if isinstance(references, str | int | float) and not isinstance(references, bool):
        references = [references]
    if not isinstance(question, str) or not question.strip():
        return "no `question` text"
    if not isinstance(response, str) or not response.strip():
        return "no `response` text; an empty one is wrong without asking a judge"
    golds = texts_of(references)
    if golds is None:
        return "`reference` must be a text or a list of texts or numbers"
    golds = [text for text in golds if text.strip()]
    if not golds:
        return f"question {question[:40]!r} has no `reference`"
    if label not in (0, 1):
        return f"`label` must be 0 or 1, or a word like yes, no, correct or incorrect, not {row.get('label')!r}"
    return LabelledAnswer(question, response, tuple(golds), bool(label))


def _pair(row: Mapping[str, object]) -> LabelledPair | str:
    """The pair of a row, or what is wrong with it."""
    texts: list[str] = []
    for name in ("prompt", "chosen", "rejected"):
        text = row.get(name)
        if not isinstance(text, str) or not text.strip():
            return f"no `{name}` text"
        texts.append(text)
    if texts[1] == texts[2]:
        return "`chosen` and `rejected` are the same text"
    return LabelledPair(*texts)
