from __future__ import annotations

from pathlib import Path

import pytest

from arbiter.console import Console
from arbiter.data_stage.questions.teaching import open_teacher, teacher_warning
from tests.arbiter.data_stage.questions.conftest import Configs


def test_only_the_embedded_model_is_warned_of(configs: Configs) -> None:
    assert "too small to write good ones" in str(teacher_warning(configs(None)))
    assert teacher_warning(configs("http://127.0.0.1:1/v1")) is None
    assert teacher_warning(configs(None, "engine.url=http://127.0.0.1:1/v1")) is None
    assert teacher_warning(configs(None, "model=org/large")) is None


def test_the_key_comes_from_the_environment_and_a_password_in_the_url_is_not_told(
    configs: Configs, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEACHER_KEY", "secret\n")
    config = configs("http://me:word@127.0.0.1:1/v1/", "generate.teacher.api_key_env=TEACHER_KEY")
    with open_teacher(config, home=tmp_path, console=console) as told:
        assert (told.api_key, told.label) == ("secret", "large at http://127.0.0.1:1/v1")
        assert "word" not in told.identity
        assert told.url == "http://me:word@127.0.0.1:1/v1/"
