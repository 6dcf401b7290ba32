"""Documents of buildings, a config with a teacher at a URL, and a console that nobody watches."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.teachers import write_documents

from arbiter.config.loading import load_config
from arbiter.config.schema import Config
from arbiter.console import Console

Configs = Callable[..., Config]


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    return write_documents(tmp_path / "docs")


@pytest.fixture
def console() -> Console:
    return Console(stderr=io.StringIO(), stdout=io.StringIO())


@pytest.fixture
def configs() -> Configs:
    """Makes a config for a teacher at a URL; it tries nothing twice."""

    def make(url: str | None, *overrides: str, data: Path | None = None) -> Config:
        teacher = [
            f"generate.teacher.url={url}",
            "generate.teacher.model=large",
            "generate.teacher.retries=0",
            "generate.teacher.timeout_s=20",
        ]
        usual = [
            "embedding.langchain.factory=fakes.teams:WordEmbeddings",
            "generate.questions=4",
            "generate.examples=4",
        ]
        return load_config(data, [*usual, *(teacher if url else []), *overrides], {})

    return make
