from pathlib import Path

import pytest

from arbiter.cli.methods import show_methods
from storage.errors import ArbiterError
from tuning.methods.registry import METHODS


def test_every_method_is_listed_with_what_it_serves(tmp_path: Path) -> None:
    text, found = show_methods(None, [], tmp_path)
    lines = text.splitlines()
    assert [row["method"] for row in found["methods"]] == list(METHODS)
    assert all(any(line.startswith(f"{name} ") for line in lines) for name in METHODS)
    # The embedded model is not converted in an empty home: without it there are no sizes.
    assert {row["bytes"] for row in found["methods"]} == {None}
    assert {row["method"]: row["served_rank"] for row in found["methods"]}["pissa"] == 32
    assert "for HuggingFaceTB/SmolLM2-135M-Instruct" in lines[-1]


def test_a_config_names_the_model_and_its_faults_are_said(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("data: .\nadapters: {raft: {method: magic}}\n")
    with pytest.raises(ArbiterError, match=r"method must be one of lora, rslora, .* not 'magic'"):
        show_methods(tmp_path / "x.yaml", [], tmp_path)
