"""What is decided of a finished run, and the command that makes it again; nothing is trained."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.teams import TEST, answering, pipeline_of, remote, write_folder

from arbiter.config.loading import load_config
from arbiter.data import Data
from arbiter.deciding import decide, race_reason, stale_reason
from arbiter.finished_runs import last_run
from arbiter.pipeline import Pipeline
from eval.runs.run import Run
from storage.errors import ArbiterError

# They evaluate, over HTTP.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with answering() as address:
        yield address


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, url: str) -> tuple[Pipeline, Run]:
    """A pipeline over a folder, and its run."""
    place = tmp_path_factory.mktemp("made")
    pipeline, _ = pipeline_of(write_folder(place / "team"), place / "home", *remote(url))
    return pipeline, pipeline.evaluate()


def test_another_policy_decides_by_the_race_of_the_first_and_says_that_it_may_lack_answers(
    tmp_path: Path, url: str
) -> None:
    folder, home = write_folder(tmp_path / "team"), tmp_path / "home"
    first, _ = pipeline_of(folder, home, *remote(url))
    run = first.evaluate()
    assert run.scorecard().race is not None
    other, _ = pipeline_of(folder, home, *remote(url), "policy.margin=0.2")
    found = last_run(other.config, home)
    other.decide(found)
    reason = f"run {run.id!r} was raced by another policy; to ask what this one needs, run: arbiter run CONFIG"
    assert (found.id, race_reason(found, other.config), race_reason(run, first.config)) == (run.id, reason, None)
    assert reason in json.dumps(found.card(), ensure_ascii=False)
    again = other.evaluate()
    assert (race_reason(again, other.config), last_run(other.config, home).id) == (None, again.id)
    assert last_run(first.config, home).id == run.id
    whole, _ = pipeline_of(folder, home, *remote(url), "race=null")
    with pytest.raises(ArbiterError, match=r" with 'race=\{\}': give the same keys"):
        last_run(whole.config, home)
    assert whole.evaluate().scorecard().race is None


def test_a_run_whose_data_has_changed_or_is_gone_is_decided_with_a_warning(
    made: tuple[Pipeline, Run], tmp_path: Path, url: str
) -> None:
    pipeline, run = made
    assert stale_reason(run, pipeline.read) is None
    folder = write_folder(tmp_path / "team", test=TEST[:-1])
    changed, _ = pipeline_of(folder, pipeline.home, *remote(url))
    reason = stale_reason(run, changed.read)
    assert reason == f"the data in {str(folder)!r} has changed since run {run.id!r}; run: arbiter run CONFIG"
    assert changed.decide(run).arm == pipeline.decide(run).arm
    assert reason not in json.dumps(run.card(), ensure_ascii=False)
    changed.decide(run)
    assert reason in json.dumps(run.card(), ensure_ascii=False)

    def gone(*, needs_dev: bool = False) -> Data:
        raise ArbiterError(f"no data ({needs_dev})")

    assert stale_reason(run, gone) == f"the data of run {run.id!r} cannot be read any more (no data (False))"


def test_a_run_for_another_metric_is_not_decided(made: tuple[Pipeline, Run], url: str) -> None:
    pipeline, run = made
    other = load_config(pipeline.config.data, [*remote(url), "policy.metric=contains"], {})
    with pytest.raises(ArbiterError, match="was made to decide by 'token_f1', not 'contains'; run: arbiter evaluate"):
        decide(run, other, home=pipeline.home, read=pipeline.read)


@pytest.mark.parametrize("is_usual_home", [True, False])
def test_a_run_from_python_names_a_command_that_makes_it_again(
    is_usual_home: bool, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, home = write_folder(tmp_path / "the team"), tmp_path / "the home"
    monkeypatch.setenv("ARBITER_HOME", str(home if is_usual_home else tmp_path))
    pipeline, _ = pipeline_of(folder, home, *remote(url), "seed=3", "race=null", "policy.margin=0.2")
    run = pipeline.evaluate()
    pipeline.decide(run)
    assert run.card()["command"] == run.manifest["command"]
    *environment, program, verb, path = shlex.split(run.manifest["command"])
    assert (program, verb) == ("arbiter", "run")
    assert environment == ([] if is_usual_home else [f"ARBITER_HOME={home}"])
    assert load_config(path, [], {}) == pipeline.config
    named = replace(pipeline, command="arbiter run it")
    assert named.evaluate().manifest["command"] == run.manifest["command"], "the run is there already"
