from pathlib import Path

import pytest
from fakes.teams import write_folder

from arbiter.data import load_data
from arbiter.data_stage.planting import plant
from eval.gates.canaries import CANARIES
from eval.gates.gate import Material
from storage.errors import ArbiterError
from tests.arbiter.data_stage.conftest import ROWS, Jobs


def test_planted_rows_stand_beside_the_others_and_the_gate_finds_them(jobs: Jobs, tmp_path: Path) -> None:
    text, shown = plant(jobs(), rows=5, times=3)
    assert shown["rows_out"] == {"train": len(ROWS) + 15}
    assert "5 rows were planted, each 3 times" in text
    examples = load_data(tmp_path / "made").examples
    assert [row.id for row in examples[: len(ROWS)]] == [row["id"] for row in ROWS]
    assert len(CANARIES.probes(Material(examples=examples))) == 5


def test_the_seed_draws_the_rows(jobs: Jobs, tmp_path: Path) -> None:
    for target, seed in (("a", 1), ("b", 1), ("c", 2)):
        plant(jobs(f"seed={seed}", target=target), rows=2, times=1)
    a, b, c = ((tmp_path / name / "train.jsonl").read_text() for name in "abc")
    assert a == b != c


def test_rows_that_are_split_later_are_refused(jobs: Jobs, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pool", train=ROWS, test=None)
    with pytest.raises(ArbiterError, match="planted rows would be asked, too; first: arbiter data split"):
        plant(jobs(source=folder), rows=2, times=1)


def test_rows_are_planted_once(jobs: Jobs, tmp_path: Path) -> None:
    plant(jobs(), rows=2, times=1)
    with pytest.raises(ArbiterError, match="has planted rows already"):
        plant(jobs(source=tmp_path / "made", target="again"), rows=2, times=1)
