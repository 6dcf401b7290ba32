from pathlib import Path

from arbiter.cli.doctor import examine


def test_every_finding_says_what_was_found(tmp_path: Path) -> None:
    findings = {finding.name: finding for finding in examine(tmp_path / "not" / "there")}
    assert {"python", "torch", "vllm", "generator", "embedder", "memory", "disk"} <= set(findings)
    assert findings["torch"].is_ok
    assert findings["torch"].detail[0].isdigit()
    assert all(finding.detail for finding in findings.values())
