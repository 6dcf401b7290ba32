from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from rag.chunking.chunk import ChunkSettings
from rag.documents.document import Document
from rag.errors import RagError
from rag.home import IndexHome
from rag.index import Index, SyncReport
from rag.search.settings import SearchSettings
from storage.errors import StorageError
from tests.fakes.indexes import create_index, open_index
from tests.rag.conftest import SETTINGS, Library

DENSE = SearchSettings(mode="dense")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str | None:
    """Everything here holds on both databases."""
    return None if request.param == "sqlite" else request.getfixturevalue("postgres_url")


def _counts(report: SyncReport) -> tuple[int, int, int, int]:
    return report.added, report.updated, report.removed, report.unchanged


def _files(index: Index, home: Path) -> list[str]:
    return sorted(file.name for file in (home / "indexes" / index.name).iterdir())


def test_search_gives_the_nearest_passage_first_with_all_it_is_known_by(index: Index) -> None:
    first, second = index.search("When does the desk open?", 2)

    assert (first.document_id, first.title, first.rank, second.rank) == ("hours", "Loan desk hours", 1, 2)
    assert first.text == "The desk opens at nine and closes at five."
    assert first.metadata == {"page": 1}
    assert first.chunk_id == index.chunks_of("hours")[0].id
    assert 1 >= first.score > second.score


def test_the_score_is_the_cosine(home: Path, embedder: Any, url: str | None) -> None:
    index = create_index(home, "faq", embedder, SETTINGS, url=url, settings=DENSE)
    index.sync([Document("a", "", "red green blue grey")])

    # One shared word of four, against a query of one word: 1 / (sqrt(4) * sqrt(1)).
    assert index.search("red", 1)[0].score == pytest.approx(0.5)
    assert index.search("blue red grey green", 1)[0].score == pytest.approx(1)


def test_the_title_is_searched_too(index: Index) -> None:
    assert index.search("loan", 1)[0].document_id == "hours"


@pytest.mark.parametrize("mode", ["dense", "bm25"])
def test_every_row_of_a_long_table_is_found_by_its_column(
    home: Path, embedder: Any, url: str | None, mode: Literal["dense", "bm25"]
) -> None:
    index = create_index(home, "faq", embedder, ChunkSettings(40, 0), url=url, settings=SearchSettings(mode=mode))
    rows = "\n".join(f"| part{number} | {number} |" for number in range(40))
    index.sync([Document("parts", "", f"| name | shelf |\n|---|---|\n{rows}"), Document("a", "", "nothing of it")])

    found = index.search("shelf", 100, settings=SearchSettings(mode=mode, threshold=0.01))
    assert len(found) == len(index.chunks_of("parts")) > 3
    assert {passage.document_id for passage in found} == {"parts"}


def test_search_returns_fewer_than_k_when_index_is_small(index: Index) -> None:
    assert [passage.rank for passage in index.search("desk", 1_000)] == [1, 2, 3]


@pytest.mark.parametrize("k", [0, -1, 1_001, 1_000_000])
def test_search_refuses_a_k_that_is_no_number_of_passages(index: Index, k: int) -> None:
    with pytest.raises(RagError, match=f"k must be from 1 to 1000, not {k}"):
        index.search("desk", k)


def test_search_takes_a_query_that_is_empty_or_no_valid_unicode(index: Index) -> None:
    assert len(index.search("", 3)) == 3
    assert len(index.search("desk \ud800", 3)) == 3


def test_ties_are_in_the_order_of_document_id_and_position(home: Path, embedder: Any, url: str | None) -> None:
    index = create_index(home, "faq", embedder, SETTINGS, url=url)
    index.sync([Document(f"doc{number:02}", "", "the same words") for number in reversed(range(40))])

    expected = [f"doc{number:02}" for number in range(40)]
    assert [passage.document_id for passage in index.search("same", 40)] == expected
    assert [passage.document_id for passage in index.search("same", 5)] == expected[:5]


def test_a_query_is_embedded_once(index: Index, embedder: Any) -> None:
    index.search("desk", 1)
    before = embedder.num_embedded
    index.search("desk", 3)

    assert embedder.num_embedded == before


def test_the_first_sync_reports_and_counts_what_it_added(
    home: Path, embedder: Any, library: Library, url: str | None
) -> None:
    index = create_index(home, "faq", embedder, SETTINGS, url=url)
    calls: list[tuple[int, int]] = []

    report = index.sync(library, progress=lambda done, total: calls.append((done, total)))

    assert _counts(report) == (3, 0, 0, 0)
    assert (report.num_chunks, report.embedded_chunks) == (3, 3)
    assert calls == [(3, 3)]
    assert (index.state.num_documents, index.state.num_chunks, index.state.generation) == (3, 3, 1)


def test_progress_counts_to_the_total_over_several_commits(home: Path, embedder: Any, url: str | None) -> None:
    index = create_index(home, "faq", embedder, SETTINGS, url=url)
    calls: list[tuple[int, int]] = []

    index.sync(
        [Document(f"{n}", "", f"word{n}") for n in range(1200)],
        progress=lambda done, total: calls.append((done, total)),
    )

    assert calls == [(128, 1200), (1200, 1200)]


def test_syncing_unchanged_documents_embeds_and_writes_nothing(
    index: Index, embedder: Any, library: Library, home: Path
) -> None:
    def bytes_written() -> dict[str, tuple[int, int]]:
        return {str(file): (file.stat().st_mtime_ns, file.stat().st_size) for file in home.rglob("*") if file.is_file()}

    before, embedded = bytes_written(), embedder.num_embedded

    report = index.sync(reversed(library))

    assert _counts(report) == (0, 0, 0, 3)
    assert (report.num_chunks, report.embedded_chunks) == (3, 0)
    assert (index.state.generation, embedder.num_embedded) == (1, embedded)
    assert bytes_written() == before


def test_an_update_replaces_and_embeds_only_what_changed(index: Index, embedder: Any, library: Library) -> None:
    hours, *others = library
    embedded = embedder.num_embedded

    report = index.sync([Document("hours", hours.title, "The desk opens at ten."), *others])

    assert _counts(report) == (0, 1, 0, 2)
    assert embedder.num_embedded == embedded + 1
    assert [chunk.text for chunk in index.chunks_of("hours")] == ["The desk opens at ten."]
    assert all("nine" not in passage.text for passage in index.search("The desk opens at nine", 10))


@pytest.mark.parametrize("change", [{"title": "Opening"}, {"metadata": {"page": 2}}])
def test_a_new_title_or_new_metadata_is_an_update(index: Index, library: Library, change: dict[str, Any]) -> None:
    hours, *others = library
    old = {"id": hours.id, "title": hours.title, "text": hours.text, "metadata": hours.metadata}
    version = index.state.version

    report = index.sync([Document(**{**old, **change}), *others])

    passage = index.search("desk opens nine closes five", 1)[0]
    assert _counts(report) == (0, 1, 0, 2)
    assert {"title": passage.title, "metadata": passage.metadata} | change == {
        "title": passage.title,
        "metadata": passage.metadata,
    }
    assert index.state.version != version


def test_a_deleted_document_is_never_found_again(
    index: Index, embedder: Any, library: Library, home: Path, url: str | None
) -> None:
    report = index.sync(library[1:])

    assert _counts(report) == (0, 0, 1, 2)
    for reader in (index, open_index(home, "faq", embedder, url=url)):
        assert {passage.document_id for passage in reader.search("The desk opens at nine", 10)} == {"fines", "rooms"}
        assert reader.chunks_of("hours") == ()
        assert reader.state.num_documents == 2
    assert _files(index, home) == ["2.bm25", "2.faiss"]


def test_nothing_of_a_deleted_document_is_kept_that_would_spare_embedding_it_again(
    index: Index, library: Library
) -> None:
    index.sync(library[1:])

    assert index.sync(library).embedded_chunks == 1


def test_an_index_can_be_emptied_and_filled_again(index: Index, library: Library) -> None:
    index.sync([])
    assert (index.search("desk", 3), index.state.num_chunks, index.state.indexing_s) == ((), 0, 0.0)

    index.sync(library)
    assert len(index.search("desk", 3)) == 3


def test_equal_content_has_an_equal_version_whatever_its_history(
    home: Path, embedder: Any, library: Library, url: str | None
) -> None:
    straight = create_index(home, "straight", embedder, SETTINGS, url=url)
    straight.sync(library)
    winding = create_index(home, "winding", embedder, SETTINGS, url=url)
    for documents in (library[2:], library[:2], [Document("hours", "", "Other.")], tuple(reversed(library))):
        winding.sync(documents)

    assert winding.state.version == straight.state.version
    assert winding.state.generation == 4
    assert winding.search("desk", 3) == straight.search("desk", 3)


@pytest.mark.parametrize(
    "other", [{"settings": ChunkSettings(21, 0)}, {"settings": ChunkSettings(20, 1)}, {"embedder_name": "fake@2"}]
)
def test_settings_and_embedder_are_part_of_the_version(
    index: Index, home: Path, library: Library, make_embedder: Any, other: dict[str, Any], url: str | None
) -> None:
    second = create_index(
        home, "second", make_embedder(other.get("embedder_name", "fake@1")), other.get("settings", SETTINGS), url=url
    )
    second.sync(library)

    assert second.state.version != index.state.version


def test_a_text_that_another_index_holds_is_not_embedded_again_and_costs_what_it_cost(
    index: Index, home: Path, embedder: Any, library: Library, url: str | None
) -> None:
    second = create_index(home, "second", embedder, SETTINGS, url=url)

    assert second.sync(library).embedded_chunks == 0
    assert second.state.indexing_s == pytest.approx(index.state.indexing_s)
    assert index.state.indexing_s > 0


def test_indexing_seconds_are_those_of_the_present_content(
    home: Path, make_embedder: Any, library: Library, url: str | None
) -> None:
    index = create_index(home, "faq", make_embedder(seconds_per_text=0.02), SETTINGS, url=url)
    index.sync(library)
    assert 0.06 <= index.state.indexing_s < 0.3

    whole = index.state.indexing_s
    index.sync(library[:1])
    assert index.state.indexing_s == pytest.approx(whole / 3)


def test_open_gives_the_index_another_process_made(
    index: Index, home: Path, make_embedder: Any, url: str | None
) -> None:
    embedder = make_embedder()

    opened = open_index(home, "faq", embedder, url=url)

    assert opened.search("desk", 3) == index.search("desk", 3)
    assert embedder.num_embedded == 1  # the query
    assert (opened.state.version, opened.state.generation) == (index.state.version, 1)


def test_open_syncs_with_the_settings_the_index_was_made_with(
    index: Index, home: Path, embedder: Any, url: str | None
) -> None:
    opened = open_index(home, "faq", embedder, url=url)

    opened.sync([Document("long", "", " ".join(f"w{n}" for n in range(40)))])

    assert [len(chunk.text.split()) for chunk in opened.chunks_of("long")] == [20, 20]


def test_open_refuses_an_index_that_does_not_exist_and_says_how_to_make_it(
    home: Path, embedder: Any, url: str | None
) -> None:
    with pytest.raises(
        RagError, match=r"no index 'faq' \(there is none yet\); create it with: arbiter index add faq FOLDER"
    ):
        open_index(home, "faq", embedder, url=url)
    assert not home.exists()


def test_an_index_exists_from_its_first_sync_on(home: Path, embedder: Any, url: str | None) -> None:
    created = create_index(home, "faq", embedder, SETTINGS, url=url)

    assert (created.state.generation, created.state.num_chunks, created.state.version) == (0, 0, "")
    for attempt in (lambda: created.search("desk", 1), lambda: open_index(home, "faq", embedder, url=url)):
        with pytest.raises(RagError, match="no index 'faq'"):
            attempt()


def test_open_refuses_another_embedder(index: Index, home: Path, make_embedder: Any, url: str | None) -> None:
    with pytest.raises(RagError, match="built with embedder 'fake@1', not 'fake@2'"):
        open_index(home, "faq", make_embedder("fake@2"), url=url)


def test_an_empty_index_takes_another_embedder_and_other_settings_at_its_next_sync(
    home: Path, embedder: Any, make_embedder: Any, url: str | None
) -> None:
    create_index(home, "empty", embedder, ChunkSettings(20, 0), url=url).sync([])

    create_index(home, "empty", make_embedder("fake@2"), ChunkSettings(10, 0), url=url).sync([])

    (state,) = IndexHome(home, url=url).states().values()
    assert (state.embedder, state.settings) == ("fake@2", ChunkSettings(10, 0))


def test_create_with_another_embedder_rebuilds_at_the_next_sync_and_leaves_the_old_index_until_then(
    index: Index, home: Path, library: Library, make_embedder: Any, url: str | None
) -> None:
    other = make_embedder("fake@2", dimension=64)
    renewed = create_index(home, "faq", other, SETTINGS, url=url)
    with pytest.raises(RagError, match="built with embedder 'fake@1'"):
        renewed.search("desk", 1)
    assert len(index.search("desk", 3)) == 3

    report = renewed.sync(library)

    assert _counts(report) == (0, 3, 0, 0)
    assert report.embedded_chunks == 3
    assert renewed.search("When does the desk open?", 1)[0].document_id == "hours"
    with pytest.raises(RagError, match="built with embedder 'fake@2', not 'fake@1'"):
        index.search("desk", 1)


def test_create_with_other_chunk_settings_cuts_again_at_the_next_sync(
    index: Index, home: Path, embedder: Any, library: Library, url: str | None
) -> None:
    renewed = create_index(home, "faq", embedder, ChunkSettings(5, 0), url=url)

    report = renewed.sync(library)

    assert _counts(report) == (0, 3, 0, 0)
    assert [chunk.text for chunk in renewed.chunks_of("hours")] == ["The desk opens at nine", "and closes at five."]
    assert [chunk.position for chunk in renewed.chunks_of("hours")] == [0, 1]
    assert open_index(home, "faq", embedder, url=url).state.version == renewed.state.version


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "é", "x" * 101, "a\n"])
def test_impossible_names_are_refused(home: Path, embedder: Any, name: str, url: str | None) -> None:
    with pytest.raises(RagError, match="index name"):
        open_index(home, name, embedder, url=url)
    with pytest.raises(RagError, match="index name"):
        create_index(home, name, embedder, SETTINGS, url=url)


@pytest.mark.parametrize(
    ("documents", "complaint"),
    [
        ([Document("a", "", "x"), Document("a", "", "y")], "two different documents have the id 'a'"),
        ([Document("a", "", "x", {"m": {1}})], "document 'a' cannot be stored"),
        ([Document("a", "", "\ud800")], "document 'a' cannot be stored"),
        ([Document("a", "", "x", {"m": "\0"})], "document 'a' cannot be stored"),
    ],
)
def test_documents_that_cannot_be_indexed_leave_the_index_as_it_was(
    index: Index, documents: list[Document], complaint: str
) -> None:
    before = index.state.version
    with pytest.raises(RagError, match=complaint):
        index.sync(documents)

    assert (index.state.version, index.state.generation) == (before, 1)


def test_an_embedder_that_returns_no_numbers_is_refused(
    home: Path, make_embedder: Any, library: Library, url: str | None
) -> None:
    broken = make_embedder()
    broken.embed = lambda texts, **_: np.full((len(texts), broken.dimension), np.nan, dtype=np.float32)

    with pytest.raises(RagError, match="returned no valid vectors"):
        create_index(home, "faq", broken, SETTINGS, url=url).sync(library)


def test_a_closed_index_opens_again_by_itself(index: Index) -> None:
    index.close()

    assert len(index.search("desk", 3)) == 3


def test_names_may_hold_letters_digits_dots_dashes_and_underscores(
    home: Path, embedder: Any, library: Library, url: str | None
) -> None:
    create_index(home, "Team-1_v2.0", embedder, SETTINGS, url=url).sync(library)

    assert open_index(home, "Team-1_v2.0", embedder, url=url).state.num_documents == 3


def test_a_data_directory_that_cannot_be_made_is_refused(tmp_path: Path, embedder: Any, url: str | None) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageError, match="data directory"):
        create_index(tmp_path / "file" / "home", "faq", embedder, SETTINGS, url=url)
