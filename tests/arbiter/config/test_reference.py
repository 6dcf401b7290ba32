from pathlib import Path

import pytest

from arbiter.config.reference import reference

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


@pytest.fixture(scope="module")
def page() -> str:
    return reference()


def test_the_page_is_what_the_schema_says(page: str) -> None:
    assert PAGE.read_text(encoding="utf-8") == page, (
        "write it again: python -m arbiter.config.reference > docs/configuration.md"
    )


def test_every_key_has_bounds_and_a_meaning(page: str) -> None:
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    for row in rows:
        key, value, _, meaning = (cell.strip("| ") for cell in row)
        assert value, key
        assert value != "a value", key
        assert len(meaning) > 5, key
