"""A document's bytes as text, with what is wrong as documents say it: `decode(file.read_bytes())`."""

from __future__ import annotations

from rag.errors import RagError
from storage import encoding
from storage.errors import StorageError


def decode(data: bytes, declared: str | None = None) -> str:
    """As `storage.encoding.decode`. Raises RagError with the reason if the bytes are no text."""
    try:
        return encoding.decode(data, declared)
    except StorageError as error:
        raise RagError(str(error)) from error
