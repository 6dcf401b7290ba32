from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.curves import measured

from arbiter.config.schema import Config
from arbiter.data import Data
from arbiter.kept_curves import Versions, find_curves, keep_curve
from eval.learning_curve import MeasuredCurve
from eval.questions import Question
from storage.errors import StorageError

VERSIONS = Versions(base="r1", embedder="org/embedder e1", engine="vllm float32 2048")


def config(**values: Any) -> Config:
    return Config.model_validate({"data": "x", **values})


def data(*examples: str) -> Data:
    rows = tuple(Question(text, text, ("yes",)) for text in examples)
    return Data(Path("x"), (), (), examples=rows, questions=(), dev=(Question("q", "Is it?", ("yes",)),))


ROWS = data("a", "b")


def found(home: Path, of: Config, given: Data = ROWS, versions: Versions = VERSIONS) -> list[MeasuredCurve]:
    return list(find_curves(home, of, lambda: given, name=given.name, versions=versions))


def test_what_is_kept_is_found_by_the_same_config_and_data(tmp_path: Path) -> None:
    curve, other = measured(), replace(measured((4, 5, 6)), arm="hybrid")
    assert found(tmp_path, config()) == []
    path = keep_curve(tmp_path, config(), ROWS, curve, VERSIONS)
    assert path.parent == tmp_path / "curves"
    assert found(tmp_path, config()) == [curve]
    keep_curve(tmp_path, config(), ROWS, other, VERSIONS)
    assert found(tmp_path, config()) == [curve, other]


@pytest.mark.parametrize(
    ("values", "is_same"),
    [
        ({"race": None}, True),
        ({"limits": {"questions": 5}}, True),
        ({"curve": {"most": 5}}, True),
        ({"policy": {"margin": 0.2}}, True),
        ({"adapters": {"raft": {"rank": 4}}}, True),
        ({"arms": {"hybrid": {"top_k": 2}}}, True),
        ({"eval": {"concurrency": 2, "first_token_probes": 0}}, True),
        ({"engine": {"max_loras": 2, "max_lora_rank": 64}}, True),
        ({"adapters": {"closed_book": {"rank": 4}}}, False),
        ({"policy": {"metric": "exact_match"}}, False),
        ({"limits": {"train_rows": 50}}, False),
        ({"arms": {"rag": {"top_k": 2}}}, False),
        ({"arms": {"tuned_rag": {"prompt": "fewshot"}}}, False),
        ({"seed": 1}, False),
        ({"model": "org/other"}, False),
    ],
)
def test_a_curve_is_found_by_what_shaped_it_and_nothing_else(
    values: dict[str, Any], is_same: bool, tmp_path: Path
) -> None:
    keep_curve(tmp_path, config(), ROWS, measured(), VERSIONS)
    assert found(tmp_path, config(**values)) == ([measured()] if is_same else [])


def test_a_curve_of_another_model_embedder_engine_or_data_is_not_found(tmp_path: Path) -> None:
    keep_curve(tmp_path, config(), ROWS, measured(), VERSIONS)
    assert found(tmp_path, config(), versions=replace(VERSIONS, base="r2")) == []
    assert found(tmp_path, config(), versions=replace(VERSIONS, embedder="org/embedder e2")) == []
    assert found(tmp_path, config(), versions=replace(VERSIONS, engine="vllm bfloat16 2048")) == []
    assert found(tmp_path, config(), data("a", "c")) == []
    assert found(tmp_path, config(), replace(ROWS, dev=())) == []
    # Questions of the test are none that it was scored on.
    assert found(tmp_path, config(), replace(ROWS, questions=ROWS.dev)) == [measured()]


def test_a_curve_of_other_data_is_replaced(tmp_path: Path) -> None:
    keep_curve(tmp_path, config(), ROWS, measured(), VERSIONS)
    later = measured((2, 4, 6, 8))
    keep_curve(tmp_path, config(), data("a", "b", "c"), later, VERSIONS)
    assert found(tmp_path, config(), data("a", "b", "c")) == [later]
    assert found(tmp_path, config()) == []
    assert len(list((tmp_path / "curves").iterdir())) == 1


@pytest.mark.parametrize("cut", [0, 1, 100])
def test_a_torn_file_is_as_none(cut: int, tmp_path: Path) -> None:
    path = keep_curve(tmp_path, config(), ROWS, measured(), VERSIONS)
    path.write_text(path.read_text()[:cut])
    assert found(tmp_path, config()) == []
    path.write_text('{"data": "x", "measured": {"arm": "tuned"}}')
    assert found(tmp_path, config()) == []


def test_the_data_is_read_only_where_there_is_a_curve(tmp_path: Path) -> None:
    def unread() -> Data:
        raise AssertionError("read")

    assert list(find_curves(tmp_path, config(), unread, name=ROWS.name, versions=VERSIONS)) == []
    keep_curve(tmp_path, config(), ROWS, measured(), VERSIONS)
    with pytest.raises(AssertionError, match="read"):
        list(find_curves(tmp_path, config(), unread, name=ROWS.name, versions=VERSIONS))


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "curves").write_text("a file")
    with pytest.raises(StorageError, match="cannot write"):
        keep_curve(tmp_path, config(), ROWS, measured(), VERSIONS)


def test_a_curve_of_adapters_that_would_be_trained_again_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_curve(tmp_path, config(), ROWS, measured(), VERSIONS)
    monkeypatch.setattr("arbiter.kept_curves.VERSION", 10**6)
    assert found(tmp_path, config()) == []
