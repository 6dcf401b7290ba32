"""What is found by a key is looked up: no search and no small change reads an index from end to end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from rag.documents.document import Document
from rag.index import Index
from rag.search.filters import parse_filter
from rag.search.settings import SearchSettings
from tests.rag.conftest import Library

# A step that reads every row of a large table, or all of one index.
_WHOLE = re.compile(
    r"SCAN (chunks|documents|vectors|attributes|pending_embeddings)"
    r"|SEARCH (chunks|documents|vectors|attributes) USING .*\(index_id=\?\)"
    r"|SEARCH pending_embeddings USING .*\(index_name=\?( AND origin=\?)?\)"
)


@pytest.fixture
def whole() -> Iterator[list[str]]:
    """The statements so far that read the whole of something, with the step of SQLite's plan that does."""
    found: list[str] = []

    def explain(
        connection: sa.Connection, _cursor: Any, statement: str, parameters: Any, _context: Any, is_many: bool
    ) -> None:
        if statement.startswith(("SELECT", "DELETE", "UPDATE")):
            cursor = connection.connection.cursor()
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters[0] if is_many else parameters)
            found.extend(f"{row[3]}: {statement}" for row in cursor.fetchall() if _WHOLE.match(row[3]))

    sa.event.listen(sa.Engine, "before_cursor_execute", explain)
    yield found
    sa.event.remove(sa.Engine, "before_cursor_execute", explain)


def test_a_search_reads_the_chunks_that_it_found(index: Index, whole: list[str]) -> None:
    index.sync([Document(f"{n:03}", "", f"the desk of word{n} opens", {"page": n % 2}) for n in range(60)])
    index.search("desk", 1, settings=SearchSettings(mode="hybrid"))  # the views, which are made of all rows
    whole.clear()

    settings = SearchSettings(mode="hybrid", neighbours=1)
    index.search(
        "the desk opens", 3, settings=settings, filters=parse_filter({"type": "eq", "key": "page", "value": 1})
    )
    assert len(index.search("the desk opens", 20, settings=settings)) == 20

    assert whole == []


def test_a_small_change_reads_what_it_changes(index: Index, library: Library, whole: list[str]) -> None:
    index.sync([*library, *(Document(f"{n:03}", "", f"word{n}") for n in range(200))])
    index.search("desk", 1, settings=SearchSettings(mode="hybrid"))
    whole.clear()

    index.add([Document(f"{n:03}", "", f"other{n}") for n in range(8)])
    index.delete(["010", "011", "012"])
    index.set_metadata("fines", {"year": 2026})
    index.search("other3", 3)

    # What a run has kept for documents that are deleted goes by its origin.
    assert [statement for statement in whole if "pending_embeddings" not in statement] == []
    assert len(whole) <= 1
