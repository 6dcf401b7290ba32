from itertools import count
from pathlib import Path

import pytest

from tuning.training.energy import EnergyMeter


class Processors:
    """Two packages whose counters end at 1,000,000 microjoules."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for number in (0, 1):
            (root / f"intel-rapl:{number}").mkdir()
            (root / f"intel-rapl:{number}" / "max_energy_range_uj").write_text("1000000\n")
        self.set(0, 0)

    def set(self, *counts: int) -> None:
        for number, value in enumerate(counts):
            (self.root / f"intel-rapl:{number}" / "energy_uj").write_text(f"{value}\n")


def test_what_the_counters_went_on_by_is_added_up_over_their_ends(tmp_path: Path) -> None:
    processors, clock = Processors(tmp_path), count(0, 10)
    meter = EnergyMeter(rapl=tmp_path, clock=lambda: float(next(clock)))
    for counts in ((600_000, 100_000), (200_000, 100_000), (200_000, 900_000)):
        processors.set(*counts)
        meter.read()
    found = meter.used(10.0, "cpu")
    # 0.6 + 0.6 of the first, whose counter began again, and 0.1 + 0.8 of the second.
    assert found.joules == pytest.approx(2.1)
    assert (found.is_measured, found.source) == (True, "measured by the processors (RAPL), other programs included")


def test_of_a_training_that_was_resumed_the_rest_is_taken_alike(tmp_path: Path) -> None:
    processors, clock = Processors(tmp_path), count(0, 10)
    meter = EnergyMeter(rapl=tmp_path, clock=lambda: float(next(clock)))
    processors.set(500_000, 500_000)
    found = meter.used(40.0, "cpu")
    assert found.joules == pytest.approx(4.0)
    assert found.source.endswith("over 10 of 40 s, the rest taken alike")


def test_counters_that_may_not_be_read_leave_an_estimate_that_says_so(tmp_path: Path) -> None:
    found = EnergyMeter(120.0, rapl=tmp_path / "nowhere").used(60.0, "cpu")
    assert (found.joules, found.is_measured) == (7200.0, False)
    assert found.source == "estimated: 60 s at 120 W, energy.power_w"


def test_without_a_stated_power_a_number_a_core_is_assumed_and_said(tmp_path: Path) -> None:
    found = EnergyMeter(rapl=tmp_path / "nowhere").used(60.0, "cpu")
    assert "assumed, 10 W for each of" in found.source


def test_a_gpu_that_states_nothing_leaves_it_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Processors(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = EnergyMeter(rapl=tmp_path).used(60.0, "cuda")
    assert (found.joules, found.source) == (None, "unknown: the machine does not state its power; set energy.power_w")
