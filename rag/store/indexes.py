"""The rows of the indexes themselves: `state(rows, "faq")`, and how one goes to its next generation."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

import sqlalchemy as sa

from rag.chunking.chunk import ChunkSettings
from rag.errors import RagError
from rag.store.schema import GENERATIONS, INDEXES, TOMBSTONES
from storage.database import insert_missing
from storage.tables import values_of

_NAME = re.compile(r"(?!\.+$)[A-Za-z0-9._-]{1,100}")
_MODULUS = 2**256
# Views this many generations old are brought up to date rather than loaded again, whatever files there are.
_KEPT_GENERATIONS = 64


@dataclass(frozen=True, slots=True)
class Tally:
    """What documents amount to; `content_sum` adds up their digests, so that their order does not matter."""

    num_documents: int = 0
    num_chunks: int = 0
    indexing_s: float = 0.0
    content_sum: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.num_documents + other.num_documents,
            self.num_chunks + other.num_chunks,
            self.indexing_s + other.indexing_s,
            (self.content_sum + other.content_sum) % _MODULUS,
        )

    def __sub__(self, other: Tally) -> Tally:
        return self + Tally(-other.num_documents, -other.num_chunks, -other.indexing_s, -other.content_sum)


@dataclass(frozen=True, slots=True)
class IndexState:
    """The row of one index: what it was built with, and what it holds.

    `generation` counts its commits; `indexing_s` are the seconds that embedding the present content took, in whatever
    runs; `token` names this one and no other, also not of a restored database.
    """

    id: int
    name: str
    embedder: str
    settings: ChunkSettings
    generation: int = 0
    token: str = ""
    content_sum: int = 0
    num_documents: int = 0
    num_chunks: int = 0
    indexing_s: float = 0.0

    @property
    def version(self) -> str:
        """Hash (32 hex) of embedder, settings and content, equal for equal ones whatever their history; '' at first."""
        if not self.generation:
            return ""
        content = json.dumps([self.embedder, asdict(self.settings), f"{self.content_sum:064x}"], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:32]

    @property
    def tally(self) -> Tally:
        return Tally(self.num_documents, self.num_chunks, self.indexing_s, self.content_sum)


def check_name(name: str) -> None:
    """Raises RagError for a name that no index, and no folder of one, can have."""
    if not _NAME.fullmatch(name):
        raise RagError(f"index name {name!r} is not possible; use up to 100 letters, digits and the signs . _ -")


def state(rows: sa.Connection, name: str, *, is_locked: bool = False) -> IndexState | None:
    """The index of this name, if there is one; a locked one no other writer changes until this transaction ends."""
    query = sa.select(INDEXES).where(INDEXES.c.name == name)
    row = rows.execute(query.with_for_update() if is_locked else query).mappings().one_or_none()
    return None if row is None else _state(row)


def existing(rows: sa.Connection, name: str, *, is_locked: bool = False) -> IndexState:
    """As `state`. Raises RagError if there is no such index."""
    found = state(rows, name, is_locked=is_locked)
    if found is None:
        raise missing(name, names(rows))
    return found


def missing(name: str, others: Iterable[str]) -> RagError:
    known = ", ".join(others)
    there = f"there is {known}" if known else "there is none yet"
    return RagError(f"no index {name!r} ({there}); create it with: arbiter index add {name} FOLDER")


def names(rows: sa.Connection) -> list[str]:
    """The names of all indexes, in order, though the rest of a row be damaged."""
    return list(rows.execute(sa.select(INDEXES.c.name).order_by(INDEXES.c.name)).scalars())


def states(rows: sa.Connection) -> list[IndexState]:
    """All indexes, by name."""
    return [_state(row) for row in rows.execute(sa.select(INDEXES).order_by(INDEXES.c.name)).mappings()]


def create(rows: sa.Connection, name: str, embedder: str, settings: ChunkSettings) -> IndexState | None:
    """A new, empty index of generation 0, None if the name is taken by now."""
    fresh = IndexState(0, name, embedder, settings, token=secrets.token_hex(8))
    insert_missing(rows, INDEXES, [_values(fresh)])
    # Another process may have made it, and taken it away again.
    made = state(rows, name)
    return made if made and made.token == fresh.token else None


def advance(rows: sa.Connection, seen: IndexState, tally: Tally) -> IndexState:
    """The next generation of a locked index, which holds what `tally` counts."""
    if not tally.num_chunks or tally.indexing_s < 0:
        tally = replace(tally, indexing_s=0.0)  # Sums of floats leave crumbs behind.
    made = replace(seen, generation=seen.generation + 1, token=secrets.token_hex(8), **asdict(tally))
    rows.execute(INDEXES.update().where(INDEXES.c.id == seen.id).values(_values(made)))
    rows.execute(GENERATIONS.insert().values(index_id=seen.id, generation=made.generation, token=made.token))
    return made


def token(rows: sa.Connection, index_id: int, generation: int) -> str | None:
    """The token of a generation from which on all changes are still known, None if they are not."""
    query = sa.select(GENERATIONS.c.token).where(
        GENERATIONS.c.index_id == index_id, GENERATIONS.c.generation == generation
    )
    return rows.execute(query).scalar_one_or_none()


def prune(rows: sa.Connection, current: IndexState, oldest_file: int | None) -> None:
    """Forgets the changes up to the generation of the oldest view file; those of the last generations are kept."""
    floor = current.generation - _KEPT_GENERATIONS
    if oldest_file is not None:
        floor = min(floor, oldest_file)
    rows.execute(GENERATIONS.delete().where(GENERATIONS.c.index_id == current.id, GENERATIONS.c.generation < floor))
    rows.execute(TOMBSTONES.delete().where(TOMBSTONES.c.index_id == current.id, TOMBSTONES.c.generation <= floor))


def forget_generations(rows: sa.Connection, index_id: int) -> None:
    """Makes every view be built anew: none can be brought up to date across a change of embedder."""
    rows.execute(GENERATIONS.delete().where(GENERATIONS.c.index_id == index_id))
    rows.execute(TOMBSTONES.delete().where(TOMBSTONES.c.index_id == index_id))


def _state(row: sa.RowMapping) -> IndexState:
    try:
        settings = ChunkSettings(**json.loads(row["settings"]))
        content_sum = int(row["content_sum"], 16)
    except (ValueError, TypeError, AttributeError, RagError) as error:
        raise RagError(
            f"the row of index {row['name']!r} is damaged ({error}); put a copy of the database back, or move it away "
            "and index the documents again"
        ) from error
    return IndexState(**{**row, "settings": settings, "content_sum": content_sum})


def _values(state: IndexState) -> dict[str, object]:
    values = values_of(state)
    del values["id"]
    return values | {"settings": json.dumps(asdict(state.settings)), "content_sum": f"{state.content_sum:064x}"}
