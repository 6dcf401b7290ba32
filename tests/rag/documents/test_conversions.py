from __future__ import annotations

from pathlib import Path

import pytest

from rag.documents.conversions import Conversions
from rag.documents.convert import Converted

DAY_S = 86_400


class _Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def conversions(tmp_path: Path, clock: _Clock) -> Conversions:
    return Conversions(tmp_path / "conversions.db", clock=clock)


def test_a_conversion_comes_back_as_it_was_put(conversions: Conversions) -> None:
    converted = Converted("Title", "One\n\nTwo é", (0, 5))

    conversions.put("d1", Converted("Other", "x"))
    conversions.put("d1", converted)

    assert conversions.get("d1") == converted
    assert conversions.get("d2") is None


def test_what_is_not_asked_for_in_thirty_days_is_forgotten(conversions: Conversions, clock: _Clock) -> None:
    conversions.put("used", Converted("", "a"))
    conversions.put("unused", Converted("", "b"))
    clock.now += 20 * DAY_S
    assert conversions.get("used") is not None
    clock.now += 11 * DAY_S

    conversions.put("new", Converted("", "c"))

    assert conversions.get("used") is not None
    assert conversions.get("unused") is None
