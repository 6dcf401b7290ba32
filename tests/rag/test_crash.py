"""kill -9 at random points under load: every document is then wholly old or wholly new, and the next run goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rag.chunking.split import split_documents
from rag.documents.document import Document
from rag.home import IndexHome
from rag.index import Index
from rag.search.settings import SearchSettings
from tests.rag.conftest import FakeEmbedder
from tests.rag.sync_forever import SETTINGS, State, after, document, open_index, operation, state_of

ROOT = Path(__file__).parents[2]
FIRST = 1


def _run_and_kill(worker: subprocess.Popen[str], number: int, rng: random.Random) -> tuple[int, int]:
    """Lets a child work from operation `number` on and kills it; the last operations that it began and ended."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(f"{number}\n")
    worker.stdin.flush()
    begun, ended = number - 1, number - 1
    child = 0
    # A few operations later, and then somewhere in the time that one takes.
    last = number + rng.randint(0, 4)
    is_killed = False
    for line in worker.stdout:
        word, _, value = line.strip().partition(" ")
        assert word != "error:", line
        if word == "pid":
            child = int(value)
        elif word == "begin":
            begun = int(value)
        elif word == "end":
            ended = int(value)
        elif word == "dead":
            assert is_killed, "the child ended by itself"
            return begun, ended
        if begun >= last and child and not is_killed:
            time.sleep(rng.uniform(0, 0.08))
            os.kill(child, signal.SIGKILL)
            is_killed = True
    raise AssertionError("the worker ended by itself")


def _check(index: Index, state: State) -> None:
    """The index holds the documents of the state, whole, and every search agrees."""
    assert index.verify().problems == ()
    for key, revision in state.items():
        expected = document(key, revision)
        assert index.document(key) == expected
        cut = split_documents([expected], SETTINGS, FakeEmbedder().token_spans)
        assert [chunk.id for chunk in index.chunks_of(key)] == [chunk.id for chunk in cut]
    for mode in ("dense", "bm25"):
        passages = index.search("common", 1_000, settings=SearchSettings(mode=mode))
        assert {passage.document_id for passage in passages} == set(state)
        assert len(passages) == index.state.num_chunks
        for passage in passages:
            assert f"rev{state[passage.document_id]} " in f"{passage.text} "


def _kill_repeatedly(home: Path, url: str | None, kills: int) -> None:
    rng = random.Random(kills)
    state: State = {}
    number = FIRST
    open_index(home, url).sync([])
    command = [sys.executable, "-m", "tests.rag.sync_forever", str(home), url or "-"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        try:
            for _ in range(kills):
                begun, ended = _run_and_kill(worker, number, rng)
                assert begun - ended in (0, 1)
                for done in range(number, ended + 1):
                    state = after(state, operation(done))
                number = ended + 1
                index = open_index(home, url)
                found = state_of(index)
                # What was said to be done is done; what was under way is done or not begun.
                if begun > ended and found != state:
                    state = after(state, operation(begun))
                    number = begun + 1
                assert found == state
                _check(index, state)
                index.close()
        finally:
            worker.kill()
    assert number > kills


@pytest.mark.slow
def test_killed_twice_the_index_is_old_or_new_and_whole(home: Path) -> None:
    _kill_repeatedly(home, None, 2)


@pytest.mark.slow
def test_killed_three_times_an_index_in_postgresql_is_old_or_new_and_whole(home: Path, postgres_url: str) -> None:
    _kill_repeatedly(home, postgres_url, 3)


@pytest.mark.slow
def test_killed_at_fifty_points_under_load_the_index_is_old_or_new_and_whole(home: Path) -> None:
    _kill_repeatedly(home, None, 50)


_EMBEDS = """
import sys
from pathlib import Path
from rag.documents.document import Document
from tests.rag.conftest import FakeEmbedder
from tests.rag.sync_forever import SETTINGS
from rag.home import IndexHome
index = IndexHome(Path(sys.argv[1])).create("faq", FakeEmbedder(seconds_per_text=0.0005), SETTINGS)
documents = [Document(f"{n}", "", f"word{n}") for n in range(2000)]
index.sync(documents, progress=lambda done, total: print("go", flush=True))
"""


@pytest.mark.slow
def test_killed_while_embedding_the_next_run_embeds_only_the_rest(home: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _EMBEDS, str(home)], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        # The second batch is embedded, so the first is committed.
        for _ in range(2):
            process.stdout.readline()
        process.kill()
    index = IndexHome(home).create("faq", FakeEmbedder(), SETTINGS)
    assert index.state.generation == 0

    # A change of another origin does not throw away what was embedded.
    index.add([Document("other", "", "another text")], origin="other")
    report = index.sync([Document(f"{n}", "", f"word{n}") for n in range(2000)])

    # The first batch was committed; the second, all the rest, perhaps.
    assert report.embedded_chunks in (2000 - 128, 0)
