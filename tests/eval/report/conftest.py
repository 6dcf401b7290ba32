import pytest

from router.deciding import preference


@pytest.fixture(autouse=True)
def coarse_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card's map of winners has 3,321 cells; what is said of it is the same with 153."""
    monkeypatch.setattr(preference, "_COLUMNS", 17)
    monkeypatch.setattr(preference, "_ROWS", 9)
