from __future__ import annotations

import os
from pathlib import Path

import pytest

from tuning.training.power import Draw, draw_of


def limits(folder: Path, **zones: str) -> Path:
    for name, text in zones.items():
        zone = folder / name.replace("_", "-", 1).replace("_", ":")
        zone.mkdir(parents=True)
        (zone / "constraint_0_power_limit_uw").write_text(text)
    return folder


def test_the_limits_of_all_processors_are_added(tmp_path: Path) -> None:
    rapl = limits(tmp_path, intel_rapl_0="65000000\n", intel_rapl_1="65000000\n", intel_rapl_0_0="9000000\n")
    assert draw_of("cpu", rapl=rapl) == Draw(130.0, "the limit of the processors (RAPL)")


@pytest.mark.parametrize("text", ["", "unknown", "0"])
def test_without_a_limit_a_number_a_core_is_assumed_and_said(tmp_path: Path, text: str) -> None:
    cores = os.cpu_count()
    assumed = Draw(10.0 * (cores or 1), f"assumed, 10 W for each of {cores} cores")
    assert draw_of("cpu", rapl=limits(tmp_path, intel_rapl_0=text)) == assumed
    assert draw_of("cpu", rapl=tmp_path / "nowhere") == assumed


def test_a_gpu_says_its_limit_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert draw_of("cuda") is None
    tool.write_text("#!/bin/sh\necho 350.00\n")
    tool.chmod(0o755)
    assert draw_of("cuda") == Draw(350.0, "the limit of the GPU (nvidia-smi)")
    tool.write_text("#!/bin/sh\necho '[N/A]'\n")
    assert draw_of("cuda") is None
