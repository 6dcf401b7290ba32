"""kill -9 at random points: the index then holds the old content or the new one, whole, and the next run goes on."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rag.errors import RagError
from rag.index import Index
from tests.rag.sync_forever import CONTENTS, SETTINGS

ROOT = Path(__file__).parents[2]


def _kill(home: Path, *, seconds_per_text: float, after: str, pause_s: float) -> None:
    """Starts the worker, waits for its first line that says `after`, and kills it `pause_s` later."""
    command = [sys.executable, "-m", "tests.rag.sync_forever", str(home), str(seconds_per_text)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == after:
                break
        time.sleep(pause_s)
        process.kill()


def test_killed_at_ten_random_points_the_index_is_old_or_new_and_whole(
    home: Path, tmp_path: Path, make_embedder: Any
) -> None:
    versions = []
    for number, content in enumerate(CONTENTS):
        reference = Index.create(tmp_path / "reference", f"content{number}", make_embedder(), SETTINGS)
        reference.sync(content)
        versions.append(reference.version)
    rng = random.Random(0)

    Index.create(home, "faq", make_embedder(), SETTINGS).sync(CONTENTS[0])

    # Half of the kills fall into the 30 ms between the last embedding and the end of the commit, half anywhere.
    for after, longest_s in [("embedded", 0.03), ("synced", 0.2)] * 5:
        _kill(home, seconds_per_text=0, after=after, pause_s=rng.uniform(0, longest_s))

        index = Index.open(home, "faq", make_embedder())
        content = CONTENTS[versions.index(index.version)]
        passages = index.search("word1", 1_000_000)
        assert {passage.document_id for passage in passages} == {document.id for document in content}
        assert len(passages) == index.num_chunks
        for document in rng.sample(content, 20):
            chunk = index.chunks_of(document.id)[0]
            assert chunk.text in document.text
            found = {passage.chunk_id: passage.score for passage in index.search(f"Title {chunk.text}", 10)}
            assert found[chunk.id] == pytest.approx(1)


def test_killed_while_embedding_the_next_run_embeds_only_the_rest(home: Path, make_embedder: Any) -> None:
    _kill(home, seconds_per_text=0.005, after="embedded", pause_s=0.3)
    embedder = make_embedder()
    with pytest.raises(RagError, match="no index 'faq'"):
        Index.open(home, "faq", embedder)

    report = Index.create(home, "faq", embedder, SETTINGS).sync(CONTENTS[0])

    assert report.embedded_chunks == report.num_chunks - 128
