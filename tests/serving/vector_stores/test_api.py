"""The official client drives /v1/vector_stores over a real socket."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from fakes.embedders import WordEmbedder
from fakes.endpoints import make_served
from fakes.engines import ScriptedEngine
from fakes.retrieval_server import CHUNKING, Server, serving

from rag.documents.document import Document
from rag.home import IndexHome
from router.answering.arm import Arm
from serving.vector_stores.stores import VectorStores
from storage.database import sqlite_url

DESK, FINES, ROOMS = "The desk opens at nine.", "A late book costs ten cents.", "Study rooms are booked upstairs."


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests that do not look at what others left."""
    with serving(tmp_path_factory.mktemp("stores")) as running:
        yield running


@pytest.fixture(scope="module")
def present(shared: Server) -> tuple[str, str]:
    """The ids of a store and of a file."""
    return shared.client.vector_stores.create().id, shared.uploaded(DESK)


def test_a_store_is_made_filled_searched_and_deleted(shared: Server) -> None:
    stores = shared.client.vector_stores
    store = stores.create(name="hours", metadata={"team": "desk"}, description="When and where")
    assert (store.object, store.name, store.metadata, store.status) == (
        "vector_store",
        "hours",
        {"team": "desk"},
        "completed",
    )
    assert shared.found(store.id, "desk") == []
    file = stores.files.upload_and_poll(
        vector_store_id=store.id, file=("desk.txt", DESK.encode()), attributes={"year": 2026, "open": True, "by": "Ada"}
    )
    assert (file.status, file.last_error, file.vector_store_id) == ("completed", None, store.id)
    assert file.attributes == {"year": 2026, "open": True, "by": "Ada"}
    # One chunk of 1024 float32.
    assert file.usage_bytes == 4096
    page = stores.search(store.id, query="When does the desk open?")
    body = page.model_dump()
    assert (body["object"], body["search_query"]) == ("vector_store.search_results.page", ["When does the desk open?"])
    assert (body["has_more"], body["next_page"]) == (False, None)
    result = page.data[0]
    assert (result.file_id, result.filename, result.attributes) == (file.id, "desk.txt", file.attributes)
    assert [(part.type, part.text) for part in result.content] == [("text", DESK)]
    # the, desk are in both texts: 2 of 5 words each.
    assert result.score == pytest.approx(0.4)
    assert [part.text for part in stores.files.content(file.id, vector_store_id=store.id)] == [DESK]
    counted = stores.retrieve(store.id)
    assert (counted.usage_bytes, counted.file_counts.completed, counted.file_counts.total) == (4096, 1, 1)
    renamed = stores.update(store.id, name="opening hours")
    assert (renamed.name, renamed.metadata) == ("opening hours", {"team": "desk"})
    gone = stores.delete(store.id)
    assert (gone.id, gone.deleted, gone.object) == (store.id, True, "vector_store.deleted")
    for call in (stores.retrieve, stores.delete):
        with pytest.raises(openai.NotFoundError, match="no vector store"):
            call(store.id)
    with pytest.raises(openai.NotFoundError):
        stores.search(store.id, query="desk")
    # The file itself stays.
    assert shared.client.files.retrieve(file.id).filename == "desk.txt"


@pytest.mark.slow
def test_batches_are_indexed_and_a_fault_stays_with_its_file(shared: Server) -> None:
    stores = shared.client.vector_stores
    store = stores.create()
    texts = {"a.txt": DESK, "b.txt": "CORRUPT", "c.txt": FINES, "d.txt": "BUG", "e.txt": ROOMS}
    batch = stores.file_batches.upload_and_poll(store.id, files=[(name, text.encode()) for name, text in texts.items()])
    assert (batch.object, batch.status, batch.vector_store_id) == ("vector_store.files_batch", "completed", store.id)
    assert batch.file_counts.to_dict() == {"completed": 3, "failed": 2, "in_progress": 0, "cancelled": 0, "total": 5}
    names = {file.id: file.filename for file in shared.client.files.list()}
    listed = {names[file.id]: file for file in stores.file_batches.list_files(batch.id, vector_store_id=store.id)}
    assert sorted(listed) == sorted(texts)
    faults = {name: file.last_error.to_dict() for name, file in listed.items() if file.last_error}
    assert faults == {
        "b.txt": {"code": "invalid_file", "message": "'b.txt' is damaged"},
        "d.txt": {"code": "server_error", "message": "the server failed on this file; its log has the reason"},
    }
    failed = stores.file_batches.list_files(batch.id, vector_store_id=store.id, filter="failed")
    assert sorted(names[file.id] for file in failed) == ["b.txt", "d.txt"]
    assert shared.found(store.id, "late book", max_num_results=1) == [listed["c.txt"].id]
    with pytest.raises(openai.ConflictError, match="409"):
        stores.files.content(listed["b.txt"].id, vector_store_id=store.id)
    with pytest.raises(openai.ConflictError, match="nothing to cancel"):
        stores.file_batches.cancel(batch.id, vector_store_id=store.id)
    only_faults = stores.file_batches.create_and_poll(store.id, file_ids=[listed["b.txt"].id])
    assert only_faults.status == "failed"


def test_the_files_of_a_batch_can_have_their_own_attributes(shared: Server) -> None:
    stores = shared.client.vector_stores
    store = stores.create()
    desk, fines = shared.uploaded(DESK), shared.uploaded(FINES)
    batch = stores.file_batches.create_and_poll(
        store.id, files=[{"file_id": desk, "attributes": {"of": "desk"}}, {"file_id": fines}]
    )
    assert batch.file_counts.completed == 2
    attributes = {file.id: file.attributes for file in stores.files.list(store.id)}
    assert attributes == {desk: {"of": "desk"}, fines: {}}


@pytest.mark.slow
def test_a_search_heeds_filters_count_threshold_and_ranker(shared: Server) -> None:
    stores = shared.client.vector_stores
    store = stores.create()
    ids = []
    for text, year in ((DESK, 2024), (FINES, 2025), (ROOMS, 2026)):
        attributes = {"year": year, "kind": "rule" if year > 2024 else "hours"}
        ids.append(
            stores.files.create_and_poll(shared.uploaded(text), vector_store_id=store.id, attributes=attributes).id
        )
    query = "the desk and a late book in study rooms"
    assert sorted(shared.found(store.id, query)) == sorted(ids)
    assert len(shared.found(store.id, query, max_num_results=2)) == 2
    late: Any = {"type": "gte", "key": "year", "value": 2025}
    rule: Any = {"type": "eq", "key": "kind", "value": "hours"}
    assert sorted(shared.found(store.id, query, filters=late)) == sorted(ids[1:])
    assert shared.found(store.id, query, filters={"type": "and", "filters": [late, rule]}) == []
    either: Any = {"type": "in", "key": "year", "value": [2024, 2026]}
    assert sorted(shared.found(store.id, query, filters=either)) == sorted([ids[0], ids[2]])
    assert shared.found(store.id, DESK, ranking_options={"score_threshold": 0.9}) == [ids[0]]
    assert shared.found(store.id, DESK, ranking_options={"ranker": "none"})[0] == ids[0]


def test_several_queries_share_the_results_and_each_passage_comes_once(shared: Server) -> None:
    store_id = shared.filled(DESK, FINES, ROOMS)
    page = shared.client.vector_stores.search(store_id, query=[DESK, ROOMS], max_num_results=2)
    assert sorted(result.content[0].text for result in page.data) == [ROOMS, DESK]
    # Five words each, and the title `note` with them.
    assert [result.score for result in page.data] == pytest.approx([(5 / 6) ** 0.5] * 2)
    assert page.model_dump()["search_query"] == [DESK, ROOMS]


def test_a_query_is_rewritten_where_that_is_asked_for(shared: Server) -> None:
    store_id = shared.filled(DESK)
    polite = "Hello, can you tell me when the desk opens?"
    page = shared.client.vector_stores.search(store_id, query=polite, rewrite_query=True)
    assert page.model_dump()["search_query"] == ["when the desk opens?"]
    page = shared.client.vector_stores.search(store_id, query=polite)
    assert page.model_dump()["search_query"] == [polite]


def test_attributes_can_be_changed_and_filters_heed_them_at_once(shared: Server) -> None:
    store_id = shared.filled(DESK)
    files = shared.client.vector_stores.files
    file_id = files.list(store_id).data[0].id
    new: Any = {"type": "eq", "key": "state", "value": "new"}
    assert shared.found(store_id, DESK, filters=new) == []
    changed = files.update(file_id, vector_store_id=store_id, attributes={"state": "new"})
    assert (changed.status, changed.attributes) == ("completed", {"state": "new"})
    assert shared.found(store_id, DESK, filters=new) == [file_id]
    assert files.update(file_id, vector_store_id=store_id, attributes=None).attributes == {}
    assert shared.found(store_id, DESK, filters=new) == []
    # Attaching it again changes its attributes, and embeds nothing.
    before = shared.embedder.num_embedded
    files.create_and_poll(file_id, vector_store_id=store_id, attributes={"state": "new"})
    assert shared.found(store_id, DESK, filters=new) == [file_id]
    assert shared.embedder.num_embedded == before


def test_stores_cannot_see_each_other(shared: Server) -> None:
    first, second = shared.filled(DESK), shared.filled(DESK, FINES)
    assert set(shared.found(first, DESK)).isdisjoint(shared.found(second, DESK))
    file_id = shared.found(first, DESK)[0]
    with pytest.raises(openai.NotFoundError):
        shared.client.vector_stores.files.retrieve(file_id, vector_store_id=second)


@pytest.mark.slow
def test_a_file_taken_out_of_one_store_stays_in_the_others(shared: Server) -> None:
    file_id, stores = shared.uploaded(DESK), shared.client.vector_stores
    first, second = stores.create(file_ids=[file_id]).id, stores.create(file_ids=[file_id]).id
    for store_id in (first, second):
        shared.until_indexed(store_id)
    gone = stores.files.delete(file_id, vector_store_id=first)
    assert (gone.id, gone.deleted, gone.object) == (file_id, True, "vector_store.file.deleted")
    assert (shared.found(first, DESK), shared.found(second, DESK)) == ([], [file_id])
    with pytest.raises(openai.NotFoundError, match="no file"):
        stores.files.delete(file_id, vector_store_id=first)
    # It can be put back; what was embedded for it is gone from this store alone.
    assert stores.files.create_and_poll(file_id, vector_store_id=first).status == "completed"
    assert shared.found(first, DESK) == [file_id]


def test_a_deleted_file_leaves_every_store_at_once(shared: Server) -> None:
    file_id, stores = shared.uploaded(DESK), shared.client.vector_stores
    first, second = stores.create(file_ids=[file_id]).id, stores.create(file_ids=[file_id]).id
    for store_id in (first, second):
        shared.until_indexed(store_id)
    shared.client.files.delete(file_id)
    assert (shared.found(first, DESK), shared.found(second, DESK)) == ([], [])
    assert stores.files.list(first).data == []
    with pytest.raises(openai.NotFoundError):
        stores.files.create(first, file_id=file_id)


def test_a_store_cuts_all_its_files_alike(shared: Server) -> None:
    stores = shared.client.vector_stores
    static: Any = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 50}}
    other: Any = {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 50}}
    store = stores.create(chunking_strategy=static)
    file_id = shared.uploaded(" ".join(f"word{i}" for i in range(150)))
    file = stores.files.create_and_poll(file_id, vector_store_id=store.id)
    assert file.chunking_strategy is not None
    assert file.chunking_strategy.to_dict() == static
    # 150 words, 100 at a time, the next chunk from the 51st on.
    assert file.usage_bytes == 2 * 4096
    assert stores.files.create_and_poll(file_id, vector_store_id=store.id, chunking_strategy=static).status
    with pytest.raises(openai.BadRequestError, match="cuts all its files alike") as refused:
        stores.files.create(store.id, file_id=file_id, chunking_strategy=other)
    assert refused.value.param == "chunking_strategy"
    auto = stores.create(file_ids=[file_id], chunking_strategy={"type": "auto"})
    shared.until_indexed(auto.id)
    assert stores.files.list(auto.id).data[0].usage_bytes == 8 * 4096


@pytest.mark.slow
def test_lists_come_in_pages_both_ways_and_by_status(server: Server) -> None:
    stores = server.client.vector_stores
    ids = [stores.create(name=str(i)).id for i in range(4)]
    assert [store.id for store in stores.list(limit=3)] == ids[::-1]
    assert [store.id for store in stores.list(limit=3, order="asc")] == ids
    assert [store.id for store in stores.list(before=ids[0], limit=2).data] == [ids[2], ids[1]]
    assert [store.id for store in stores.list(before=ids[3], limit=2, order="asc").data] == [ids[1], ids[2]]
    files = [server.uploaded(text) for text in (DESK, "CORRUPT", FINES)]
    for file_id in files:
        stores.files.create_and_poll(file_id, vector_store_id=ids[0])
    assert [file.id for file in stores.files.list(ids[0], limit=1)] == files[::-1]
    assert [file.id for file in stores.files.list(ids[0], filter="failed")] == [files[1]]
    assert [file.id for file in stores.files.list(ids[0], filter="completed", order="asc")] == [files[0], files[2]]
    assert [file.id for file in stores.files.list(ids[0], before=files[0]).data] == [files[2], files[1]]
    counts = stores.retrieve(ids[0]).file_counts
    assert (counts.completed, counts.failed, counts.total) == (2, 1, 3)


def make_docs(home: Path, *, name: str = "docs", embedder: WordEmbedder | None = None) -> None:
    """An index as a run makes it, with ids that have slashes in them."""
    index = IndexHome(home).create(name, embedder or WordEmbedder(), CHUNKING)
    index.sync(
        [Document(f"rules/{i}", f"Rule {i}", f"Rule number {i} is kept.", {"number": i}, f"r{i}.md") for i in range(5)]
    )
    index.close()


@pytest.mark.slow
def test_an_index_of_a_run_is_a_store_under_its_own_name(tmp_path: Path) -> None:
    make_docs(tmp_path)
    with serving(tmp_path) as server:
        stores = server.client.vector_stores
        (store,) = stores.list()
        assert (store.id, store.name, store.file_counts.completed) == ("docs", "docs", 5)
        assert server.found("docs", "rule number 3", max_num_results=1) == ["rules/3"]
        first = stores.search("docs", query="rule number 3").data[0]
        assert (first.filename, first.attributes) == ("r3.md", {"number": 3})
        file = stores.files.upload_and_poll(vector_store_id="docs", file=("desk.txt", DESK.encode()))
        assert [f.id for f in stores.files.list("docs", limit=2)] == [file.id, *(f"rules/{i}" for i in range(5))]
        assert [f.id for f in stores.files.list("docs", limit=2, order="asc")] == [
            *(f"rules/{i}" for i in range(5)),
            file.id,
        ]
        assert [f.id for f in stores.files.list("docs", limit=5).data][-1] == "rules/3"
        shown = stores.files.retrieve("rules/3", vector_store_id="docs")
        assert (shown.status, shown.attributes, shown.usage_bytes) == ("completed", {"number": 3}, 4096)
        assert [part.text for part in stores.files.content("rules/3", vector_store_id="docs")] == [
            "Rule number 3 is kept."
        ]
        assert stores.files.update("rules/3", vector_store_id="docs", attributes={"number": 33}).attributes == {
            "number": 33
        }
        assert stores.files.delete("rules/3", vector_store_id="docs").deleted
        assert "rules/3" not in server.found("docs", "rule number 3")
        assert stores.retrieve("docs").file_counts.completed == 5
    # A run's next sync of its own documents leaves what was attached.
    index = IndexHome(tmp_path).create("docs", WordEmbedder(), CHUNKING)
    index.sync([Document("rules/0", "Rule 0", "Rule number 0 is new.", source="r0.md")])
    assert {entry.id for entry in index.documents()} == {"rules/0", file.id}
    index.close()


ASK: Any = [{"role": "user", "content": "When does the desk open?"}]


@pytest.mark.slow
def test_what_is_attached_is_answered_from_at_once(tmp_path: Path) -> None:
    make_docs(tmp_path)
    with serving(tmp_path) as server:

        def cited() -> list[str]:
            reply = server.client.chat.completions.with_raw_response.create(model="rag", messages=ASK)
            return [passage["text"] for passage in reply.http_response.json()["arbiter"]["passages"]]

        assert DESK not in cited()
        file = server.client.vector_stores.files.upload_and_poll(
            vector_store_id="docs", file=("desk.txt", DESK.encode())
        )
        assert cited() == [DESK]
        server.client.files.delete(file.id)
        assert DESK not in cited()


@pytest.mark.slow
def test_chats_and_searches_go_on_while_files_are_indexed(tmp_path: Path) -> None:
    make_docs(tmp_path)
    embedder = WordEmbedder(seconds_per_text=0.01)
    embedder.gate.clear()
    with serving(tmp_path, embedder=embedder) as server:
        text = " ".join(f"word{i}" for i in range(4_000))  # 200 chunks: 2 s or more
        file = server.client.vector_stores.files.upload(vector_store_id="docs", file=("long.txt", text.encode()))
        assert embedder.started.wait(10)
        # The indexer holds the embedder; none of these waits for it.
        for _ in range(3):
            server.client.chat.completions.create(model="rag", messages=ASK, timeout=15)
            assert server.found("docs", "rule number 1", timeout=15)
            server.client.vector_stores.files.list("docs", timeout=15)
        embedder.gate.set()
        # The server stops in the middle of it, within a batch.
        assert server.client.vector_stores.files.retrieve(file.id, vector_store_id="docs").status == "in_progress"
    assert embedder.num_embedded < 200
    with serving(tmp_path) as server:
        done = server.client.vector_stores.files.poll(file.id, vector_store_id="docs", poll_interval_ms=20)
        assert done.status == "completed"
        assert server.client.vector_stores.retrieve("docs").file_counts.completed == 6


@pytest.mark.slow
@pytest.mark.parametrize("way", ["file", "detach", "store"])
def test_a_delete_wins_over_the_indexing_of_the_file(tmp_path: Path, way: str) -> None:
    embedder = WordEmbedder()
    with serving(tmp_path, embedder=embedder) as server:
        stores = server.client.vector_stores
        store = stores.create()
        other = server.uploaded(FINES)
        embedder.gate.clear()
        batch = stores.file_batches.create(store.id, file_ids=[server.uploaded(DESK), other])
        assert embedder.started.wait(10)
        file_id = next(f.id for f in stores.files.list(store.id) if f.id != other)
        calls = {
            "file": lambda: server.client.files.delete(file_id),
            "detach": lambda: stores.files.delete(file_id, vector_store_id=store.id),
            "store": lambda: stores.delete(store.id),
        }
        deleting = threading.Thread(target=calls[way])
        deleting.start()
        time.sleep(0.1)
        embedder.gate.set()
        deleting.join(10)
        assert not deleting.is_alive()
        if way == "store":
            with pytest.raises(openai.NotFoundError):
                stores.retrieve(store.id)
            assert server.stores.open_indexes.states() == {}
            return
        # From the moment the call returned, and ever after.
        for _ in range(3):
            assert file_id not in server.found(store.id, DESK)
            time.sleep(0.02)
        server.until_indexed(store.id)
        assert server.found(store.id, "late book desk") == [other]
        assert stores.file_batches.retrieve(batch.id, vector_store_id=store.id).file_counts.completed == 1


@pytest.mark.slow
def test_a_cancelled_batch_stops_and_leaves_what_was_done(tmp_path: Path) -> None:
    embedder = WordEmbedder()
    with serving(tmp_path, embedder=embedder) as server:
        stores = server.client.vector_stores
        store_id = server.filled(FINES)
        embedder.gate.clear()
        embedder.started.clear()
        batch = stores.file_batches.create(store_id, file_ids=[server.uploaded(f"{DESK} {i}") for i in range(5)])
        assert embedder.started.wait(10)
        with ThreadPoolExecutor(1) as other:
            asked = other.submit(stores.file_batches.cancel, batch.id, vector_store_id=store_id)
            time.sleep(0.3)
            embedder.gate.set()
            cancelled = asked.result()
        assert (cancelled.status, cancelled.file_counts.in_progress) == ("cancelled", 0)
        counts = cancelled.file_counts
        assert (counts.cancelled + counts.completed, counts.total) == (5, 5)
        assert len(server.found(store_id, DESK)) == 1 + counts.completed
        assert stores.file_batches.cancel(batch.id, vector_store_id=store_id).status == "cancelled"
        # A cancelled file can be attached again.
        again = stores.file_batches.list_files(batch.id, vector_store_id=store_id).data[0]
        assert stores.files.create_and_poll(again.id, vector_store_id=store_id).status == "completed"


@pytest.mark.slow
def test_an_index_of_another_embedder_can_be_seen_and_deleted_from_but_not_searched(tmp_path: Path) -> None:
    make_docs(tmp_path, name="old", embedder=WordEmbedder("other@1"))
    with serving(tmp_path) as server:
        stores = server.client.vector_stores
        assert stores.retrieve("old").file_counts.completed == 5
        with pytest.raises(openai.ConflictError, match="built with embedder 'other@1'"):
            stores.search("old", query="rule")
        file = stores.files.upload_and_poll(vector_store_id="old", file=("desk.txt", DESK.encode()))
        assert file.status == "failed"
        assert file.last_error is not None
        assert "other@1" in file.last_error.message
        assert stores.files.delete("rules/1", vector_store_id="old").deleted
        assert stores.retrieve("old").file_counts.completed == 4
        assert stores.delete("old").deleted
        assert stores.list().data == []


@pytest.mark.slow
def test_a_damaged_index_database_is_503_with_the_reason(tmp_path: Path) -> None:
    database = tmp_path / "indexes.db"
    url = str(sqlite_url(database))
    with serving(tmp_path, url=url) as server:
        store_id = server.filled(DESK)
    database.write_bytes(b"no database" * 100)
    with serving(tmp_path, arm_index=None, url=url) as server:
        for call in (
            lambda: server.found(store_id, DESK),
            lambda: server.client.vector_stores.list(),
            lambda: server.client.vector_stores.retrieve(store_id),
        ):
            with pytest.raises(openai.InternalServerError, match="not a database") as refused:
                call()
            assert refused.value.status_code == 503


def test_an_index_that_an_arm_answers_from_is_not_deleted(tmp_path: Path) -> None:
    make_docs(tmp_path)
    with serving(tmp_path) as server:
        with pytest.raises(openai.ConflictError, match="an arm that is served answers from"):
            server.client.vector_stores.delete("docs")
        assert server.found("docs", "rule")


def test_an_index_that_is_promoted_while_its_deletion_is_on_the_way_is_not_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_store = VectorStores._store

    def promoting(stores: VectorStores, store_id: str) -> object:
        server.current.show(replace(make_served(ScriptedEngine(str)), arms={"rag": Arm("rag", index=store_id)}))
        return find_store(stores, store_id)

    with serving(tmp_path) as server:
        store_id = server.filled(DESK)
        monkeypatch.setattr(VectorStores, "_store", promoting)
        with pytest.raises(openai.ConflictError, match="an arm that is served answers from"):
            server.client.vector_stores.delete(store_id)
        assert server.found(store_id, DESK)


@pytest.mark.slow
def test_a_store_that_another_embedder_built_is_to_be_made_anew(tmp_path: Path) -> None:
    with serving(tmp_path, embedder=WordEmbedder("other@1")) as server:
        store_id = server.filled(DESK)
    with serving(tmp_path) as server:
        advice = "'other@1', not 'words@1'; use that one, or make the vector store anew and attach its files again"
        with pytest.raises(openai.ConflictError, match=advice):
            server.found(store_id, DESK)
        stores = server.client.vector_stores
        file = stores.files.upload_and_poll(vector_store_id=store_id, file=("fines.txt", FINES.encode()))
        assert file.last_error is not None
        assert advice in file.last_error.message


def test_gold_answers_are_never_searched(shared: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    file_id = shared.uploaded('{"item": {}}', purpose="evals")
    # No store is made that would have to be taken away again.
    monkeypatch.delattr(VectorStores, "_remove_store")
    with pytest.raises(openai.BadRequestError, match="purpose 'evals'"):
        shared.client.vector_stores.create(file_ids=[file_id])


@pytest.mark.slow
def test_a_file_alone_is_no_batch(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        store_id = server.filled(DESK)
        server.client.vector_stores.files.create(store_id, file_id=server.uploaded(FINES))
        with sqlite3.connect(tmp_path / "arbiter.db") as rows:
            assert rows.execute("SELECT count(*) FROM file_batches").fetchone() == (0,)


def test_a_field_that_the_client_clears_is_as_if_left_out(shared: Server) -> None:
    store = shared.client.vector_stores.create(name="kept", extra_body={"expires_after": None})
    assert shared.client.vector_stores.update(store.id, expires_after=None, name=None).name == "kept"


@pytest.mark.slow
def test_more_files_than_can_wait_are_refused(tmp_path: Path) -> None:
    embedder = WordEmbedder()
    with serving(tmp_path, embedder=embedder, max_waiting=2) as server:
        stores = server.client.vector_stores
        ids = [server.uploaded(f"{DESK} {i}") for i in range(3)]
        embedder.gate.clear()
        with pytest.raises(openai.RateLimitError, match="would wait") as refused:
            stores.create(file_ids=ids)
        assert refused.value.response.headers["retry-after"]
        assert stores.list().data == []
        store = stores.create(file_ids=ids[:2])
        with pytest.raises(openai.RateLimitError):
            stores.files.create(store.id, file_id=ids[2])
        embedder.gate.set()
        server.until_indexed(store.id)
        assert stores.files.create_and_poll(ids[2], vector_store_id=store.id).status == "completed"


def static(**changes: int) -> dict[str, Any]:
    sizes = {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 20, **changes}
    return {"chunking_strategy": {"type": "static", "static": sizes}}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("", {"name": ""}, "name"),
        ("", {"nmae": "x"}, "nmae"),
        ("", {"metadata": {"k": 1}}, "metadata.k"),
        ("", {"metadata": {str(i): "" for i in range(17)}}, "metadata"),
        ("", {"file_ids": "file-1"}, "file_ids"),
        ("", {"expires_after": {"anchor": "last_active_at", "days": 1}}, "expires_after"),
        ("", {"chunking_strategy": {"type": "none"}}, "chunking_strategy.type"),
        ("", {"chunking_strategy": "auto"}, "chunking_strategy"),
        ("", {"chunking_strategy": {}}, "chunking_strategy.type"),
        ("", {"chunking_strategy": {"type": "auto", "static": {}}}, "chunking_strategy.static"),
        ("", {"chunking_strategy": {"type": "static"}}, "chunking_strategy.static"),
        ("", static(chunk_overlap_tokens=51), "chunking_strategy.static.chunk_overlap_tokens"),
        ("", static(chunk_overlap_tokens=-1), "chunking_strategy.static.chunk_overlap_tokens"),
        ("", static(chunk_overlap_tokens=True), "chunking_strategy.static.chunk_overlap_tokens"),
        ("", static(max_chunk_size_tokens=99), "chunking_strategy.static.max_chunk_size_tokens"),
        ("", static(max_chunk_size_tokens=4097), "chunking_strategy.static.max_chunk_size_tokens"),
        ("", static(size=1), "chunking_strategy.static.size"),
        ("", ["x"], None),
        ("/ID", {"name": 5}, "name"),
        ("/ID", {"expires_after": {"anchor": "last_active_at", "days": 1}}, "expires_after"),
        ("/ID/files", {}, "file_id"),
        ("/ID/files", {"file_id": "FILE", "attributes": {"k": None}}, "attributes"),
        ("/ID/files", {"file_id": "FILE", "attributes": {"k": ["v"]}}, "attributes"),
        ("/ID/files", {"file_id": "FILE", "attributes": {"k" * 65: 1}}, "attributes"),
        ("/ID/files", {"file_id": "FILE", "attributes": {"": 1}}, "attributes"),
        ("/ID/files", {"file_id": "FILE", "attributes": {"k": "v" * 513}}, "attributes"),
        ("/ID/files", {"file_id": "FILE", "attributes": {"k": "v\0"}}, "attributes"),
        ("/ID/files", {"file_id": "FILE", "attributes": {"k\0": "v"}}, "attributes"),
        ("/ID/files", {"file_id": "FILE", "attributes": {"k": 10**400}}, "attributes"),
        ("/ID/files", {"file_id": "FILE", "attributes": {str(i): i for i in range(17)}}, "attributes"),
        ("/ID/files/FILE", {}, "attributes"),
        ("/ID/file_batches", {}, "file_ids"),
        ("/ID/file_batches", {"file_ids": []}, "file_ids"),
        ("/ID/file_batches", {"file_ids": ["FILE"], "files": [{"file_id": "FILE"}]}, "file_ids"),
        ("/ID/file_batches", {"file_ids": ["x"] * 2_001}, "file_ids"),
        ("/ID/file_batches", {"files": []}, "files"),
        ("/ID/file_batches", {"files": [{"file": "FILE"}]}, "files[0].file_id"),
        ("/ID/file_batches", {"files": [{"file_id": "FILE"}], "attributes": {}}, "attributes"),
        ("/ID/search", {}, "query"),
        ("/ID/search", {"query": ""}, "query"),
        ("/ID/search", {"query": " \u200b\0"}, "query"),
        ("/ID/search", {"query": 5}, "query"),
        ("/ID/search", {"query": []}, "query"),
        ("/ID/search", {"query": ["x", None]}, "query"),
        ("/ID/search", {"query": "x" * 4_097}, "query"),
        ("/ID/search", {"query": "x", "max_num_results": 0}, "max_num_results"),
        ("/ID/search", {"query": "x", "max_num_results": 1_000_000}, "max_num_results"),
        ("/ID/search", {"query": "x", "max_num_results": True}, "max_num_results"),
        ("/ID/search", {"query": "x", "filters": {"type": "like", "key": "k", "value": "v"}}, "filters"),
        ("/ID/search", {"query": "x", "filters": {}}, "filters"),
        ("/ID/search", {"query": "x", "filters": []}, "filters"),
        ("/ID/search", {"query": "x", "ranking_options": {"ranker": "best"}}, "ranking_options.ranker"),
        ("/ID/search", {"query": "x", "ranking_options": {"score_threshold": 2}}, "ranking_options.score_threshold"),
        ("/ID/search", {"query": "x", "rewrite_query": "yes"}, "rewrite_query"),
    ],
)
def test_a_bad_request_is_400_and_names_its_field(
    shared: Server, present: tuple[str, str], path: str, body: Any, param: str | None
) -> None:
    store_id, file_id = present

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: filled(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [filled(inner) for inner in value]
        return value.replace("FILE", file_id).replace("ID", store_id) if isinstance(value, str) else value

    reply = shared.http.post(f"/vector_stores{filled(path)}", json=filled(body))
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param), reply.text


@pytest.mark.parametrize("body", [b"", b"{", b'{"query": NaN}', b'{"query": "\\ud800"}'])
def test_a_body_that_is_no_json_is_400(shared: Server, body: bytes) -> None:
    assert shared.http.post("/vector_stores", content=body).status_code == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/vector_stores/vs_none"),
        ("POST", "/vector_stores/vs_none"),
        ("DELETE", "/vector_stores/vs_none"),
        ("POST", "/vector_stores/vs_none/search"),
        ("POST", "/vector_stores/no%20such%20name/search"),
        ("GET", "/vector_stores/vs_none/files"),
        ("POST", "/vector_stores/vs_none/files"),
        ("GET", "/vector_stores/vs_none/files/file-1"),
        ("DELETE", "/vector_stores/vs_none/files/file-1"),
        ("GET", "/vector_stores/vs_none/files/file-1/content"),
        ("GET", "/vector_stores/vs_none/file_batches/vsfb_1"),
        ("POST", "/vector_stores/vs_none/file_batches/vsfb_1/cancel"),
        ("GET", "/vector_stores/ID/files/file-1"),
        ("POST", "/vector_stores/ID/files/file-1"),
        ("DELETE", "/vector_stores/ID/files/file-1"),
        ("GET", "/vector_stores/ID/files/file-1/content"),
        ("POST", "/vector_stores/ID/files"),
        ("GET", "/vector_stores/ID/file_batches/vsfb_1"),
        ("GET", "/vector_stores/ID/file_batches/vsfb_1/files"),
        ("POST", "/vector_stores/ID/file_batches/vsfb_1/cancel"),
    ],
)
def test_what_is_not_there_is_404_in_openais_shape(shared: Server, method: str, path: str) -> None:
    store_id = shared.client.vector_stores.create().id
    bodies = {"search": {"query": "x"}, "files": {"file_id": "file-1"}, "file-1": {"attributes": {}}}
    body = bodies.get(path.rsplit("/", 1)[-1], {}) if method == "POST" else None
    reply = shared.http.request(method, path.replace("ID", store_id), json=body)
    assert reply.status_code == 404, reply.text
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"].endswith("_not_found")


@pytest.mark.slow
def test_files_deleted_during_searches_are_never_a_fault_of_the_server(server: Server) -> None:
    stores = server.client.vector_stores
    store_id = server.filled(DESK, FINES, ROOMS)
    faults: list[object] = []
    is_done = threading.Event()

    def search() -> None:
        while not is_done.is_set():
            reply = server.http.post(f"/vector_stores/{store_id}/search", json={"query": DESK})
            if reply.status_code not in (200, 404):
                faults.append(reply.text)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for file in stores.files.list(store_id):
        server.client.files.delete(file.id)
        assert file.id not in server.found(store_id, DESK)
    stores.delete(store_id)
    is_done.set()
    for thread in threads:
        thread.join(10)
    assert faults == []
