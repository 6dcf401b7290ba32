from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import pytest
from fakes.teams import write_folder

from arbiter.config.loading import load_config
from arbiter.console import Console
from arbiter.data_stage.result import Made, Written, write_result
from arbiter.data_stage.source import LeftOut, Source, open_source
from storage.errors import StorageError
from tests.arbiter.data_stage.conftest import ROWS, TEST

MADE = Made("arbiter data dedupe rows made", {"nearly": True}, 7, ("a note",))
QUIET = Console(stderr=io.StringIO(), stdout=io.StringIO())


def opened(folder: Path) -> Source:
    if not folder.exists():
        write_folder(folder, train=ROWS, test=TEST)
    return open_source(folder, load_config(None, [], {}))


def write(source: Source, target: Path, *, places: tuple[int, ...] = (0, 1, 2, 5, 0)) -> None:
    rows = [source.rows[place] for place in places]
    kept = [Written(row.as_written() | {"id": f"r{i}"}, row.line) for i, row in enumerate(rows)]
    lost = [LeftOut(5, "too plain", source.rows[4].as_written(), {"of": "f1"})]
    write_result(source, target, {"train": kept}, lost, MADE, is_forced=False, console=QUIET)


def test_provenance_says_what_was_done_to_which_rows(tmp_path: Path) -> None:
    source = opened(tmp_path / "rows")
    write(source, tmp_path / "made")
    found = json.loads((tmp_path / "made" / "provenance.json").read_text())
    content = (tmp_path / "rows" / "train.jsonl").read_bytes()
    assert found["command"] == "arbiter data dedupe rows made"
    assert (found["seed"], found["settings"], found["notes"]) == (7, {"nearly": True}, ["a note"])
    assert found["sha256"] == {"train.jsonl": hashlib.sha256(content).hexdigest()}
    assert found["lines"] == {"train": "1-3,6,1"}
    assert (found["rows_in"], found["rows_out"], found["removed"]) == (8, {"train": 5}, {"too plain": 1})
    assert found["earlier"] is None
    (lost,) = (tmp_path / "made" / "removed.jsonl").read_text().splitlines()
    assert json.loads(lost) == {"line": 5, "reason": "too plain", "of": "f1", "row": source.rows[4].as_written()}


def test_what_was_done_before_stays_known(tmp_path: Path) -> None:
    write(opened(tmp_path / "rows"), tmp_path / "made")
    write(opened(tmp_path / "made"), tmp_path / "again", places=(0, 1))
    found = json.loads((tmp_path / "again" / "provenance.json").read_text())
    assert found["earlier"]["source"] == str(tmp_path / "rows" / "train.jsonl")
    assert len((tmp_path / "again" / "removed.jsonl").read_text().splitlines()) == 1


def test_a_stop_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = opened(tmp_path / "rows")

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.copy2", stop)
    with pytest.raises(KeyboardInterrupt):
        write(source, tmp_path / "made")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows"]


def test_rows_that_cannot_be_read_back_are_not_published(tmp_path: Path) -> None:
    source = opened(tmp_path / "rows")
    torn = [Written({"id": "a", "question": " ", "answers": ["x"]}, 1)]
    with pytest.raises(Exception, match=r"made/train\.jsonl: 1 faulty examples"):
        write_result(source, tmp_path / "made", {"train": torn}, [], MADE, is_forced=False, console=QUIET)
    assert not (tmp_path / "made").exists()


def test_provenance_that_is_torn_is_said(tmp_path: Path) -> None:
    source = opened(tmp_path / "rows")
    (tmp_path / "rows" / "provenance.json").write_text("{")
    with pytest.raises(StorageError, match=r"provenance.json': .*; take it away or mend it"):
        write(source, tmp_path / "made")
