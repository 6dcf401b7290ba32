"""Text files that are old or new, never torn: `replace_text(run / "card.json", text)`."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from storage.disk import refuse_full_disk, sync_path
from storage.errors import StorageError


def replace_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old or the new text. Raises StorageError when it cannot be written."""
    with replace_file(path) as file:
        file.write(text)


@contextlib.contextmanager
def replace_file(path: Path) -> Iterator[TextIO]:
    """As `replace_text`, for a text that is written piece by piece; an exception leaves the old file."""
    draft = path.with_name(f".{path.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with refuse_full_disk(path):
            with draft.open("w", encoding="utf-8") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
            sync_path(path.parent)
    except OSError as error:
        raise StorageError(f"cannot write {str(path)!r}: {error.strerror or error}; check the path") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
