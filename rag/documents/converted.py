"""A converted file, and where conversions are kept: `cache.get(digest) or convert(...)`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Converted:
    """A file as text. `title` is '' if the file names none.

    `text` is Markdown where the format has headings and tables. `pages` holds the offset in `text`, in characters, at
    which each page, slide or sheet begins; () if the format has none.
    """

    title: str
    text: str
    pages: tuple[int, ...] = ()


class ConversionCache(Protocol):
    """Conversions by digest. A digest covers the file's bytes, its kind and the converter's version."""

    def get(self, digest: str) -> Converted | None:
        """The conversion put under this digest, None if there is none."""
        ...

    def put(self, digest: str, converted: Converted) -> None:
        """Keep a conversion; the digest may be known already."""
        ...
