"""What costs time once a session: the two embedded models and one real vLLM. Tests that use them are `model`."""

import gc
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.bases import conv1d_base, tiny_base
from fakes.databases import database, database_url, postgres_server, postgres_url, remembered_migrations
from fakes.logs import logged, logged_requests

# Before any library reads it: no test may reach a hub.
os.environ["HF_HUB_OFFLINE"] = "1"
# No test speaks TLS: an empty folder of certificates costs each HTTP client nothing, the system's file 25 ms.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = os.devnull

from arbiter.models import EMBEDDER, GENERATOR, resolve_model
from serving.engine.settings import EngineSettings
from serving.engine.vllm import VllmServer, VllmSettings

# Fixtures.
__all__ = [
    "conv1d_base",
    "database",
    "database_url",
    "logged",
    "logged_requests",
    "postgres_server",
    "postgres_url",
    "remembered_migrations",
    "tiny_base",
]

REPOSITORY = Path(__file__).parents[1]
MEMORY = Path("/dev/shm")


def pytest_configure() -> None:
    """Temporary folders lie in memory if it is ample: fsync costs nothing there, and no test cuts the power."""
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 8 << 30:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on PostgreSQL are slow: those of SQLite once more, and a server for each process.

    Files that may take longer than others come first, then those with real models, then those with slow tests: at the
    end no process waits for a long one.
    """
    for item in items:
        parameters = getattr(item, "callspec", None)
        if "postgres_url" in item.fixturenames or (parameters and "postgresql" in parameters.params.values()):  # type: ignore[attr-defined]
            item.add_marker(pytest.mark.slow)
    marks: dict[Path, set[str]] = {}
    for item in items:
        marks.setdefault(item.path, set()).update(mark.name for mark in item.iter_markers())
    items.sort(key=lambda item: [mark not in marks[item.path] for mark in ("timeout", "model", "slow")])


@pytest.fixture(scope="module", autouse=True)
def imports_stay() -> None:
    """No garbage collection walks through what was imported before (statsmodels asks for a whole one a correction)."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def root_logger_stays() -> Iterator[None]:
    """`arbiter serve` logs to the standard error of its time, which of a test is closed when the next one logs."""
    handlers, level = list(logging.root.handlers), logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def pytest_unconfigure() -> None:
    """Some extension modules report what they find alive at the end as leaked."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def arbiter_home() -> Path:
    """The data directory where the converted model is kept from one session to the next."""
    return Path(os.environ.get("ARBITER_HOME", REPOSITORY / ".arbiter"))


@pytest.fixture(scope="session")
def smollm2_path(arbiter_home: Path) -> str:
    return resolve_model(GENERATOR, home=arbiter_home).path


@pytest.fixture(scope="session")
def minilm_path(arbiter_home: Path) -> str:
    return resolve_model(EMBEDDER, home=arbiter_home).path


@pytest.fixture(scope="session")
def vllm_server(smollm2_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    """A real engine that serves SmolLM2 as `base`; load adapters under names of your own, at most two in one batch.

    Two slots, not more: vLLM's own operators confuse "no adapter" with the last slot, and an empty one would hide it.
    """
    log_path = tmp_path_factory.mktemp("vllm") / "vllm.log"
    with VllmServer(VllmSettings(smollm2_path, "base", log_path, EngineSettings(max_loras=2))) as server:
        yield server
