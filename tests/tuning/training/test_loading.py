from __future__ import annotations

import platform

import pytest
import torch

from tuning.training import loading
from tuning.training.loading import choose_precision

# It imports torch and transformers.
pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("has_amx", "wanted"), [(True, "bf16"), (False, "float32")])
def test_what_an_x86_processor_can_is_asked_and_not_timed(
    has_amx: bool, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "device", lambda: "cpu")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
    monkeypatch.setattr(loading, "_product_s", lambda _: pytest.fail("a product was timed"))
    assert choose_precision() == wanted


@pytest.mark.parametrize(("times_as_fast", "wanted"), [(3.0, "bf16"), (1.5, "float32")])
def test_of_others_products_are_timed(times_as_fast: float, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "device", lambda: "cpu")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(loading, "_product_s", lambda dtype: 1.0 if dtype == torch.bfloat16 else times_as_fast)
    assert choose_precision() == wanted
