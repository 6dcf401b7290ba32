from pathlib import Path

import pytest

from arbiter.build import index_home
from arbiter.config.loading import load_config
from arbiter.home import data_home, database_setting, home_database
from storage.database import sqlite_url
from storage.errors import StorageError


def test_home_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARBITER_HOME", str(tmp_path))
    assert data_home() == tmp_path
    monkeypatch.delenv("ARBITER_HOME")
    assert data_home() == Path(".arbiter").resolve()


def test_a_home_that_leads_nowhere_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARBITER_HOME", "~nobody-of-this-name/x")
    with pytest.raises(StorageError, match=r"'~nobody-of-this-name/x' cannot be found: could not .*; set ARBITER_HOME"):
        data_home()
    file = tmp_path / "file"
    file.touch()
    for home in (file, file / "home"):
        monkeypatch.setenv("ARBITER_HOME", str(home))
        with pytest.raises(StorageError, match=f"'{home}' cannot be: '{file}' is a file; set ARBITER_HOME to a folder"):
            data_home()
    monkeypatch.delenv("ARBITER_HOME")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(StorageError, match=r"'\.arbiter' cannot be found: no such file or directory; set ARBITER_HOME"):
        data_home()


def test_without_a_setting_the_database_is_a_file_of_the_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ARBITER_DATABASE", raising=False)
    with home_database(tmp_path / "home"):
        pass
    assert (tmp_path / "home" / "arbiter.db").is_file()
    monkeypatch.setenv("ARBITER_DATABASE", "")
    assert database_setting() is None


def test_the_setting_holds_for_everything_that_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = str(sqlite_url(tmp_path / "elsewhere.db"))
    monkeypatch.setenv("ARBITER_DATABASE", url)
    with home_database(tmp_path / "home"):
        pass
    assert (tmp_path / "elsewhere.db").is_file()
    assert list((tmp_path / "home").iterdir()) == []
    assert index_home(load_config(None, [], {}), tmp_path / "home").url == url
    # What a config says of its indexes comes first.
    config = load_config(None, ["index.database=sqlite:///rows.db"], {})
    assert index_home(config, tmp_path / "home").url == "sqlite:///rows.db"


def test_a_setting_that_is_no_url_is_one_line_without_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARBITER_DATABASE", "desk:sesame")
    with pytest.raises(StorageError, match="the database URL cannot be used") as caught, home_database(tmp_path):
        pass
    assert "sesame" not in str(caught.value)
