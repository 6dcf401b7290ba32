"""Changes an index again and again, with threads that search it meanwhile, until it is killed.

Run by test_crash.py: `python -m tests.rag.sync_forever HOME URL` (URL `-` for the home's SQLite file). For each number
on its standard input it forks a child that does operation after operation from that one on, and says `begin N` and
`end N`; when the child is dead it says `dead`. The child is forked, not started, so that fifty of them take seconds.
"""

from __future__ import annotations

import faulthandler
import itertools
import os
import random
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from rag.chunking.chunk import ChunkSettings
from rag.documents.document import Document
from rag.home import IndexHome
from rag.index import Index
from rag.search.settings import SearchSettings
from tests.rag.conftest import FakeEmbedder

SETTINGS = ChunkSettings(8, 2)
HYBRID = SearchSettings(mode="hybrid")
NAME = "faq"
_IDS = tuple(f"doc{n}" for n in range(40))

State = Mapping[str, int]
"""The revision of each document that is there."""


@dataclass(frozen=True, slots=True)
class Operation:
    """`kind` is sync, add or delete; the documents get `revision`."""

    kind: str
    ids: tuple[str, ...]
    revision: int


def operation(number: int) -> Operation:
    """The same operation for the same number, in every process."""
    rng = random.Random(number)
    kind = rng.choice(("sync", "add", "add", "delete"))
    count = rng.randint(15, 40) if kind == "sync" else rng.randint(1, 6)
    return Operation(kind, tuple(rng.sample(_IDS, count)), number)


def after(state: State, done: Operation) -> State:
    """What the index holds after an operation on it."""
    if done.kind == "delete":
        return {key: revision for key, revision in state.items() if key not in done.ids}
    given = {key: _revision(state, key, done) for key in done.ids}
    return given if done.kind == "sync" else {**state, **given}


def document(key: str, revision: int) -> Document:
    """A document of several chunks, each of which names its revision."""
    return Document(key, "", " ".join(f"{key} rev{revision} common part{n}" for n in range(6)), {"revision": revision})


def apply(index: Index, state: State, todo: Operation) -> None:
    documents = [document(key, _revision(state, key, todo)) for key in todo.ids]
    if todo.kind == "delete":
        index.delete(todo.ids)
    elif todo.kind == "sync":
        index.sync(documents)
    else:
        index.add(documents)


def open_index(home: Path, url: str | None) -> Index:
    return IndexHome(home, url=url, retrieval=HYBRID).create(NAME, FakeEmbedder(dimension=64), SETTINGS)


def state_of(index: Index) -> State:
    """What the rows hold."""
    entries = index.documents(limit=1000)
    return {entry.id: int(str(entry.metadata["revision"])) for entry in entries}


def _revision(state: State, key: str, todo: Operation) -> int:
    # A sync leaves every second document that is there as it is.
    return state[key] if todo.kind == "sync" and key in state and int(key[3:]) % 2 else todo.revision


def _work(home: Path, url: str | None, first: int) -> None:
    index = open_index(home, url)
    state = state_of(index)

    def search() -> None:
        reader = open_index(home, url)
        for turn in itertools.count():
            try:
                for passage in reader.search(f"doc{turn % 40} common", 20):
                    if f"rev{passage.metadata['revision']}" not in passage.text:
                        _say(f"error: {passage}")
            except Exception as error:
                _say(f"error: {error!r}")

    for _ in range(2):
        threading.Thread(target=search, daemon=True).start()
    for number in itertools.count(first):
        todo = operation(number)
        _say(f"begin {number}")
        apply(index, state, todo)
        state = after(state, todo)
        _say(f"end {number}")


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def main() -> None:
    home, url = Path(sys.argv[1]), None if sys.argv[2] == "-" else sys.argv[2]
    # The thread with which tqdm, in bm25s, watches its bars may hold their lock at the moment of a fork.
    tqdm.monitor_interval = 0
    # tqdm's own lock is one of all processes that were forked: a child that was killed with it would stop the next. A
    # class of bars takes the lock that is there when its first bar is made.
    tqdm.set_lock(threading.RLock())
    # What is imported late is imported here, once.
    warm = IndexHome(home, retrieval=HYBRID).create("warm", FakeEmbedder(dimension=64), SETTINGS)
    warm.sync([document("doc0", 0)])
    warm.search("common", 1)
    warm.close()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            # One that hangs ends, and says where it hung.
            faulthandler.dump_traceback_later(120, exit=True)
            try:
                _work(home, url, int(line))
            except BaseException as error:
                _say(f"error: {error!r}")
            os._exit(1)
        _say(f"pid {child}")
        os.waitpid(child, 0)
        _say("dead")


if __name__ == "__main__":
    main()
