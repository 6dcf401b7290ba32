"""The record of a set of adapters by topic."""

import shutil
from pathlib import Path

import pytest
from fakes.embedders import WordEmbedder
from fakes.topics import write_set

from storage.folders import read_manifest
from tuning.base import ResolvedModel
from tuning.errors import TuningError
from tuning.exchange.export import export_adapter
from tuning.exchange.settings import ExportSettings
from tuning.export.adapters import find_adapter, is_there, load_adapter, open_adapter

BASE = ResolvedModel("org/base", "r1", "nowhere")


def test_a_set_is_an_adapter_that_sums_up_its_members(tmp_path: Path) -> None:
    made = write_set(tmp_path, WordEmbedder(), {"tide": 3, "loan": 4})
    again = load_adapter(made.path)
    assert made == again == open_adapter(tmp_path / "adapters", "memory")
    assert made == find_adapter(tmp_path / "adapters", "memory", "d1")
    assert (made.form, made.has_own_engine, made.rank, made.num_rows, made.training_s) == ("topics", False, 8, 7, 5.0)
    assert [part.name.partition("@")[0] for part in made.parts] == ["memory-tide", "memory-loan"]
    assert made.num_bytes > sum(member.num_bytes for member in made.members)
    assert made.topics is not None
    assert [topic.adapter for topic in made.topics.topics] == [member.name for member in made.members]
    card = (made.path / "README.md").read_text()
    assert f"one of `{made.members[0].name}` (3 rows), `{made.members[1].name}` (4 rows)" in card
    assert "farther from all of them than a cosine of 0.2" in card


def test_what_a_set_answers_by_is_in_its_name(tmp_path: Path) -> None:
    names = {
        write_set(tmp_path / str(place), WordEmbedder(embedder), {"tide": 3, "loan": 4}, threshold=threshold).name
        for place, (embedder, threshold) in enumerate([("a@1", 0.2), ("a@2", 0.2), ("a@1", 0.3)])
    }
    assert len(names) == 3


def test_a_set_whose_member_is_gone_is_refused(tmp_path: Path) -> None:
    made = write_set(tmp_path, WordEmbedder(), {"tide": 3, "loan": 4})
    assert is_there(made.path)
    shutil.rmtree(made.members[1].path)
    assert not is_there(made.path)
    with pytest.raises(TuningError, match=rf"is a set, and {made.members[1].name} of it is gone; run its config again"):
        load_adapter(made.path)


def test_a_changed_record_is_refused(tmp_path: Path) -> None:
    made = write_set(tmp_path, WordEmbedder(), {"tide": 3, "loan": 4})
    file = made.path / "topics.json"
    file.write_text(file.read_text().replace("0.2", "0.1", 1))
    with pytest.raises(TuningError, match=r"topics\.json changed or gone"):
        load_adapter(made.path)


def test_a_set_is_exported_by_its_members_alone(tmp_path: Path) -> None:
    made = write_set(tmp_path, WordEmbedder(), {"tide": 3, "loan": 4})
    with pytest.raises(TuningError, match=rf"is a set, .* export one of {made.members[0].name}"):
        export_adapter(made, BASE, tmp_path / "out", ExportSettings(format="peft"), [])


def test_energy_is_unknown_where_that_of_a_member_is(tmp_path: Path) -> None:
    manifest = read_manifest(write_set(tmp_path, WordEmbedder(), {"tide": 3, "loan": 4}).path)
    assert manifest["energy"]["joules"] is None
    assert manifest["grouping"] == {"count": 8, "least_rows": 8, "threshold": 0.2}
