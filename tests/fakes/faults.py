"""What may be raised inside a command: errors of ours, of the system, of libraries, and a stop."""

import errno
import sqlite3

from rag.errors import RagError

ERRORS = (
    RagError("the index is damaged"),
    OSError(errno.EIO, "Input/output error"),
    OSError(errno.ENOSPC, "No space left on device"),
    MemoryError(),
    sqlite3.OperationalError("database is locked"),
    ExceptionGroup("tasks", [ValueError("one"), RagError("the index is damaged")]),
    KeyboardInterrupt(),
    ValueError("several\nlines"),
)
