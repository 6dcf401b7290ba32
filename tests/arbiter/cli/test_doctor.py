import os
from pathlib import Path

import pytest

from arbiter.cli.doctor import examine


def test_every_finding_says_what_was_found(tmp_path: Path) -> None:
    findings = {finding.name: finding for finding in examine(tmp_path / "not" / "there")}
    assert {"python", "torch", "vllm", "generator", "embedder", "memory", "disk"} <= set(findings)
    assert findings["torch"].is_ok
    assert findings["torch"].detail[0].isdigit()
    assert all(finding.detail for finding in findings.values())


def test_a_data_directory_that_cannot_be_written_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fine,) = (finding for finding in examine(tmp_path / "home") if finding.name == "data")
    assert (fine.is_ok, fine.detail) == (True, str(tmp_path / "home"))
    monkeypatch.setattr(os, "access", lambda _path, mode: not mode & os.W_OK)
    (found,) = (finding for finding in examine(tmp_path / "home") if finding.name == "data")
    assert not found.is_ok
    assert found.detail == f"{tmp_path} is not writable; set ARBITER_HOME to a folder of your own"
