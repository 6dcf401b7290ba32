"""The views of an index, kept up with its rows: `view = live.current(rows, state)`.

A view is what searches run in: vectors in FAISS, words in BM25. It is made of rows and can be made again at any time,
so the rows are committed first and its file is written later. A file is one generation's. What the rows have gained
and lost since comes from the rows, so that an addition to a large index costs what it adds.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import sqlalchemy as sa

from rag.search.dense import DenseView, VectorView, View
from rag.search.lexical import LexicalView
from rag.search.numbers import Numbers
from rag.store import chunks, indexes
from rag.store.indexes import IndexState

# A view is built anew when so much of it has changed: a share of the index, or so many chunks, which a search then
# compares one by one (20,000 of 384 dimensions take 3 ms).
_FAR_SHARE = 0.1
_FAR_CHUNKS = 20_000
# A reader that is far from its file looks so often whether another process has written a newer one.
_LOOK_EVERY_S = 5.0

log = logging.getLogger(__name__)


V = TypeVar("V", bound=View)
V_co = TypeVar("V_co", bound=View, covariant=True)


class Views(Protocol[V_co]):
    """How the views of one kind come to be."""

    def build(self, numbers: Numbers, content: Any, /) -> V_co:
        """The view of n ascending chunk numbers and what is searched of them: (n, d) float32 unit rows, or texts."""

    def load(self, file: Path, stamp: str) -> V_co | None:
        """What `save` wrote under this stamp, to the last bit, or None."""


class VectorViews(Views[VectorView], Protocol):
    """The views of vectors in a store of another program."""

    def clear(self, numbers: Numbers) -> None:
        """The index is removed, and with it these chunks."""

    def close(self) -> None:
        """Gives connections back; the next call opens new ones."""


# The numbers, ascending, and the vectors or texts that later generations have added: (rows, index id, generation).
Content = Callable[[sa.Connection, int, int], tuple[Numbers, Any]]


class Outdated(Exception):
    """The transaction sees rows that are older than the view by now; read again."""


@dataclass(frozen=True, slots=True)
class _Held(Generic[V]):
    """A view in memory, what it is a view of, and the generation that it was built at."""

    state: IndexState
    view: V
    built_at: int


class LiveView(Generic[V]):
    """One kind of view of one index: the newest in memory, and its file."""

    def __init__(self, folder: Path, suffix: str, views: Views[V], content: Content) -> None:
        """`suffix` is that of the files, `content` what is searched."""
        self._folder = folder
        self._suffix = suffix
        self._views = views
        self._content = content
        self._held: _Held[V] | None = None
        self._looked_at = -_LOOK_EVERY_S
        self._lock = threading.Lock()

    @property
    def is_used(self) -> bool:
        """Whether a search has needed this kind, now or in some process before."""
        return self._held is not None or bool(self._generations())

    def current(self, rows: sa.Connection, state: IndexState) -> V:
        """The view of exactly the rows that the transaction sees.

        Raises Outdated if another thread has gone on to a newer generation.
        """
        held = self._held
        if held is None or held.state.token != state.token or self._is_due(held, state):
            with self._lock:
                held = self._held = self._catch_up(rows, state)
        return held.view

    def forget(self) -> None:
        """Makes the next search load the view again."""
        with self._lock:
            self._held = None

    def keep_up(self, rows: sa.Connection, state: IndexState) -> None:
        """Brings the view up to date, and builds it and its file anew where they are far behind; for writers."""
        try:
            view = self.current(rows, state)
        except Outdated:
            return
        newest = max(self._known(rows, state), default=None)
        if newest is not None and (newest == state.generation or not _is_far(view, state)):
            return
        if view.num_changed:
            view = self._build(rows, state)
        held = self._built(view, state)
        # Searches go on meanwhile, perhaps on a newer generation: the next one starts from here and catches up.
        with self._lock:
            self._held = held

    def load_newest(self, rows: sa.Connection, state: IndexState, newer_than: int = -1) -> tuple[V, int] | None:
        """The view in the newest file that is whole, and its generation; None if there is no such file."""
        known = self._known(rows, state, newer_than)
        for generation in sorted(known, reverse=True):
            view = self._views.load(self._file(generation), known[generation])
            if view is not None:
                return view, generation
        return None

    def oldest_file(self) -> int | None:
        """The generation up to which changes need no longer be known for the sake of this view's files."""
        return max(self._generations(), default=None)

    def damaged_files(self, rows: sa.Connection, state: IndexState) -> list[str]:
        """Names of the files that should be views of this index and are not."""
        # What another process has written or taken away since the transaction began is not to be judged by it, nor what
        # comes while this looks; and what is older than the newest whole file is a leftover that the next takes along.
        listed = self._generations()
        found = self.load_newest(rows, state)
        newest = -1 if found is None else found[1]
        known = self._known(rows, state)
        return [
            self._file(generation).name
            for generation in listed
            if newest < generation <= state.generation
            and (generation not in known or self._views.load(self._file(generation), known[generation]) is None)
            and self._file(generation).exists()
        ]

    def remove_files(self, before: int | None = None) -> None:
        """Removes the files of older generations, or of all, with what killed processes left of them."""
        for file in self._folder.glob(f"*{self._suffix}*"):
            number = file.name.split(".", 1)[0]
            if number.isdecimal() and (before is None or int(number) < before):
                with contextlib.suppress(OSError):
                    file.unlink()

    def _catch_up(self, rows: sa.Connection, state: IndexState) -> _Held[V]:
        held = self._held
        if held and held.state.token == state.token:
            if not self._is_due(held, state):
                return held
            self._looked_at = time.monotonic()
            return self._from_file(rows, state, held.built_at) or held
        if held and held.state.id == state.id:
            if held.state.generation > state.generation:
                raise Outdated
            if indexes.token(rows, state.id, held.state.generation) == held.state.token:
                view = self._changed(held.view, rows, state.id, held.state.generation)
                return replace(held, state=state, view=view)
        loaded = self._from_file(rows, state)
        if loaded and not _is_far(loaded.view, state):
            return loaded
        log.info("index=%s generation=%d %s built from rows", state.name, state.generation, self._suffix)
        return self._built(self._build(rows, state), state)

    def _from_file(self, rows: sa.Connection, state: IndexState, newer_than: int = -1) -> _Held[V] | None:
        found = self.load_newest(rows, state, newer_than)
        if found is None:
            return None
        view, generation = found
        if generation < state.generation:
            view = self._changed(view, rows, state.id, generation)
        return _Held(state, view, generation)

    def _build(self, rows: sa.Connection, state: IndexState) -> V:
        return self._views.build(*self._content(rows, state.id, -1))

    def _changed(self, view: V, rows: sa.Connection, index_id: int, generation: int) -> V:
        """The view of a generation, brought up to date."""
        numbers, content = self._content(rows, index_id, generation)
        removed = chunks.removed_since(rows, index_id, generation)
        return view.changed(numbers, content, removed) if len(numbers) or len(removed) else view

    def _built(self, view: V, state: IndexState) -> _Held[V]:
        file = self._file(state.generation)
        try:
            view.save(file, state.token)
        except FileNotFoundError:
            log.info("view %s was overtaken by a newer one", file)
        except OSError as error:
            # The rows are enough to search; this process may lack the room or the right to write.
            log.warning("view %s cannot be written: %s", file, error.strerror or error)
        else:
            self.remove_files(state.generation)
        return _Held(state, view, state.generation)

    def _is_due(self, held: _Held[V], state: IndexState) -> bool:
        return _is_far(held.view, state) and time.monotonic() - self._looked_at > _LOOK_EVERY_S

    def _known(self, rows: sa.Connection, state: IndexState, newer_than: int = -1) -> dict[int, str]:
        """The tokens of those of the files that the rows can say something of, by generation."""
        return {
            generation: token
            for generation in self._generations()
            if newer_than < generation <= state.generation and (token := indexes.token(rows, state.id, generation))
        }

    def _generations(self) -> list[int]:
        names = [file.name.removesuffix(self._suffix) for file in self._folder.glob(f"*{self._suffix}")]
        return [int(name) for name in names if name.isdecimal()]

    def _file(self, generation: int) -> Path:
        return self._folder / f"{generation}{self._suffix}"


def live_vectors(folder: Path, views: Views[VectorView] = DenseView) -> LiveView[VectorView]:
    """The view of an index's vectors."""
    return LiveView(folder, ".faiss", views, chunks.vectors)


def live_words(folder: Path) -> LiveView[LexicalView]:
    """The view of an index's words."""
    return LiveView(folder, ".bm25", LexicalView, _words)


def _words(rows: sa.Connection, index_id: int, since: int) -> tuple[Numbers, Iterator[str]]:
    # The title counts even where the text says it too: measured better than the text that is embedded. Headings hold a
    # table's columns, without which its rows are hard to find.
    added = (chunk for _, chunk in chunks.stream(rows, index_id, since))
    texts = ("\n".join([*filter(None, (chunk.title, *chunk.headings)), chunk.text]) for chunk in added)
    return chunks.numbers(rows, index_id, since), texts


def _is_far(view: View, state: IndexState) -> bool:
    return view.num_changed > min(_FAR_SHARE * state.num_chunks, _FAR_CHUNKS)
