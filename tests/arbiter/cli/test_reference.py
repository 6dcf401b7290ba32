"""docs/cli.md is what the commands say of themselves; `make docs` writes it."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.slow
def test_the_reference_of_commands_is_up_to_date(tmp_path: Path) -> None:
    made = tmp_path / "cli.md"
    command = ("-m", "typer", "arbiter.cli.main", "utils", "docs", "--name", "arbiter", "--output", str(made))
    subprocess.run([sys.executable, *command], check=True, capture_output=True, cwd=REPOSITORY)
    assert made.read_text() == (REPOSITORY / "docs" / "cli.md").read_text(), "run: make docs"
