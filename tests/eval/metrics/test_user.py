from __future__ import annotations

import math
from pathlib import Path

import pytest

from eval.answers import AnswerRecord
from eval.errors import EvalError
from eval.metrics.user import UserMetric, load_user_metrics, user_scorer
from eval.questions import Question

QUESTION = Question("q1", "Who?", ("Ada",))
ANSWER = AnswerRecord("base", "q1", "Ada")


def installed(folder: Path, package: str, entries: str, code: str) -> None:
    """A package as an installer leaves it: a module, and metadata that names its entry points."""
    (folder / f"{package}.py").write_text(code)
    metadata = folder / f"{package}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[arbiter.metrics]\n{entries}\n")


def test_no_package_has_metrics_of_its_own() -> None:
    assert load_user_metrics(()) == {}


def test_a_package_brings_metrics_that_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "def brevity(question, record):\n    return 1 / max(1, len(record.text.split()))\n"
    installed(tmp_path, "brief_metrics", "brevity = brief_metrics:brevity", code)
    monkeypatch.syspath_prepend(tmp_path)
    metrics = load_user_metrics(("token_f1",))
    scorer = user_scorer(metrics)
    assert scorer.names == ("brevity",)
    assert scorer.score([(QUESTION, AnswerRecord("base", "q1", "It was Ada Lovelace"))]) == {"brevity": [0.25]}
    assert scorer.diagnostics() == ()


@pytest.mark.parametrize(
    ("entries", "code", "message"),
    [
        ("token_f1 = faulty:f", "def f(q, r): return 1", "'token_f1' of the package 'faulty' .* of a built-in metric"),
        (
            "kind = faulty:g",
            "def f(q, r): return 1",
            "'kind' of the package 'faulty' .* cannot be imported: AttributeE",
        ),
        ("kind = faulty:f", "import no_such_module", "cannot be imported: ModuleNotFoundError: .*no_such_module"),
        ("kind = faulty:f", "f = 3", "is no plain function of a question and an answer"),
        ("kind = faulty:f", "async def f(q, r): return 1", "is no plain function"),
    ],
)
def test_a_faulty_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: str, code: str, message: str
) -> None:
    name = f"faulty{abs(hash((entries, code)))}"  # a module is imported once a process
    installed(tmp_path, name, entries.replace("faulty", name), code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EvalError, match=message.replace("faulty", name)) as caught:
        load_user_metrics(("token_f1",))
    assert "\n" not in str(caught.value)


def test_two_packages_cannot_share_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, "first_metrics", "kindness = first_metrics:f", "def f(q, r): return 1")
    installed(tmp_path, "second_metrics", "kindness = second_metrics:f", "def f(q, r): return 1")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EvalError, match=r"'kindness' of the package 'second_metrics' .* a metric of 'first_metrics'"):
        load_user_metrics(())


def explode(question: Question, record: AnswerRecord) -> float:
    raise ZeroDivisionError("no\nwords")


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        (explode, "question 'q1': ZeroDivisionError: no words"),
        (lambda q, r: "0.5", "question 'q1': it returned '0.5', which is no number in [0, 1]"),
        (lambda q, r: math.nan, "it returned nan"),
        (lambda q, r: 85, "it returned 85"),
        (lambda q, r: -0.2, "it returned -0.2"),
        (lambda q, r: [1], "it returned [1]"),
        (lambda q, r: 10**400, "it returned 1000"),
    ],
)
def test_what_is_no_score_is_unscored_counted_and_explained(metric: UserMetric, reason: str) -> None:
    scorer = user_scorer({"own": metric, "fine": lambda q, r: True})
    scores = scorer.score([(QUESTION, ANSWER), (QUESTION, ANSWER)])
    assert scores == {"own": [None, None], "fine": [1.0, 1.0]}
    assert len(scorer.lost["own"]) == 2
    (line,) = scorer.diagnostics()
    assert line.startswith("own: the metric failed to score 2 answers; the first: ")
    assert reason in line
    assert len(line) < 300


def test_none_is_undefined_and_a_failed_answer_is_0_and_never_shown() -> None:
    shown: list[str] = []

    def own(question: Question, record: AnswerRecord) -> float | None:
        shown.append(record.text)
        return None

    scorer = user_scorer({"own": own})
    failed = AnswerRecord("base", "q1", "", error="the engine answered 500")
    assert scorer.score([(QUESTION, ANSWER), (QUESTION, failed)]) == {"own": [None, 0.0]}
    assert scorer.diagnostics() == ()
    assert shown == ["Ada"]


def test_rounding_is_clipped_and_diagnostics_are_those_of_the_last_score() -> None:
    values = iter([2.0, 1.0 + 1e-9])
    scorer = user_scorer({"own": lambda q, r: next(values)})
    assert scorer.score([(QUESTION, ANSWER)]) == {"own": [None]}
    assert scorer.score([(QUESTION, ANSWER)]) == {"own": [1.0]}
    assert scorer.diagnostics() == ()
