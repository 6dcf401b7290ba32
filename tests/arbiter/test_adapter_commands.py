"""`arbiter merge` and `arbiter export` over a data directory with adapters of the tiny base."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from fakes.loras import published

from arbiter.adapter_commands import export, merge
from arbiter.cli.main import main
from arbiter.console import Console
from arbiter.models import resolve_model
from storage.errors import ArbiterError
from storage.folders import read_manifest
from tuning.exchange.settings import ExportSettings
from tuning.export.adapters import Adapter, load_adapter
from tuning.merging.settings import MergeSettings

# It imports torch and peft.
pytestmark = pytest.mark.slow

ROW = {"id": "t1", "question": "what is sea", "answers": ["blue"]}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARBITER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def parents(home: Path, tiny_base: Path) -> list[Adapter]:
    data = home.parent / "data"
    data.mkdir()
    (data / "train.jsonl").write_text(json.dumps(ROW) + "\n")
    base = resolve_model(str(tiny_base), home=home)
    return [
        published(tiny_base, home / "adapters", "raft", seed=1, model=base, manifest_provenance={"data": str(data)}),
        published(tiny_base, home / "adapters", "style", seed=2, model=base),
    ]


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["arbiter", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_merge_and_an_export_on_the_command_line(
    parents: list[Adapter], home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "merge", "both", "raft:0.5", f"{parents[1].name}:-0.25", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    made = load_adapter(Path(row["path"]))
    assert (made.name, made.rank, row["rank"]) == (row["name"], 8, 8)
    assert [(one["name"], one["weight"]) for one in row["merge"]["parents"]] == [
        (parents[0].name, 0.5),
        (parents[1].name, -0.25),
    ]
    out = home.parent / "out"
    assert run(monkeypatch, "export", "both", "--to", out, "--as", "safetensors", "--dtype", "bfloat16") == 0
    assert f"{made.name} as safetensors: logits on 1 training rows differ by" in capsys.readouterr().out
    assert read_manifest(out)["adapter"] == made.name


def test_the_logits_are_compared_on_training_rows_where_they_are_there(parents: list[Adapter], home: Path) -> None:
    text, _ = merge(["raft", "style"], "both", MergeSettings(how="svd"), home=home, console=Console())
    assert "compared on 1 training rows: logits differ by" in text
    assert "1 x raft@" in text
    assert "it loses" in text
    text, _ = export("both", home.parent / "out", ExportSettings(format="peft"), home=home, console=Console())
    assert "as peft: logits on 1 training rows differ by 0, training moved them by" in text, "those of its parents"
    (home.parent / "data" / "train.jsonl").write_text("no row\n")
    text, _ = merge(["raft"], "raft-half", MergeSettings(), home=home, console=Console())
    assert "compared on 3 prompts (the training rows are gone): logits differ by" in text
    assert "the sum is exact" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gone"], "no adapter 'gone' here; there is raft@"),
        (["raft:much"], "'raft:much': the weight must be a number, not 'much'; write ADAPTER:0.5"),
        (["raft:0"], "must be a number other than 0"),
    ],
)
def test_words_that_are_no_parents_are_refused(words: list[str], said: str, parents: list[Adapter], home: Path) -> None:
    with pytest.raises(ArbiterError, match=said):
        merge(words, "both", MergeSettings(), home=home, console=Console())


def test_an_export_of_nothing_is_one_line(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "export", "raft", "--to", home / "out") == 2
    assert capsys.readouterr().err == "error: no adapter 'raft' here; there is none\n"
    assert run(monkeypatch, "export", "raft", "--to", home / "out", "--as", "peft", "--dtype", "float16") == 2
    assert "dtype (float16) must be left open with peft" in capsys.readouterr().err
    with pytest.raises(ArbiterError, match="no adapter"):
        export("raft", home / "out", ExportSettings(), home=home, console=Console())
