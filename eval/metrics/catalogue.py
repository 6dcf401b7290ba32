"""Every metric there is, by name, the scorers that need no judge, and which metric decides: one for all questions, or
one for each kind of question, gathered in the column `primary`.

check_declared(policy_metric, all_metric_names(load_user_metrics(built_in_names())))
scorers = plain_scorers(label_sets(questions, examples), is_document)
column, metric_of = primary_column(questions, columns, {"default": "token_f1", "format": "exact_match"})
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from eval.answers import AnswerRecord
from eval.errors import EvalError
from eval.metrics.abstention import ABSTENTION_SCORER
from eval.metrics.json import JSON_SCORER
from eval.metrics.labels import MAX_LABELS, MIN_USES, Labels, kind_of, label_scorer
from eval.metrics.ragas import JUDGE_METRICS, REFERENCE_METRICS
from eval.metrics.text import TEXT_SCORER
from eval.questions import Question
from eval.scorer import Scorer
from router.deciding.scorecard import Score
from storage.errors import did_you_mean

# The column that decides when kinds of questions have metrics of their own.
PRIMARY = "primary"
# The key that holds for kinds without a metric of their own.
DEFAULT = "default"

_JSON = "no gold answer is a JSON object or array"
# What a question must have to be scored by a metric.
_WANTS = {
    "label_accuracy": f"labels are 2 to {MAX_LABELS} different answers, each given {MIN_USES} times on average",
    **dict.fromkeys(JSON_SCORER.names, _JSON),
}

# A metric's name, or kinds of questions (`metadata["kind"]`) to metrics with the key "default".
Declared = str | Mapping[str, str]


def plain_metric_names() -> tuple[str, ...]:
    """Metrics that are pure functions of the question, the answer and its sources, in the order of the scorers."""
    return tuple(name for scorer in plain_scorers({}) for name in scorer.names)


def built_in_names() -> tuple[str, ...]:
    """All names that a user's metric cannot have: every metric of the project, and the gathered column."""
    return (*plain_metric_names(), *REFERENCE_METRICS, *JUDGE_METRICS, PRIMARY)


def all_metric_names(user_metrics: Iterable[str] = (), *, has_judge: bool = False) -> tuple[str, ...]:
    """The metrics that policy.metric may name; `abstained` only describes an answer and is not among them."""
    judged = JUDGE_METRICS if has_judge else ()
    plain = (name for name in plain_metric_names() if name != "abstained")
    return (*plain, *REFERENCE_METRICS, *judged, *user_metrics)


def plain_scorers(
    labels: Mapping[str | None, Labels], is_document: Callable[[str], bool] | None = None
) -> list[Scorer]:
    """The scorers of `plain_metric_names`.

    `labels` are those of all questions and training rows there are, whichever of them are scored.
    `is_document(id)` tells documents from worked examples.
    """
    return [*_text_scorers(labels), source_scorer(is_document)]


def check_scorable(metric: Declared, questions: Sequence[Question], labels: Mapping[str | None, Labels]) -> None:
    """Raise EvalError when the metric that decides would score no answer to any of the questions, not even the gold
    one. Metrics that look at more than the answer's text are not checked.
    """
    scorers = _text_scorers(labels)
    names, of_text = metrics_of(metric), {name for scorer in scorers for name in scorer.names}
    if not questions or not of_text.issuperset(names):
        return

    def is_scored(question: Question) -> bool:
        gold = [(question, AnswerRecord("", question.id, question.answer))]
        columns = {name: column for scorer in scorers for name, column in scorer.score(gold).items()}
        return primary_column([question], columns, metric)[0] != [None]

    # Most are scored at the first question.
    if any(map(is_scored, questions)):
        return
    reasons = "; ".join(dict.fromkeys(_WANTS[name] for name in names if name in _WANTS))
    called = " and ".join(map(repr, names))
    raise EvalError(
        f"policy.metric {called} scores none of the {len(questions)} questions: {reasons}; choose a metric that fits "
        "their answers, such as exact_match or token_f1"
    )


def _text_scorers(labels: Mapping[str | None, Labels]) -> list[Scorer]:
    return [TEXT_SCORER, label_scorer(labels), JSON_SCORER, ABSTENTION_SCORER]


def source_scorer(is_document: Callable[[str], bool] | None = None) -> Scorer:
    """Set precision and recall over document ids.

    `retrieval_recall` is the share of the gold documents among the retrieved ones (recall@k at the arm's own k),
    `citation_recall` their share among the cited ones, `citation_precision` the share of cited documents that are gold
    (as ALCE's citation quality, Gao et al. 2023, with gold documents in the place of its entailment model).

    Unscored where the answer failed, where no gold document is known, where the answer rests on no documents (nothing
    was retrieved, or worked examples were), and precision where nothing is cited. `is_document(id)` says whether an id
    is one of the documents; without it every retrieved id is.
    """

    def score(question: Question, record: AnswerRecord) -> tuple[float | None, ...]:
        gold, cited = set(question.document_ids), set(record.cited_documents)
        retrieved = {name for name in record.passage_documents if is_document is None or is_document(name)}
        if not gold or not retrieved:
            return None, None, None
        return (
            len(cited & gold) / len(cited) if cited else None,
            len(cited & gold) / len(gold),
            len(retrieved & gold) / len(gold),
        )

    names = ("citation_precision", "citation_recall", "retrieval_recall")
    return Scorer(names, score, when_failed=[None] * len(names))


def metrics_of(declared: Declared) -> tuple[str, ...]:
    """The metrics that are declared, each once."""
    return (declared,) if isinstance(declared, str) else tuple(dict.fromkeys(declared.values()))


def check_declared(declared: Declared, known: Collection[str]) -> None:
    """Raise EvalError, before anything is asked, for a metric that does not exist or a mapping without "default"."""
    unknown = [name for name in metrics_of(declared) if name not in known]
    if unknown:
        listed = ", ".join(repr(name) for name in unknown)
        hint = did_you_mean(unknown[0], known)
        raise EvalError(f"no metric {listed} for policy.metric{hint}; choose one of: {', '.join(known)}")
    if not isinstance(declared, str) and DEFAULT not in declared:
        raise EvalError(f"policy.metric maps {', '.join(declared) or 'nothing'} and has no {DEFAULT!r}; add that key")


def unused_kinds(declared: Declared, questions: Sequence[Question]) -> tuple[str, ...]:
    """Kinds with a metric of their own that no question has: a misspelt kind, or one that was sampled away."""
    if isinstance(declared, str):
        return ()
    kinds = {kind_of(question) for question in questions}
    return tuple(kind for kind in declared if kind != DEFAULT and kind not in kinds)


def primary_column(
    questions: Sequence[Question], columns: Mapping[str, Sequence[Score]], declared: Declared
) -> tuple[list[Score], dict[str, str]]:
    """Per row the score by the metric of its question's kind, and the metric of each kind, "default" included.

    `questions[i]` is the question of row i of every column. One metric for all gives its own column and no kinds.
    Raises EvalError for metrics that are not among the columns and for a mapping without "default".
    """
    check_declared(declared, columns)
    if isinstance(declared, str):
        return list(columns[declared]), {}
    chosen = [declared.get(kind_of(question) or DEFAULT, declared[DEFAULT]) for question in questions]
    return [columns[metric][row] for row, metric in enumerate(chosen)], dict(declared)
