"""A server with files and vector stores over one home, and the official client that talks to it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import openai
from fakes.embedders import WordEmbedder
from fakes.endpoints import listening, make_served, plain_client
from fakes.engines import ScriptedEngine

from rag.chunking.chunk import ChunkSettings
from rag.documents.document import Document
from rag.errors import RagError
from rag.home import IndexHome, OpenIndexes
from rag.search.settings import SearchSettings
from router.answering.answerer import Answerer
from serving.app import create_app
from serving.http.served import CurrentDecision
from serving.vector_stores.api import vector_store_routes
from serving.vector_stores.files import MAX_UPLOAD_BYTES
from serving.vector_stores.files_api import file_routes
from serving.vector_stores.stores import MAX_WAITING, VectorStores, open_vector_stores
from storage.database import open_database
from storage.jobs.jobs import Jobs
from storage.jobs.rows import JobRows

CHUNKING = ChunkSettings(20, 0)


@dataclass(frozen=True)
class Server:
    """What listens, and two ways to talk to it."""

    url: str
    stores: VectorStores
    embedder: WordEmbedder
    client: openai.OpenAI
    http: httpx.Client
    current: CurrentDecision

    def uploaded(self, text: str, *, name: str = "note.txt", purpose: Any = "assistants") -> str:
        return self.client.files.create(file=(name, text.encode()), purpose=purpose).id

    def filled(self, *texts: str) -> str:
        """A vector store in which a file for each text is indexed."""
        store = self.client.vector_stores.create(file_ids=[self.uploaded(text) for text in texts])
        self.until_indexed(store.id)
        return store.id

    def until_indexed(self, store_id: str, *, limit_s: float = 10.0) -> Any:
        deadline = time.monotonic() + limit_s
        while (store := self.client.vector_stores.retrieve(store_id)).status == "in_progress":
            assert time.monotonic() < deadline, store
            time.sleep(0.01)
        return store

    def found(self, store_id: str, query: Any, **rest: Any) -> list[str]:
        """The file ids that a search gives."""
        return [result.file_id for result in self.client.vector_stores.search(store_id, query=query, **rest).data]


def read_text(name: str, data: Path, document_id: str) -> Document:
    """The file as plain text; one that says CORRUPT is refused, one that says BUG stands for a mistake of ours."""
    text = data.read_text()
    if "CORRUPT" in text:
        raise RagError(f"{name!r} is damaged")
    if "BUG" in text:
        raise ZeroDivisionError
    return Document(document_id, name.rsplit(".", 1)[0], text, source=name)


@contextmanager
def serving(
    home: Path,
    *,
    embedder: WordEmbedder | None = None,
    engine: ScriptedEngine | None = None,
    read: Any = read_text,
    api_key: str | None = None,
    arm_index: str | None = "docs",
    url: str | None = None,
    max_bytes: int = MAX_UPLOAD_BYTES,
    max_waiting: int = MAX_WAITING,
) -> Iterator[Server]:
    """Serve a home until the end of the block; the arm `rag` answers from the index `arm_index` if there is one.

    `url` is where the indexes are, if not in the home's database.
    """
    embedder = embedder or WordEmbedder()
    engine = engine or ScriptedEngine(lambda _: "nine")
    index_home = IndexHome(home, url, chunking=CHUNKING, retrieval=SearchSettings(mode="dense"))
    open_indexes = OpenIndexes(index_home, embedder)
    database = open_database(home)
    jobs = Jobs(JobRows(database))
    stores = open_vector_stores(open_indexes, database, jobs, read=read)
    stores.files.max_bytes, stores.max_waiting = max_bytes, max_waiting
    with ExitStack() as stack:
        stack.callback(database.close)
        stack.callback(jobs.close)
        stack.callback(stores.open_indexes.close)
        served = make_served(engine)
        if arm_index and open_indexes.has(arm_index):
            # Opened apart, as a run's indexes may be.
            index = IndexHome(home).open(arm_index, embedder)
            stack.callback(index.close)
            answerer = Answerer(engine, {"docs": index}, "org/base")
            served = replace(served, answerer=answerer)
        current = CurrentDecision(served)
        app = create_app(current, file_routes(stores), vector_store_routes(stores, current), api_key=api_key)
        url = stack.enter_context(listening(app))
        client = stack.enter_context(openai.OpenAI(base_url=f"{url}/v1", api_key=api_key or "none", max_retries=0))
        headers = {"Authorization": f"Bearer {api_key}"}
        http = stack.enter_context(plain_client(f"{url}/v1", headers=headers))
        yield Server(url, stores, embedder, client, http, current)
