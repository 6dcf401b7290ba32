"""Packages that not every installation has: `missing("method qlora", "bitsandbytes", "pip install bitsandbytes")`."""

from __future__ import annotations

import importlib.util


def missing(what: str, package: str, install: str) -> str | None:
    """Why `what` cannot be used here, and the line that helps; None where its package, "" for none, is installed."""
    if not package or importlib.util.find_spec(package.replace("-", "_")) is not None:
        return None
    return f"{what} needs the package {package}; install it: {install}"
