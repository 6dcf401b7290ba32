from __future__ import annotations

from eval.answers import AnswerRecord
from eval.metrics.catalogue import all_metric_names, built_in_names, plain_metric_names, plain_scorers
from eval.metrics.ragas import JUDGE_METRICS
from eval.questions import Question


def test_the_plain_scorers_give_just_the_plain_metrics() -> None:
    question = Question("q", "Who?", ("Ada",))
    scorers = plain_scorers([question])
    assert tuple(name for scorer in scorers for name in scorer.names) == plain_metric_names()
    columns = {}
    for scorer in scorers:
        columns |= scorer.score([(question, AnswerRecord("base", "q", "Ada"))])
        assert scorer.diagnostics() == ()
    assert tuple(columns) == plain_metric_names()


def test_no_name_stands_for_two_metrics() -> None:
    assert len(set(built_in_names())) == len(built_in_names())
    assert "primary" in built_in_names()


def test_a_policy_may_name_every_metric_but_those_that_only_describe() -> None:
    names = all_metric_names(["own"])
    assert {"label_accuracy", "json_f1", "rouge_l", "semantic_similarity", "own"} <= set(names)
    assert "abstained" not in names
    assert not set(JUDGE_METRICS) & set(names)
    assert set(JUDGE_METRICS) <= set(all_metric_names(has_judge=True))
