from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="module")
def sweeps() -> Any:
    """The benchmark's module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
        yield importlib.import_module("sweeps")


def test_the_best_of_a_surface_is_at_its_top_and_the_defaults_are_below(sweeps: Any) -> None:
    middle = np.array([0.5, 0.5])
    two = sweeps.SURFACES[0]
    # The middle of both ranges is the top of this hill.
    assert two.share({"rate": 1e-3, "share": 0.5}, middle) == pytest.approx(0.75)
    assert two.share({"rate": 1e-4, "share": 0.0}, middle) < 0.37
    for surface in sweeps.SURFACES:
        best = surface.best(middle)
        assert 0.35 < surface.share(surface.defaults, middle) <= best <= 0.75


def test_a_sweep_of_one_seed_is_the_same_again_and_loses_what_it_did_not_find(sweeps: Any, tmp_path: Path) -> None:
    surface = sweeps.SURFACES[2]
    regret, answers, _ = sweeps.sweep(surface, "tpe", 3, 7)
    assert sweeps.sweep(surface, "tpe", 3, 7)[:2] == (regret, answers)
    assert regret >= 0
    assert 60 <= answers <= 3 * 60
