"""What can go wrong, for a person to act on: the root of every package's exceptions, and storage's own."""


class ArbiterError(Exception):
    """Something the user can act on. The message is one line: what, which value, what to do next."""


class StorageError(ArbiterError):
    """A file, a folder or a database cannot be read or written."""
