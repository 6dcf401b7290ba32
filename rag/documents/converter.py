"""Conversions that are made once: `with open_converter(limits, cache) as convert: convert("pdf", data)`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache as once
from importlib import metadata

from rag.documents.convert import CONVERSION, PACKAGES
from rag.documents.converted import ConversionCache, Converted
from rag.documents.limits import Limits
from rag.documents.worker import Worker, borrow_worker

Convert = Callable[[str, bytes], Converted]


@contextmanager
def open_converter(limits: Limits, cache: ConversionCache | None) -> Iterator[Convert]:
    """`convert(kind, data)`, which asks the cache first and starts a child process only for what is not there.

    It raises RagError with the reason for a file that cannot be converted; that is not kept, so that another limit or
    a repaired package may do better.
    """
    with ExitStack() as opened:

        @once
        def worker() -> Worker:
            return opened.enter_context(borrow_worker(limits))

        def convert(kind: str, data: bytes) -> Converted:
            key = digest(kind, data)
            known = cache.get(key) if cache is not None else None
            if known is None:
                known = worker().convert(kind, data, limits)
                if cache is not None:
                    cache.put(key, known)
            return known

        yield convert


def digest(kind: str, data: bytes) -> str:
    """Names a conversion (hex): equal digests mean the same bytes, read as the same kind by the same converters."""
    content = hashlib.sha256(f"{kind}\0{_versions()}\0".encode())
    content.update(data)
    return content.hexdigest()


@once
def _versions() -> str:
    return " ".join([str(CONVERSION), *(f"{name}={metadata.version(name)}" for name in PACKAGES)])
