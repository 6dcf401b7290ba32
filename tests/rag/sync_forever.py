"""Syncs an index to one content and the other in turn until it is killed.

Run by test_crash.py: `python -m tests.rag.sync_forever HOME SECONDS_PER_TEXT`.
Prints a line when the first text is embedded and one after each sync.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from rag.chunking.chunk import ChunkSettings
from rag.documents.document import Document
from rag.index import Index
from tests.rag.conftest import FakeEmbedder

SETTINGS = ChunkSettings(8, 2)
# Half of the documents are the same in both, a quarter differ, a quarter are in one content only.
CONTENTS = tuple(
    tuple(
        Document(f"doc{n}", "Title", f"word{n} " * 10 + ("" if n % 2 else side))
        for n in range(200)
        if n % 4 or (n % 8 == 0) == (side == "left")
    )
    for side in ("left", "right")
)


def main() -> None:
    home, seconds_per_text = Path(sys.argv[1]), float(sys.argv[2])
    index = Index.create(home, "faq", FakeEmbedder(seconds_per_text=seconds_per_text), SETTINGS)
    for content in itertools.cycle(CONTENTS):
        index.sync(content, progress=lambda done, total: _say("embedded"))
        _say("synced")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
