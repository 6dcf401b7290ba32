import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from fakes.comparison import make_comparison

from arbiter.config.loading import load_config
from arbiter.console import Console
from arbiter.pipeline import Pipeline
from arbiter.served_runs import served_decision
from eval.errors import EvalError
from eval.runs.run import Run, publish_run
from serving.decisions.ledger import Ledger, record_run
from storage.database import open_database
from storage.errors import ArbiterError


class Home:
    """A data directory, a config, and what a server of it would say."""

    def __init__(self, root: Path) -> None:
        self.path = root / "home"
        config = root / "lake.yaml"
        config.write_text(yaml.safe_dump({"data": str(root / "lake")}))
        self.said = io.StringIO()
        self.console = Console(stderr=self.said)
        self.pipeline = Pipeline(load_config(config, [], {}), home=self.path, console=self.console)
        self.ledger = Ledger(open_database(self.path))

    def run(self, number: int, *, is_decided: bool = True) -> Run:
        comparison = make_comparison()
        run = publish_run(
            self.path / "runs" / f"lake-0a0b0c-{number:08d}",
            config_yaml="data: lake\n",
            questions=comparison.questions,
            records=comparison.records,
            scorecard=replace(comparison.scorecard, provenance={"model": "org/base r1"}),
            manifest={"config_fingerprint": self.pipeline.config.fingerprint(), "data_version": f"d{number}"},
        )
        if is_decided:
            row = {
                "arm": "rag",
                "verdict": "winner",
                "confidence": 0.9,
                "margin": 0.1,
                "runner_up": "base",
                "reason": "it leads",
                "policy": {},
                "decided_at": number,
            }
            (run.directory / "decision.json").write_text(json.dumps(row))
        return run

    def served(self) -> str:
        return served_decision(self.ledger, self.pipeline.config, self.path, self.console).run_id


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_a_config_without_a_run_or_a_decision_says_what_to_do(home: Home) -> None:
    with pytest.raises(ArbiterError, match="no finished run of this config"):
        home.served()
    home.run(1, is_decided=False)
    with pytest.raises(EvalError, match="has no decision yet"):
        home.served()


def test_a_run_that_was_decided_without_a_ledger_is_taken_in(home: Home) -> None:
    run = home.run(1)
    assert home.served() == run.id
    assert home.ledger.newest(home.pipeline.config.fingerprint()) is not None


def test_the_newest_decision_is_served_until_one_is_promoted(home: Home) -> None:
    first, second = (record_run(home.ledger, home.run(number)) for number in (1, 2))
    assert home.served() == second.run_id
    home.ledger.promote(first.id)
    assert home.served() == first.run_id
    assert f"the newest is {second.id}" in home.said.getvalue()
    home.ledger.rollback(first.scope)
    assert home.served() == second.run_id


def test_a_server_started_from_another_folder_finds_the_run(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = home.run(1)
    (tmp_path / "lake.yaml").write_text("data: lake\n")
    (tmp_path / "elsewhere").mkdir()
    for folder, path in ((tmp_path, "lake.yaml"), (tmp_path / "elsewhere", "../lake.yaml")):
        monkeypatch.chdir(folder)
        home.pipeline = Pipeline(load_config(Path(path), [], {}), home=home.path, console=home.console)
        assert home.served() == run.id
