"""What can go wrong between examples and adapters. The command line prints the message and exits 2."""

from storage.errors import ArbiterError


class TuningError(ArbiterError):
    """Something the user can act on. The message says what, which value, and what to do next."""
