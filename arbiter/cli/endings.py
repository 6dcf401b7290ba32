"""How a command ends: whatever was raised inside becomes one line on standard error and an exit code.

line, code = ending(error, data_home() / LOG)

What nobody foresaw is a line too; its traceback goes to the log that the line names. `ARBITER_DEBUG=1` shows the
traceback of every error instead.
"""

from __future__ import annotations

import errno
import sqlite3
import time
import traceback
from pathlib import Path

from eval.tasks import first_error
from storage.errors import ArbiterError
from storage.files import is_full_disk

EXIT_MISSED = 1
EXIT_FAILED = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

LOG = "arbiter.log"
# What a stopped command says; Typer and signal handlers end it with the exit code alone.
STOPPED: dict[object, str] = {
    EXIT_INTERRUPTED: "interrupted; the same command goes on where it stopped",
    EXIT_TERMINATED: "terminated; the same command goes on where it stopped",
}
_DISK_FULL = "the disk is full; free some space and run the same command again"
_OUT_OF_MEMORY = (
    "out of memory; end other programs or lower engine.kv_cache_gib, eval.concurrency or adapters.NAME.batch_size, and "
    "run the same command again: it goes on where it stopped"
)
# What torch, vLLM and the kernel say where Python would raise MemoryError.
_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "unable to allocate")
_MESSAGE_CHARACTERS = 300


def ending(error: BaseException, log: Path) -> tuple[str, int]:
    """The line to end with, and the exit code. What is not meant for a user is written to `log` with its traceback."""
    error = first_error(error)
    if isinstance(error, KeyboardInterrupt):
        return STOPPED[EXIT_INTERRUPTED], EXIT_INTERRUPTED
    causes = [error]
    while (cause := causes[-1].__cause__) is not None and cause not in causes:
        causes.append(cause)
    if isinstance(error, ArbiterError):
        line = " ".join(str(error).split())
    elif any(isinstance(cause, OSError | sqlite3.Error) and is_full_disk(cause, log) for cause in causes):
        line = _DISK_FULL
    elif any(map(_is_out_of_memory, causes)):
        line = _OUT_OF_MEMORY
    else:
        line = f"{_told(error, causes)}; {_logged(error, log)}"
    return f"error: {line}", EXIT_FAILED


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    says_so = any(words in str(error).lower() for words in _NO_MEMORY)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and says_so)


def _told(error: BaseException, causes: list[BaseException]) -> str:
    """What happened, in one line."""
    database = next((cause for cause in causes if isinstance(cause, sqlite3.Error)), None)
    if database is not None:
        return f"a database cannot be read or written ({_one_line(database)})"
    if isinstance(error, OSError) and error.strerror:
        place = f": {error.filename!r}" if error.filename is not None else ""
        return f"{error.strerror.lower()}{place}"
    return f"unexpected {type(error).__name__}: {_one_line(error)}"


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or "no message"
    return text if len(text) <= _MESSAGE_CHARACTERS else text[: _MESSAGE_CHARACTERS - 1] + "…"


def _logged(error: BaseException, log: Path) -> str:
    """Write the traceback down and say where."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}\n{''.join(traceback.format_exception(error))}\n")
    except OSError:
        return "ARBITER_DEBUG=1 shows the traceback"
    return f"the traceback is in {str(log)!r}"
