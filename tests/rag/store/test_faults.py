from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from rag.store import faults
from storage.database import Database

_FILL = (
    "INSERT INTO indexes VALUES (1, 'faq', 'fake@1', '{}', 1, 'token', '0', 1, 20000, 0)",
    "INSERT INTO documents VALUES (1, 'a', '', '', '0', 20000, 0, '', '', '[]', '{}', '')",
    "INSERT INTO chunks SELECT n, 1, 'a', n, 1, '', '', 0, NULL, '[]', NULL, NULL, '' FROM generate_series(1, 20000) n",
    "INSERT INTO vectors SELECT n, 1, 0, '' FROM generate_series(1, 20000) n",
    "ANALYZE chunks, vectors",
    # As with the usual 4 MB and 300,000 chunks.
    "SET LOCAL work_mem = '64kB'",
)


@pytest.fixture
def plans() -> Iterator[list[str]]:
    """How PostgreSQL does each statement that counts or deletes."""
    found: list[str] = []

    def explain(
        connection: sa.Connection, _cursor: object, statement: str, parameters: object, _context: object, _is_many: bool
    ) -> None:
        if statement.startswith(("SELECT count", "DELETE")):
            cursor = connection.connection.cursor()
            cursor.execute(f"EXPLAIN {statement}", parameters)
            found.append("\n".join(row[0] for row in cursor.fetchall()))

    sa.event.listen(sa.Engine, "before_cursor_execute", explain)
    yield found
    sa.event.remove(sa.Engine, "before_cursor_execute", explain)


def test_stray_rows_of_a_large_index_are_not_looked_for_one_by_one(postgres_url: str, plans: list[str]) -> None:
    store = Database(postgres_url)
    with store.write() as rows:
        for statement in _FILL:
            rows.exec_driver_sql(statement)
        assert faults.count_stray(rows, 1) == 0
        faults.mend(rows, 1, [])
    store.close()

    assert len(plans) == 4
    # A subplan that is too large for a hash reads all chunks again for each vector.
    assert [plan for plan in plans if "SubPlan" in plan] == []
