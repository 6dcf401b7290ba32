"""A data folder that is a little wrong in every way that rows can be."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.teams import write_folder

from arbiter.config.loading import load_config
from arbiter.console import Console
from arbiter.data_stage.transforms import Job

Jobs = Callable[..., Job]

_TEXTS = {
    "arrival": (
        "She says my card has not come.",
        "Is he getting a card soon?",
        "No card yet!",
        "Card lost in the post?",
    ),
    "fee": ("Why was a fee taken in Rome?", "He paid for nothing in Oslo"),
    "limit": ("How much can I take out?", "how much can i take out"),
}
ROWS = [
    {"id": f"{label[0]}{i}", "question": text, "answers": [label]}
    for label, texts in _TEXTS.items()
    for i, text in enumerate(texts)
]
TEST = [{"id": "q0", "question": "Where is my card?", "answers": ["arrival"]}]


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    """Makes a job from tmp_path/rows to tmp_path/made; the folder is written where there is none."""

    def make(*overrides: str, source: Path | None = None, target: str = "made", is_forced: bool = False) -> Job:
        folder = source or tmp_path / "rows"
        if not folder.exists():
            write_folder(folder, train=ROWS, test=TEST)
        config = load_config(None, ["embedding.langchain.factory=fakes.teams:WordEmbeddings", *overrides], {})
        console = Console(stderr=io.StringIO(), stdout=io.StringIO())
        return Job(folder, tmp_path / target, config, tmp_path / "home", console, "arbiter data ...", is_forced)

    return make
