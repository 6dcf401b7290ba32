"""Every metric there is, by name, and the scorers that need no judge.

check_declared(policy_metric, all_metric_names(load_user_metrics(built_in_names())))
scorers = plain_scorers(questions, examples, is_document)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from eval.metrics.abstention import ABSTENTION_SCORER
from eval.metrics.json import JSON_SCORER
from eval.metrics.labels import label_scorer, label_sets
from eval.metrics.primary import PRIMARY
from eval.metrics.ragas import JUDGE_METRICS, REFERENCE_METRICS
from eval.metrics.sources import source_scorer
from eval.metrics.text import TEXT_SCORER
from eval.questions import Question
from eval.scorer import Scorer
from tuning.data.examples import Example


def plain_metric_names() -> tuple[str, ...]:
    """Metrics that are pure functions of the question, the answer and its sources, in the order of the scorers."""
    return tuple(name for scorer in plain_scorers([]) for name in scorer.names)


def built_in_names() -> tuple[str, ...]:
    """All names that a user's metric cannot have: every metric of the project, and the gathered column."""
    return (*plain_metric_names(), *REFERENCE_METRICS, *JUDGE_METRICS, PRIMARY)


def all_metric_names(user_metrics: Iterable[str] = (), *, has_judge: bool = False) -> tuple[str, ...]:
    """The metrics that policy.metric may name; `abstained` only describes an answer and is not among them."""
    judged = JUDGE_METRICS if has_judge else ()
    plain = (name for name in plain_metric_names() if name != "abstained")
    return (*plain, *REFERENCE_METRICS, *judged, *user_metrics)


def plain_scorers(
    questions: Sequence[Question],
    examples: Sequence[Example] = (),
    is_document: Callable[[str], bool] | None = None,
) -> list[Scorer]:
    """The scorers of `plain_metric_names`.

    `questions` are all questions of the run, whichever part of them is scored at a time: with the training rows they
    say what the labels are. `is_document(id)` tells documents from worked examples.
    """
    labels, sources = label_scorer(label_sets(questions, examples)), source_scorer(is_document)
    return [TEXT_SCORER, labels, JSON_SCORER, ABSTENTION_SCORER, sources]
