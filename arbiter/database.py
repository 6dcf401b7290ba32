"""The database of everything that is a row: `with home_database(home) as database: Ledger(database)`.

`ARBITER_DATABASE` names it, as sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE; without it, it is a
file of the data directory.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from storage.database import Database, open_database


def database_setting(environment: Mapping[str, str] | None = None) -> str | None:
    """The URL in `ARBITER_DATABASE`, if there is one; it may hold a password."""
    return (os.environ if environment is None else environment).get("ARBITER_DATABASE") or None


@contextlib.contextmanager
def home_database(home: Path) -> Iterator[Database]:
    """The database of a data directory, closed at the end of the block. Raises StorageError."""
    with contextlib.closing(open_database(home, database_setting())) as database:
        yield database
