"""Answer records, what a run has asked, and the cache: every answer is kept by what shaped it, so no question is ever
asked twice.

with AnswerCache(home / "answers.db") as cache:
    cache.get(key)  # -> AnswerRecord | None
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from eval.questions import Question
from router.answering.arm import Arm
from router.deciding.scorecard import RaceRecord
from storage.records import from_json
from storage.row_cache import RowCache

# An arm's name -> what its answers depend on besides the arm itself: model revision, index version.
Versions = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Proposed:
    """What a proposer of a mixture said, or with an `error` why it said nothing."""

    arm: str
    text: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class AnswerRecord:
    """What one arm answered to one question; `error` says why `text` is empty when the engine gave no answer.

    `passages` are the retrieved texts and `passage_documents` their document ids, both in rank order. `engine_s` and
    `retrieval_s` are the answer's shares of the seconds in which the engine was busy, and the search with its reranker.
    `cached_tokens` are those of the prompt that the engine had in its prefix cache, None where it does not say. Of a
    mixture all counts and shares include its `proposals`, in the order of its proposers, and its latency is that of the
    slowest of them and then its own.
    `chosen` is the engine's model that answered, where the arm chooses one for each question.
    """

    arm: str
    question_id: str
    text: str
    passages: tuple[str, ...] = ()
    passage_documents: tuple[str, ...] = ()
    cited_documents: tuple[str, ...] = ()
    prompt_tokens: int | None = None
    generated_tokens: int | None = None
    retrieval_ms: float | None = None
    latency_ms: float | None = None
    error: str | None = None
    engine_s: float | None = None
    retrieval_s: float | None = None
    cached_tokens: int | None = None
    proposals: tuple[Proposed, ...] = ()
    chosen: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """The questions in the order they were spent, every answer, and how a race went.

    `first_tokens_ms` maps arm and question id to the measured time to the first token.
    """

    questions: tuple[Question, ...]
    records: tuple[AnswerRecord, ...]
    first_tokens_ms: Mapping[tuple[str, str], float] = field(default_factory=dict)
    race: RaceRecord | None = None


def answer_key(arm: Arm, question: Question, versions: Versions) -> str:
    """A hash of what shapes an answer: the arm's parts (not its label), the conversation, model and index versions."""
    parts = [arm.fingerprint(), question.text, json.dumps(versions[arm.name], sort_keys=True)]
    parts += [json.dumps(question.history)] if question.history else []
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()


class AnswerCache(RowCache):
    """A table of answers in SQLite; every `put` is committed at once, so a killed run loses only answers in flight.

    Failed answers are never stored: the next run asks again.
    """

    def __init__(self, path: Path) -> None:
        """Opens or creates the file. Raises StorageError when it cannot be opened."""
        tables = (
            "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, record TEXT NOT NULL)",
            "CREATE TABLE IF NOT EXISTS first_tokens (key TEXT PRIMARY KEY, ms REAL NOT NULL)",
            "CREATE TABLE IF NOT EXISTS likelihoods (key TEXT PRIMARY KEY, value REAL NOT NULL)",
        )
        super().__init__(path, tables, called="answer cache", row="an answer")

    def get(self, arm: Arm, question: Question, versions: Versions) -> AnswerRecord | None:
        """What this arm, or one of the same parts, answered to this question, under their names; None if not known."""
        statement = "SELECT record FROM answers WHERE key = ?"
        found = self.find(statement, answer_key(arm, question, versions), lambda row: from_json(AnswerRecord, row))
        if found is None:
            return None
        pairs = zip(found.proposals, arm.proposers, strict=True)
        proposals = tuple(replace(said, arm=proposer.name) for said, proposer in pairs)
        return replace(found, arm=arm.name, question_id=question.id, proposals=proposals)

    def put(self, arm: Arm, question: Question, versions: Versions, record: AnswerRecord) -> None:
        """Keep an answer. Raises StorageError when the disk is full."""
        if record.error is None:
            row = (answer_key(arm, question, versions), json.dumps(asdict(record)))
            self.write("INSERT OR REPLACE INTO answers VALUES (?, ?)", row)

    def get_first_token_ms(self, arm: Arm, question: Question, versions: Versions) -> float | None:
        """The measured time to the first token of this answer, or None."""
        return self.find("SELECT ms FROM first_tokens WHERE key = ?", answer_key(arm, question, versions), float)

    def put_first_token_ms(self, arm: Arm, question: Question, versions: Versions, ms: float) -> None:
        """Keep a measured time to the first token. Raises StorageError when the disk is full."""
        self.write("INSERT OR REPLACE INTO first_tokens VALUES (?, ?)", (answer_key(arm, question, versions), ms))

    def get_likelihood(self, arm: Arm, question: Question, text: str, versions: Versions) -> float | None:
        """The log-likelihood of a text as this arm's answer, as far as it was measured."""
        key = _text_key(arm, question, text, versions)
        return self.find("SELECT value FROM likelihoods WHERE key = ?", key, float)

    def put_likelihood(self, arm: Arm, question: Question, text: str, versions: Versions, value: float) -> None:
        """Keep a measured log-likelihood. Raises StorageError when the disk is full."""
        row = (_text_key(arm, question, text, versions), value)
        self.write("INSERT OR REPLACE INTO likelihoods VALUES (?, ?)", row)


def _text_key(arm: Arm, question: Question, text: str, versions: Versions) -> str:
    return hashlib.sha256("\x00".join((answer_key(arm, question, versions), text)).encode()).hexdigest()
