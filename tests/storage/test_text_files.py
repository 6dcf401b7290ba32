import json
import resource
import signal
from pathlib import Path

import pytest

from storage.errors import StorageError
from storage.text_files import replace_file, replace_text


def test_a_write_that_fails_half_way_keeps_the_old_text(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("old")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        # The kernel stops the write after 10 bytes, as a full disk would.
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, limit[1]))
        with pytest.raises(StorageError, match=r"cannot write .*x\.json"):
            replace_text(path, "much longer than ten bytes")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def test_replacing_a_file_never_shows_a_part(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    replace_text(path, json.dumps({"a": 1}))
    replace_text(path, json.dumps({"a": 2}))
    assert json.loads(path.read_text()) == {"a": 2}
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def test_an_exception_between_two_pieces_keeps_the_old_text(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    replace_text(path, "old")

    def interrupted() -> None:
        with replace_file(path) as file:
            file.write("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]
