"""What a training told, or the manifest of its adapter, as a table and as metrics."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.adapters import ADAPTER

from serving.fine_tuning.results import results_of
from tuning.export.adapters import Adapter
from tuning.look import Look, Published


@pytest.fixture
def adapter(tmp_path: Path) -> Adapter:
    (tmp_path / "manifest.json").write_text(json.dumps({"loss_curve": [2.0, 1.0, 0.5]}))
    return replace(ADAPTER, path=tmp_path)


def test_every_step_is_a_line(adapter: Adapter) -> None:
    found = results_of(adapter, [])
    assert found.csv == "step,train_loss,valid_loss,valid_exact_match\n1,2.0,,\n2,1.0,,\n3,0.5,,\n"
    assert (found.step, found.metrics) == (3, {"step": 3, "train_loss": 0.5})


def test_looks_are_there_too_the_base_models_first(adapter: Adapter) -> None:
    looks = (Look(0, 0.0, 4.0), Look(2, 0.75, 0.9), Look(3, 0.5, None))
    found = results_of(replace(adapter, looks=looks, published=Published((2,), 0.75, 0.9)), [])
    assert found.csv.splitlines()[1:] == ["0,,4.0,0.0", "1,2.0,,", "2,1.0,0.9,0.75", "3,0.5,,0.5"]
    # The weights that are published are those after the second step.
    assert found.step == 2
    assert found.metrics == {"step": 2, "train_loss": 1.0, "valid_loss": 0.9, "valid_exact_match": 0.75}


def test_what_was_told_goes_before_the_manifest_of_the_same_weights(adapter: Adapter) -> None:
    first, second = {"step": 0, "valid_loss": 4.0, "valid_exact_match": 0.0}, {"step": 2, "valid_loss": 3.0}
    told = [
        {"step": 1, "train_loss": 9.0, "looks": [first]},
        {"step": 2, "train_loss": 8.0, "looks": [second]},
        # Gone through again after a stop.
        {"step": 2, "train_loss": 8.0, "looks": [first, second]},
    ]
    found = results_of(adapter, told)
    assert found.csv.splitlines()[1:] == ["0,,4.0,0.0", "1,9.0,,", "2,8.0,3.0,"]
    assert (found.step, found.metrics) == (2, {"step": 2, "train_loss": 8.0, "valid_loss": 3.0})
