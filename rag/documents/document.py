"""A document: one source as text, with what a citation needs. `content_hash(document)` names its content."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace

from rag.errors import RagError

# The key in the metadata of a row of JSON under which its file is known. How that is called is no content.
FILE = "arbiter:file"
# NUL as JSON writes it; behind another backslash it is six plain characters.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


@dataclass(frozen=True, slots=True)
class Document:
    """A source as given. `id` is unique within an index; `metadata` must be expressible as JSON.

    `text` is plain text or Markdown. `source` is the path or file name that a citation shows, '' if there is none.
    `pages` holds the offset in `text`, in characters, at which each page begins; () if the source has no pages.
    """

    id: str
    title: str
    text: str
    metadata: Mapping[str, object] = field(default_factory=dict)
    source: str = ""
    pages: tuple[int, ...] = ()


def content_hash(document: Document) -> str:
    """Hash (hex) over everything in the document but FILE: equal hashes mean that nothing has to be done again.

    Raises RagError if the metadata is not JSON, or a string is not valid Unicode or holds NUL, which databases refuse.
    """
    try:
        metadata = {key: value for key, value in document.metadata.items() if key != FILE}
        content = json.dumps(astuple(replace(document, metadata=metadata)), sort_keys=True, ensure_ascii=False)
        if "\\u0000" in content and _NUL.search(content):
            raise ValueError("it holds a NUL character")
        return hashlib.sha256(content.encode()).hexdigest()
    except (TypeError, ValueError) as error:
        raise RagError(f"document {document.id!r} cannot be stored ({error}); correct its text or metadata") from error
