"""The one exception of `rag`: `except RagError as error: print(f"error: {error}")`."""

from __future__ import annotations

from storage.errors import ArbiterError


class RagError(ArbiterError):
    """What went wrong with documents or an index, in one line a person can act on."""
