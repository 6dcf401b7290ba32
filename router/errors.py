"""The router's exceptions: what an engine can do wrong, and what a caller should do about each."""

from __future__ import annotations

from storage.errors import ArbiterError


class RouterError(ArbiterError):
    """Base of everything the router raises; the message is one line a person can act on."""


class EngineUnavailable(RouterError):
    """The engine cannot be reached, is restarting or failed inside; the same request may succeed later."""


class EngineRejected(RouterError):
    """The engine refused this request (HTTP 4xx); repeating it unchanged cannot help."""

    def __init__(self, message: str, *, status: int, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
