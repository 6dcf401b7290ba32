from __future__ import annotations

import pytest

from rag.chunking.chunk import Chunk, ChunkSettings, embedding_text
from rag.chunking.split import split_documents
from rag.documents.document import Document
from rag.errors import RagError


def _words(text: str) -> int:
    return len(text.split())


def test_a_document_that_fits_is_one_stripped_chunk() -> None:
    document = Document("a", "T", "\n One two.\n\nThree.\n", {"m": 1})

    (chunk,) = split_documents([document], ChunkSettings(3, 0), _words)

    assert (chunk.document_id, chunk.title, chunk.text, chunk.position) == ("a", "T", "One two.\n\nThree.", 0)
    assert chunk.metadata == {"m": 1}


def test_cuts_fall_between_sentences() -> None:
    text = "One two three. Four five six. Seven eight nine."

    chunks = split_documents([Document("a", "", text)], ChunkSettings(6, 0), _words)

    assert [chunk.text for chunk in chunks] == ["One two three. Four five six.", "Seven eight nine."]
    assert [chunk.position for chunk in chunks] == [0, 1]


def test_neighbours_share_the_overlap() -> None:
    text = " ".join(str(number) for number in range(10))

    chunks = split_documents([Document("a", "", text)], ChunkSettings(4, 2), _words)

    assert [chunk.text for chunk in chunks] == ["0 1 2 3", "2 3 4 5", "4 5 6 7", "6 7 8 9"]


def test_no_word_is_lost_and_no_chunk_is_longer_than_allowed() -> None:
    text = "\n\n".join(" ".join(f"w{p}-{w}" for w in range(37)) + "." for p in range(9))

    chunks = split_documents([Document("a", "", text)], ChunkSettings(20, 0), _words)

    assert " ".join(chunk.text for chunk in chunks).split() == text.split()
    assert max(_words(chunk.text) for chunk in chunks) <= 20


def test_an_unbroken_run_is_cut_although_it_counts_as_one_token() -> None:
    chunks = split_documents([Document("a", "", "x" * 10_000)], ChunkSettings(10, 0), lambda text: min(1, len(text)))

    assert "".join(chunk.text for chunk in chunks) == "x" * 10_000
    assert max(len(chunk.text) for chunk in chunks) < 200


def test_a_blank_document_has_no_chunks() -> None:
    assert split_documents([Document("a", "T", " \n ")], ChunkSettings(), _words) == []


def test_chunk_ids_differ_by_document_position_title_and_text_and_repeat_otherwise() -> None:
    documents = [
        Document("a", "T", "x x x x"),
        Document("b", "T", "x x"),
        Document("c", "T", "x x"),
        Document("d", "T", "y y"),
    ]
    settings = ChunkSettings(2, 0)

    ids = [chunk.id for chunk in split_documents(documents, settings, _words)]

    assert len(set(ids)) == 5
    assert ids == [chunk.id for chunk in split_documents(documents, settings, _words)]
    retitled = split_documents([Document("b", "U", "x x")], settings, _words)
    assert retitled[0].id not in ids


@pytest.mark.parametrize(
    ("title", "text", "expected"),
    [
        ("Fines", "Ten cents a day.", "Fines\nTen cents a day."),
        ("Fines", "All fines are ten cents.", "All fines are ten cents."),
        ("", "Ten cents.", "Ten cents."),
    ],
)
def test_the_title_is_embedded_where_the_text_does_not_say_it(title: str, text: str, expected: str) -> None:
    assert embedding_text(Chunk("id", "a", title, text, 0)) == expected


@pytest.mark.parametrize(("chunk_tokens", "overlap_tokens"), [(0, 0), (-1, 0), (10, -1), (10, 10), (10, 11)])
def test_impossible_settings_are_refused(chunk_tokens: int, overlap_tokens: int) -> None:
    with pytest.raises(RagError, match="_tokens must be"):
        ChunkSettings(chunk_tokens, overlap_tokens)
