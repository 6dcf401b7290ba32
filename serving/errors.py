"""What can go wrong while serving. The command line prints the message and exits 2; serving/http/errors.py maps the
class to a status.
"""

from storage.errors import ArbiterError


class ServingError(ArbiterError):
    """Something the user can act on. The message is one line: what, which value, what to do next."""


class EngineFailed(ServingError):
    """An engine did not start, or died. The message also holds its command and the last lines of its log."""


class Refused(ServingError):
    """What was asked for cannot be done. `param` names the field at fault, `code` is for programs."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class Invalid(Refused):
    """A value is not one that can be honoured."""


class Unauthorized(Refused):
    """The key is missing or wrong."""


class NotFound(Refused):
    """Nothing has this id or name."""


class Moved(Refused):
    """It is at another place now; the message says where."""


class Conflict(Refused):
    """It cannot be done as things stand."""


class TooLarge(Refused):
    """There is more of it than is taken."""


class Overloaded(Refused):
    """Too much waits already; later it can be done."""


class ClientGone(Refused):
    """Nobody waits for the answer any longer."""


class NotPromotable(Conflict):
    """The decision cannot be what `auto` means; the message says why and what to do."""
