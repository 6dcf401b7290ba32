"""`arbiter judge certify` without the command line: a config, files of labels, a judge on a real HTTP server."""

import dataclasses
import io
import json
from pathlib import Path

import pytest
from fakes.judges import first_lover, serve_judge

from arbiter.config.schema import Config
from arbiter.console import Console
from arbiter.judge import certificate_text, certify_judge
from eval.errors import EvalError
from eval.judge.certificate import find_certificate
from storage.errors import ArbiterError


def config_of(url: str | None) -> Config:
    judge = {"url": url, "model": "judge", "timeout_s": 5} if url else None
    prices = {"prompt": 1.0, "generated": 2.0}
    return Config.model_validate({"data": "data", "eval": {"judge": judge}, "policy": {"prices": prices}})


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    rows = [
        {
            "question": f"Number {i}?",
            "response": f"It is {'yes' if i % 2 else 'no'}.",
            "reference": "yes",
            "label": i % 2,
            "arm": "rag" if i < 36 else "base",
        }
        for i in range(40)
    ]
    return write(tmp_path / "labels.jsonl", *rows)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rows = [{"prompt": f"Say {i}.", "chosen": "good" + "." * (i % 5), "rejected": "bad..."} for i in range(24)]
    return write(tmp_path / "pairs.jsonl", *rows)


def quiet() -> tuple[Console, io.StringIO]:
    err = io.StringIO()
    return Console(stderr=err, stdout=io.StringIO()), err


@pytest.mark.slow
def test_an_honest_judge_gets_a_certificate_that_is_found_and_shown(tmp_path: Path, labels: Path, pairs: Path) -> None:
    console, err = quiet()
    with serve_judge() as judge:
        found = certify_judge(
            config_of(judge.url),
            labels,
            pairs=pairs,
            repeats=2,
            home=tmp_path / "home",
            console=console,
        )
    assert found.is_certified
    assert find_certificate(tmp_path / "home", judge.url, "judge") == found
    assert "certifying the judge 'judge'" in err.getvalue()
    shown = certificate_text(found)
    assert shown.splitlines()[0] == f"judge judge at {judge.url}: certified"
    for part in (
        "1.00 (0.91 to 1.00) on 40 labelled answers",
        "Cohen's kappa        1.00",
        "covers               judge_correctness of rag\n",  # four answers of base are too few
        "lenient with rag     0.00 (",
        "of 30 rows change their verdict",
        "no usable verdict    0.0% of 118 asks",  # 40 answers, 30 of them again, 24 pairs in two orders
        "order decides        0.00 (0.00 to 0.14) of 24 pairs",
        "100 prompt and 10 generated tokens, 0.12 for 1,000; median 0.",
    ):
        assert part in shown
    assert "fails" not in shown
    assert all(line == line.rstrip() for line in shown.splitlines())


def test_labels_that_are_too_few_for_any_judge_cost_no_ask(tmp_path: Path, labels: Path) -> None:
    with serve_judge() as judge:
        config = config_of(judge.url)
        with pytest.raises(ArbiterError, match="24 labelled answers are too few; 30 are needed; raise --limit from"):
            certify_judge(config, labels, limit=24, home=tmp_path, console=quiet()[0])
        row = {"question": "q", "response": "r", "reference": "g", "label": 1}
        alike = write(tmp_path / "alike.jsonl", *({**row, "question": f"q{i}"} for i in range(40)))
        with pytest.raises(ArbiterError, match=r"40 are right and 0 wrong; agreement needs 5 of each; label more"):
            certify_judge(config, alike, home=tmp_path, console=quiet()[0])
        assert judge.requests == []


@pytest.mark.slow
def test_a_biased_judge_keeps_its_certificate_that_says_why_it_fails(tmp_path: Path, labels: Path, pairs: Path) -> None:
    with serve_judge(reply=first_lover) as judge:
        found = certify_judge(config_of(judge.url), labels, pairs=pairs, repeats=1, home=tmp_path, console=quiet()[0])
    assert find_certificate(tmp_path, judge.url, "judge") == found
    shown = certificate_text(found)
    assert "NOT certified: its metrics are diagnostics" in shown.splitlines()[0]
    assert "  fails: position bias: for 100% of 24 pairs the winner depends on the order" in shown


@pytest.mark.slow
def test_what_was_not_measured_stands_in_the_table(tmp_path: Path, labels: Path) -> None:
    with serve_judge() as judge:
        found = certify_judge(config_of(judge.url), labels, repeats=1, limit=30, home=tmp_path, console=quiet()[0])
        assert len(judge.requests) == 30
    shown = certificate_text(found)
    assert shown.count("not measured: it takes 20 labelled pairs judged in both orders") == 2
    # Nothing in it may break the table of a judge that said nothing at all.
    mute = dataclasses.replace(
        found,
        agreement=None,
        calls=dataclasses.replace(found.calls, failures={"no JSON": 30}, price=None),
    )
    assert "no usable verdict    100.0% of 30 asks (30 no JSON)" in certificate_text(mute)
    assert "tokens unknown" in certificate_text(mute)


@pytest.mark.slow
def test_faults_end_before_anything_is_asked(tmp_path: Path, labels: Path) -> None:
    console, _ = quiet()
    with pytest.raises(ArbiterError, match=r"add eval\.judge"):
        certify_judge(config_of(None), labels, home=tmp_path, console=console)
    config = config_of("http://127.0.0.1:9/v1")
    with pytest.raises(ArbiterError, match="at least 1"):
        certify_judge(config, labels, repeats=0, home=tmp_path, console=console)
    with pytest.raises(EvalError, match="1 faulty rows"):
        certify_judge(config, write(tmp_path / "bad.jsonl", {"question": "q"}), home=tmp_path, console=console)
    with pytest.raises(EvalError, match="cannot be reached"):
        certify_judge(config, labels, home=tmp_path, console=console)
    assert find_certificate(tmp_path, "http://127.0.0.1:9/v1", "judge") is None
