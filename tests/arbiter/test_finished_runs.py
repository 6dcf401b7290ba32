"""Which run of a config is found, and what is said where there is none."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.teams import answering, pipeline_of, remote, write_folder

from arbiter.finished_runs import last_run
from storage.errors import ArbiterError


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with answering() as address:
        yield address


@pytest.mark.slow
def test_without_a_run_of_the_config_those_that_are_there_and_their_keys_are_named(tmp_path: Path, url: str) -> None:
    folder, home = write_folder(tmp_path / "team"), tmp_path / "home"
    made, _ = pipeline_of(folder, home, *remote(url), "limits.questions=5", "seed=3")
    run = made.evaluate()
    with pytest.raises(ArbiterError) as caught:
        last_run(pipeline_of(folder, home, *remote(url))[0].config, home)
    assert f"; there is {run.id} with limits.questions=5 seed=3: give the same keys, or make one with" in str(
        caught.value
    )
    same = ("limits.questions=5", "seed=3", "policy.metric=contains")
    with pytest.raises(ArbiterError, match=rf"there is {run.id} with policy\.metric=token_f1: give the same keys"):
        last_run(pipeline_of(folder, home, *remote(url), *same)[0].config, home)
    gone, _ = pipeline_of(folder, home, *remote(url), f"data={tmp_path / 'none'}")
    with pytest.raises(ArbiterError, match=r"no data folder '.*none'"):
        last_run(gone.config, home)


@pytest.mark.slow
def test_a_damaged_run_is_not_named(tmp_path: Path, url: str) -> None:
    folder, home = write_folder(tmp_path / "team"), tmp_path / "home"
    run = pipeline_of(folder, home, *remote(url), "seed=3")[0].evaluate()
    (run.directory / "config.yaml").write_text("data: [torn")
    with pytest.raises(ArbiterError, match=r"no finished run of this config in '.*'; make one with"):
        last_run(pipeline_of(folder, home, *remote(url))[0].config, home)
