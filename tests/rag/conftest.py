"""A deterministic embedder without a model, three short documents, an index of them, and a PostgreSQL server."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rag.chunking.chunk import ChunkSettings
from rag.documents.document import Document
from rag.index import Index

Library = tuple[Document, ...]
SETTINGS = ChunkSettings(20, 0)


class FakeEmbedder:
    """Bags of words, each word hashed to one of `dimension` axes; equal bags give equal unit vectors."""

    def __init__(self, name: str = "fake@1", dimension: int = 512, seconds_per_text: float = 0.0) -> None:
        self.name = name
        self.dimension = dimension
        self.max_tokens: int | None = None
        self.num_embedded = 0
        self._seconds_per_text = seconds_per_text

    def embed(self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w+", text.casefold()) or [""]:
                digest = hashlib.sha256(word.encode()).digest()
                vectors[row, int.from_bytes(digest[:4], "little") % self.dimension] += 1
            if self._seconds_per_text:
                time.sleep(self._seconds_per_text)
        self.num_embedded += len(texts)
        if progress:
            progress(len(texts), len(texts))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    def embed_query(self, query: str) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self.embed([query])[0]
        return vector

    def token_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [[word.span() for word in re.finditer(r"\S+", text)] for text in texts]

    def count_tokens(self, text: str) -> int:
        return len(text.split())


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def make_embedder() -> type[FakeEmbedder]:
    return FakeEmbedder


@pytest.fixture
def library() -> tuple[Document, ...]:
    return (
        Document("hours", "Loan desk hours", "The desk opens at nine and closes at five.", {"page": 1}),
        Document("fines", "Fines", "A late book costs ten cents a day."),
        Document("rooms", "Rooms", "Study rooms are booked at the counter."),
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def url() -> str | None:
    """Where the rows are: None for the home's SQLite file. A module that overrides this runs on another database."""
    return None


@pytest.fixture
def index(home: Path, embedder: FakeEmbedder, library: Library, url: str | None) -> Iterator[Index]:
    index = Index.create(home, "faq", embedder, SETTINGS, url=url)
    index.sync(library)
    yield index
    index.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The folder of the socket of a PostgreSQL server of our own."""
    if shutil.which("initdb") is None or shutil.which("postgres") is None:
        pytest.skip("no PostgreSQL server here: initdb and postgres are not on PATH")
    # Not below pytest's folder, which no other user may enter; and the path of a socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")))
    # PostgreSQL refuses to run as root, and ends with the tests whatever happens to them.
    run = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    if os.getuid() == 0:
        if not run:
            pytest.skip("PostgreSQL does not run as root, and setpriv is not on PATH")
        shutil.chown(folder, "nobody", "nogroup")
        run += ["--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    data = folder / "data"
    initdb = ["initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    subprocess.run([*run, *initdb], check=True, capture_output=True, cwd=folder)
    options = ["-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=16MB"]
    options += ["-c", "full_page_writes=off", "-c", "autovacuum=off", "-c", "jit=off"]
    with subprocess.Popen(
        [*run, "postgres", "-D", str(data), *options], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            for _ in range(300):
                if _answers(folder):
                    break
                assert server.poll() is None, "PostgreSQL ended"
                time.sleep(0.1)
            yield str(folder)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=30)
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A place of one's own in the server: an empty schema, which is made faster than a database."""
    import psycopg

    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(host=postgres_server, user="postgres", dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        yield f"postgresql+psycopg://postgres@/postgres?host={postgres_server}&options=-csearch_path%3D{name}"
        # What a test left open, or a process that it killed, holds locks.
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        connection.execute(f"DROP SCHEMA {name} CASCADE")


def _answers(folder: Path) -> bool:
    import psycopg

    try:
        psycopg.connect(host=str(folder), user="postgres", dbname="postgres").close()
    except psycopg.OperationalError:
        return False
    return True
