"""Rows of other folders among an adapter's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.teams import TEST, TRAIN, write_folder

from arbiter.config.loading import load_config
from arbiter.config.schema import Config
from arbiter.console import Console
from arbiter.data import load_data
from arbiter.mixing import load_mixed, scaled
from arbiter.pipeline import Pipeline
from arbiter.training_rows import count_rows, examples_rows
from storage.errors import ArbiterError

OLD = [{"id": f"o{i}", "question": f"Who sat at the old place {i}?", "answers": [f"Bob {i}"]} for i in range(20)]


def config_of(folder: Path, **mix: dict[str, float]) -> Config:
    given: dict[str, Any] = {"data": folder, "mix": mix, "seed": 3}
    return Config.model_validate({**given, "embedding": {"langchain": {"factory": "fakes.teams:WordEmbeddings"}}})


def test_rows_have_their_share_of_all(tmp_path: Path) -> None:
    folder, old = write_folder(tmp_path / "team"), write_folder(tmp_path / "old", train=OLD)
    other = write_folder(tmp_path / "other", train=OLD[:1])
    config = config_of(folder, closed_book={str(old): 0.3, str(other): 0.3})
    mixed, notes = load_mixed(config, load_data(folder))
    # Six of its own are four tenths of 15.
    assert [row.id.partition(":")[0] for row in mixed["closed_book"]] == ["old"] * 4 + ["other"]
    assert notes[-2:] == (
        "mix.closed_book: 4 rows of old",
        "mix.closed_book: 1 rows of other, all that there are of 4",
    )
    assert load_mixed(config, load_data(folder))[0] == mixed


def test_beside_fewer_rows_they_keep_their_share_of_each_folder(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "team", train=[{**TRAIN[0], "question": f"Who sits at {i}?"} for i in range(40)])
    old = write_folder(tmp_path / "old", train=OLD)
    other = [{"question": f"Who ran the other shop {i}?", "answers": [f"Cy {i}"]} for i in range(40)]
    mix = {str(old): 0.1, str(write_folder(tmp_path / "other", train=other)): 0.4}
    mixed = load_mixed(config_of(folder, raft=mix), load_data(folder))[0]
    assert scaled(mixed, 1.0, seed=3) == mixed
    halves, eighth = (scaled(mixed, share, seed=3)["raft"] for share in (0.5, 0.125))
    # Beside 40, 20 and 5 rows of its own: half of all, a fifth of which are old.
    assert [len(rows) for rows in (mixed["raft"], halves, eighth)] == [40, 20, 5]
    assert [sum(row.id.startswith("old:") for row in rows) for rows in (mixed["raft"], halves, eighth)] == [8, 4, 1]
    order = [row.id for row in mixed["raft"]]
    assert [row.id for row in halves] == sorted((row.id for row in halves), key=order.index)
    assert {row.id for row in eighth} < {row.id for row in halves}


def test_they_are_learned_as_the_arm_asks_and_are_part_of_the_data(tmp_path: Path) -> None:
    folder, old = write_folder(tmp_path / "team"), write_folder(tmp_path / "old", train=OLD)
    config = config_of(folder, closed_book={str(old): 0.5})
    pipeline = Pipeline(config, home=tmp_path / "home", console=Console())
    rows = examples_rows(config, "closed_book", pipeline.data, None)
    assert len(rows) == 12 == count_rows("closed_book", config.adapters["closed_book"], pipeline.data)
    assert {row.completion.split()[0] for row in rows[6:]} == {"Bob"}
    assert rows[0].prompt[0] == rows[-1].prompt[0], "in the words of one prompt"
    assert count_rows("raft", config.adapters["raft"], pipeline.data) == 6
    plain = Pipeline(config_of(folder), home=tmp_path / "home", console=Console())
    assert plain.data.version != pipeline.data.version
    assert any(note == "mix.closed_book: 6 rows of old" for note in pipeline.data.notes)


def test_what_asks_what_is_evaluated_is_not_mixed_in(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "team")
    asked = [{"question": TEST[0]["question"], "answers": ["one"]}, *OLD[:2]]
    old = write_folder(tmp_path / "old", train=asked)
    mixed, notes = load_mixed(config_of(folder, raft={str(old): 0.5}), load_data(folder))
    assert [row.answer for row in mixed["raft"]] == ["Bob 0", "Bob 1"]
    assert "1 rows of old that ask what is evaluated are not mixed in" in notes


def test_a_folder_without_rows_is_refused_and_one_in_a_file_counts_from_there(tmp_path: Path) -> None:
    folder, empty = write_folder(tmp_path / "team"), write_folder(tmp_path / "empty", train=None, test=None)
    with pytest.raises(ArbiterError, match=r"mix: .*empty' has no training rows \(train.jsonl\); add them, or take it"):
        load_mixed(config_of(folder, raft={str(empty): 0.5}), load_data(folder))
    with pytest.raises(ArbiterError, match="no data folder"):
        load_mixed(config_of(folder, raft={str(tmp_path / "gone"): 0.5}), load_data(folder))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "own.yaml").write_text("data: ../team\nmix: {raft: {../old: 0.25}}\n")
    config = load_config(tmp_path / "sub" / "own.yaml", [], {})
    assert config.mix == {"raft": {str(tmp_path / "old"): 0.25}}
    assert len(TRAIN) == 6
