"""How the answers of a run are scored: which metrics there are, which of them decide, and what must be said about them.

scoring = Scoring(config, data, embedder, documents, home=home)
scorecard = scoring.score(arms, asked, training_s=..., indexing_s=...)
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from arbiter.config.schema import Config
from arbiter.data import Data
from eval.answers import AnswerRecord, Asked
from eval.errors import EvalError
from eval.evaluate import build_scorecard
from eval.judge.certificate import METRIC, Certificate, find_certificate, judge_standing, not_covered
from eval.judge.labels import load_human_labels
from eval.metrics.catalogue import (
    PRIMARY,
    all_metric_names,
    built_in_names,
    check_declared,
    check_scorable,
    metrics_of,
    plain_scorers,
    primary_column,
    unused_kinds,
)
from eval.metrics.floors import measure_floors
from eval.metrics.ragas import JUDGE_METRICS, judge_scorer, reference_scorer
from eval.metrics.user import load_user_metrics, user_scorer
from eval.questions import Question
from eval.scorer import Scorer
from rag.embedding.embedder import Embedder
from rag.index import Index
from router.answering.arm import Arm
from router.deciding.labelled import MIN_LABELS
from router.deciding.scorecard import Score, Scorecard
from router.deciding.utility import ABSTAINED
from storage.errors import ArbiterError


def check_metric(config: Config) -> tuple[str, ...]:
    """The metrics that may decide. Raises EvalError when `policy.metric` is none of them, or a package's is faulty."""
    names = all_metric_names(load_user_metrics(built_in_names()), has_judge=config.eval.judge is not None)
    check_declared(config.policy.metric, names)
    return names


def load_labels(config: Config) -> dict[str, dict[str, float]]:
    """Human labels by arm and question, empty without any. Raises ArbiterError for faulty ones, and without a judge."""
    name = config.eval.labels
    if name is None:
        return {}
    if config.eval.judge is None:
        raise ArbiterError("eval.labels corrects a judge's scores, but there is no eval.judge; add one or take it out")
    labels = load_human_labels(config.data.expanduser() / name)
    if unknown := sorted(set(labels) - set(config.arms)):
        raise ArbiterError(f"{name} labels answers of {unknown[0]!r}, which is no arm; use an arm's name")
    return labels


def find_judge(config: Config, home: Path, arms: Collection[str] | None = None) -> Certificate | None:
    """The certificate of the config's judge. Raises EvalError when a judge's metric decides that no certificate covers,
    or among arms (by default the config's) that it does not cover and that have too few labels of people.
    """
    judge = config.eval.judge
    if judge is None:
        return None
    certificate = find_certificate(home, judge.url, judge.model)
    is_certified, standing = judge_standing(judge.model, certificate)
    judged = [metric for metric in metrics_of(config.policy.metric) if metric in JUDGE_METRICS]
    reason = None if is_certified else standing
    if certificate is not None and is_certified and judged:
        labels = load_labels(config)
        uncorrected = [arm for arm in arms or config.arms if len(labels.get(arm, ())) < MIN_LABELS]
        reason = not_covered(certificate, judged, uncorrected)
    if judged and reason is not None:
        raise EvalError(
            f"policy.metric {judged[0]!r} cannot decide: {reason}; certify the judge with: "
            "arbiter judge certify CONFIG --labels FILE, or choose another metric"
        )
    return certificate


@dataclass
class Scoring:
    """The metrics of one config over one data folder. Making it raises what is wrong with them before anything is
    asked: EvalError for a metric that does not exist or scores none of the questions, one of an uncertified judge, and
    faulty labels.
    """

    config: Config
    data: Data
    embedder: Embedder
    documents: Index | None
    home: Path

    def __post_init__(self) -> None:
        self._labels = load_labels(self.config)
        check_metric(self.config)
        self._certificate = find_judge(self.config, self.home)
        check_scorable(self.config.policy.metric, self.data.questions, self.data.label_sets)

    @cached_property
    def scorers(self) -> list[Scorer]:
        """Every metric: the plain ones, the user's, ragas's reference-based ones, and a judge's where there is one."""
        scorers: list[Scorer] = [
            *plain_scorers(self.data.label_sets, self._is_document),
            user_scorer(load_user_metrics(built_in_names())),
            reference_scorer(self.embedder.embed, self._reference_contexts),
        ]
        judge = self.config.eval.judge
        if judge is not None:
            scorers.append(judge_scorer(judge, embed=self.embedder.embed))
        return scorers

    @cached_property
    def deciding_scorers(self) -> list[Scorer]:
        """Those that the choice rests on: all that a race has to score while it goes on."""
        wanted = {*metrics_of(self.config.policy.metric), *([ABSTAINED] if self.config.policy.utility else [])}
        return [scorer for scorer in self.scorers if wanted.intersection(scorer.names)]

    def score_texts(self, questions: Sequence[Question], answers: Sequence[str]) -> list[float]:
        """Scores, 0 to 1, of one answer a question by the metric that decides; 0 where it gives none. Nothing is known
        of what an answer rests on, and no judge is asked.
        """
        records = [AnswerRecord("", one.id, text) for one, text in zip(questions, answers, strict=True)]
        pairs = list(zip(questions, records, strict=True))
        columns: dict[str, list[Score]] = {}
        for scorer in self.deciding_scorers:
            columns |= scorer.score(pairs)
        column, _ = primary_column(questions, columns, self.config.policy.metric)
        return [score or 0.0 for score in column]

    @property
    def primary(self) -> str:
        """The name of the column that decides."""
        metric = self.config.policy.metric
        return metric if isinstance(metric, str) else PRIMARY

    def score_deciding(self, arms: Sequence[Arm], asked: Asked, **rest: Any) -> Scorecard:
        """A scorecard of what decides and nothing else."""
        return self._build(arms, asked, self.deciding_scorers, **rest)

    def score(self, arms: Sequence[Arm], asked: Asked, **rest: Any) -> Scorecard:
        """The whole scorecard, with floors; what a reader must know about the metrics is among its diagnostics."""
        data, metric, judge = self.data, self.config.policy.metric, self.config.eval.judge
        floors = measure_floors(data.examples, asked.questions, self.embedder.embed, self.deciding_scorers, metric)
        scorecard = self._build(arms, asked, self.scorers, floors=floors, **rest)
        notes = []
        if judge is not None:
            notes.append(judge_standing(judge.model, self._certificate)[1])
        if unused := unused_kinds(metric, asked.questions):
            notes.append(f"policy.metric names kinds that no question has: {', '.join(unused)}")
        return replace(
            scorecard,
            diagnostics=(*notes, *data.notes, *scorecard.diagnostics),
        )

    def _build(self, arms: Sequence[Arm], asked: Asked, scorers: Sequence[Scorer], **rest: Any) -> Scorecard:
        primary, given = self.config.policy.metric, self.data.documents_given
        card = build_scorecard(arms, asked, scorers, primary=primary, documents_given=given, **rest)
        if not self._labels:
            return card
        found = [(scores, self._labels.get(scores.arm.name, {})) for scores in card.arms]
        labelled = (replace(scores, labels=tuple(map(labels.get, card.question_ids))) for scores, labels in found)
        return replace(card, arms=tuple(labelled), labelled=METRIC)

    def _is_document(self, name: str) -> bool:
        # Passages of another index, such as the few-shot examples, cannot be right or wrong about the documents.
        return self.documents is not None and bool(self.documents.chunks_of(name))

    def _reference_contexts(self, question: Question, record: AnswerRecord) -> tuple[str, ...]:
        if self.documents is None or not any(map(self._is_document, record.passage_documents)):
            return ()
        chunks = [chunk.text for name in question.document_ids for chunk in self.documents.chunks_of(name)]
        # Of a long document only the chunks that hold the answer are wanted; where none does, all of them are.
        golden = [text for text in chunks if any(answer.lower() in text.lower() for answer in question.answers)]
        return tuple(golden or chunks)
