"""What can go wrong with a recorded decision; HTTP answers 404 and 409."""

from __future__ import annotations

from serving.errors import ServingError


class UnknownDecision(ServingError):
    """No decision has this id."""


class NotPromotable(ServingError):
    """The decision cannot be what `auto` means; the message says why and what to do."""
