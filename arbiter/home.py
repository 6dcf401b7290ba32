"""The data directory, and the database of everything that is a row: `with home_database(home) as database: ...`.

`ARBITER_HOME` names the one, `ARBITER_DATABASE` the other, as sqlite:///FILE or
postgresql+psycopg://USER:PASSWORD@HOST/DATABASE; without it, it is a file of the data directory.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from storage.errors import StorageError

if TYPE_CHECKING:
    from storage.database import Database


def data_home() -> Path:
    """The data directory: `ARBITER_HOME`, or `.arbiter` in the working directory. Raises StorageError."""
    given = os.environ.get("ARBITER_HOME") or ".arbiter"
    try:
        home = Path(given).expanduser().resolve()
        there = next(path for path in (home, *home.parents) if path.exists())
    except (OSError, RuntimeError) as error:  # no working directory any more; no such user
        reason = (getattr(error, "strerror", None) or str(error)).rstrip(".").lower()
        raise StorageError(
            f"data directory {given!r} cannot be found: {reason}; set ARBITER_HOME to a whole path, as /srv/arbiter"
        ) from error
    if not there.is_dir():
        raise StorageError(
            f"data directory {str(home)!r} cannot be: {str(there)!r} is a file; set ARBITER_HOME to a folder"
        )
    return home


def database_setting() -> str | None:
    """The URL in `ARBITER_DATABASE`, if there is one; it may hold a password."""
    return os.environ.get("ARBITER_DATABASE") or None


@contextlib.contextmanager
def home_database(home: Path) -> Iterator[Database]:
    """The database of a data directory, closed at the end of the block. Raises StorageError."""
    from storage.database import open_database  # brings SQLAlchemy

    with contextlib.closing(open_database(home, database_setting())) as database:
        yield database
