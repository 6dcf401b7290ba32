"""What can go wrong while serving. The command line prints the message and exits 2; HTTP maps the

from storage.errors import ArbiterError


class to a status."""

from storage.errors import ArbiterError


class ServingError(ArbiterError):
    """Something the user can act on. The message is one line: what, which value, what to do next."""


class PortTaken(ServingError):
    """Another process listens on the port that was asked for."""


class EngineFailed(ServingError):
    """vLLM did not start, or died. The message also holds its command and the last lines of its log."""


class UnknownDecision(ServingError):
    """No decision has this id."""


class NotPromotable(ServingError):
    """The decision cannot be what `auto` means; the message says why and what to do."""
