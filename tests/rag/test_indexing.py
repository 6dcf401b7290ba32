"""The end of a repair: documents whose chunks are gone are cut and embedded again, and newer ones are left alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag.chunking.chunk import ChunkSettings
from rag.documents.document import Document
from rag.errors import RagError
from rag.index import Index
from rag.indexing import Indexing
from rag.search.settings import SearchSettings
from rag.store import indexes
from rag.verification import mend
from storage.database import Database, database_url
from tests.fakes.indexes import create_index
from tests.rag.conftest import SETTINGS, Library


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str | None:
    return None if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
def store(home: Path, index: Index, url: str | None) -> Iterator[Database]:
    """The rows of the library, of which `hours` has no chunks any more."""
    store = Database(database_url(home, url))
    with store.write() as rows:
        state = indexes.existing(rows, "faq", is_locked=True)
        indexes.forget_generations(rows, state.id)
        indexes.advance(rows, state, mend(rows, state.id, ["hours"]))
    yield store
    store.close()


def test_a_renewed_document_is_cut_again_from_its_stored_text(store: Database, index: Index, embedder: Any) -> None:
    assert (index.state.num_chunks, index.chunks_of("hours")) == (2, ())

    Indexing(store, "faq", embedder, SETTINGS).renew(["hours", "fines", "unknown"], progress=None)

    assert len(index.search("desk", 3, settings=SearchSettings(mode="hybrid"))) == 3
    assert index.verify().problems == ()
    assert [chunk.text for chunk in index.chunks_of("hours")] == ["The desk opens at nine and closes at five."]
    assert embedder.num_embedded == 3 + 1 + 1  # of the library, of the repair, and the query


def test_a_document_that_was_stored_anew_meanwhile_is_not_made_the_old_one(
    store: Database, index: Index, embedder: Any
) -> None:
    class Late:
        """The embedder, which takes so long to cut that another writer is faster."""

        name, dimension, embed = embedder.name, embedder.dimension, embedder.embed

        def token_spans(self, texts: Any) -> Any:
            if index.document("hours") == before:
                index.add([Document("hours", "", "Closed.")])
            return embedder.token_spans(texts)

    before = index.document("hours")

    Indexing(store, "faq", Late(), SETTINGS).renew(["hours"], progress=None)  # type: ignore[arg-type]

    assert [chunk.text for chunk in index.chunks_of("hours")] == ["Closed."]
    assert index.verify().problems == ()


def test_a_repair_that_was_not_ended_is_ended_by_other_settings(
    store: Database, index: Index, home: Path, embedder: Any, url: str | None, library: Library
) -> None:
    renewed = create_index(home, "faq", embedder, ChunkSettings(3, 0), url=url)

    renewed.add([])

    assert renewed.verify().problems == ()
    assert renewed.sync(library).updated == 0


def test_an_index_that_is_gone_is_not_begun_anew_by_a_repair(store: Database, index: Index, embedder: Any) -> None:
    index.drop()

    with pytest.raises(RagError, match="no index 'faq'"):
        Indexing(store, "faq", embedder, SETTINGS).renew(["hours"], progress=None)


def test_metadata_that_is_set_during_a_repair_does_not_end_it(store: Database, index: Index, embedder: Any) -> None:
    with pytest.raises(RagError, match="cannot be stored"):
        index.set_metadata("hours", {"a": {1}})
    index.set_metadata("hours", {"year": 2026})

    assert "document 'hours': its repair was begun and not ended" in index.verify().problems
    Indexing(store, "faq", embedder, SETTINGS).renew(["hours"], progress=None)
    assert index.search("desk", 1)[0].metadata == {"year": 2026}
