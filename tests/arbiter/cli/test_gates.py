"""`arbiter gates` over a whole run without a model: which run is meant, and what is printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.teams import answering, remote, write_folder

from arbiter.cli.main import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with answering() as address:
        yield address


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARBITER_HOME", str(tmp_path / "home"))
    return write_folder(tmp_path / "team")


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["arbiter", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_run_is_measured_by_its_id_its_config_or_as_the_newest(
    folder: Path, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "run", folder, *remote(url), "--json") == 0
    directory = Path(json.loads(capsys.readouterr().out)["run"])
    shown = []
    for words in ([], [directory.name[:12]], [directory], [folder, *remote(url)]):
        assert run(monkeypatch, "gates", *words, "--arm", "rag", "--json") == 0
        shown.append(json.loads(capsys.readouterr().out))
    assert shown[0] == shown[1] == shown[2] == shown[3]
    assert (shown[0]["run"], shown[0]["arm"]) == (str(directory), "rag")
    verdicts = {one["gate"]: one["verdict"] for one in shown[0]["gates"]}
    assert (verdicts["forgetting"], verdicts["refusal"], verdicts["canaries"]) == ("pass", "no data", "pass")
    assert json.loads((directory / "gates.json").read_text())[0]["arm"] == "rag"
    # The gates stand in what a run shows from now on.
    assert run(monkeypatch, "decide", folder, *remote(url), "--json") == 0
    assert {one["arm"] for one in json.loads(capsys.readouterr().out)["gates"]} >= {"rag"}


def test_check_exits_1_where_a_gate_stands_against_the_promotion(
    folder: Path, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    required = "policy.gates.required=[refusal]"
    assert run(monkeypatch, "run", folder, *remote(url), required) == 0
    capsys.readouterr()
    assert run(monkeypatch, "gates", "--check") == 1
    out = capsys.readouterr().out
    assert "refusal (required)" in out
    assert "blocks promotion: required gate refusal has no data: mark questions" in out
    assert run(monkeypatch, "gates", folder, *remote(url), "policy.gates.claims=null", "--check") == 0
    assert "was decided by another policy, which a promotion goes by" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no finished run in '"),
        (["demo-9"], "no run 'demo-9'"),
        (["demo-9", "policy.alpha=0.1"], "'policy.alpha=0.1' is an override, which goes with a config"),
        (["policy.alpha=0.1"], "'policy.alpha=0.1' is an override, which goes with a config"),
        (["nowhere.yaml"], "no config file 'nowhere.yaml'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    words: list[str],
    message: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, "gates", *words) == 2
    err = capsys.readouterr().err.splitlines()
    assert message in err[-1]
    assert len(err) == 1
