"""The rows of vector stores as the indexer's queue: the files that are in progress, oldest first.

claim = work.claim(owner, is_running)
work.finish(claim, attributes, usage_bytes=4096)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from serving.vector_stores.rows import Attributes, are_equal
from serving.vector_stores.schema import DELETING, FILES, STORE_FILES, STORES
from storage.database import Database

ErrorCode = Literal["server_error", "unsupported_file", "invalid_file"]


@dataclass(frozen=True, slots=True)
class Claim:
    """A file that the process `owner` indexes now. `attempts` counts the times it was taken up, this one included.

    `chunking` is the store's.
    """

    owner: str
    store_id: str
    file_id: str
    filename: str
    attempts: int
    chunking: Mapping[str, Any]


class WorkRows:
    """Every method is one transaction. What was cancelled or deleted meanwhile is never changed by its indexing.

    Such a file stays its owner's until `let_go`: only then is it certain that the owner adds it to no index any more.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, owner: str, is_alive: Callable[[str], bool], *, store_id: str | None = None) -> Claim | None:
        """The file that has waited longest and that no living process works on; it is `owner`'s from now on."""
        waiting = STORE_FILES.c.status == "in_progress"
        with self._database.read() as rows:
            # Most looks find nothing, and those need not wait for a writer.
            if rows.execute(sa.select(STORE_FILES.c.id).where(waiting).limit(1)).first() is None:
                return None
        with self._database.write() as rows:
            owners = rows.execute(sa.select(STORE_FILES.c.owner).where(waiting).distinct()).scalars()
            alive = [one for one in owners if one is not None and (one == owner or is_alive(one))]
            where = [waiting, sa.or_(STORE_FILES.c.owner.is_(None), STORE_FILES.c.owner.not_in(alive))]
            if store_id is not None:
                where.append(STORE_FILES.c.store_id == store_id)
            query = (
                sa.select(STORE_FILES, FILES.c.filename, STORES.c.chunking)
                .join(FILES, FILES.c.id == STORE_FILES.c.id)
                .join(STORES, STORES.c.id == STORE_FILES.c.store_id)
                .where(*where)
                .order_by(STORE_FILES.c.sequence)
                .limit(1)
            )
            row = rows.execute(query).one_or_none()
            if row is None:
                return None
            claim = Claim(owner, row.store_id, row.id, row.filename, row.attempts + 1, row.chunking)
            rows.execute(STORE_FILES.update().where(*_is(claim)).values(owner=owner, attempts=claim.attempts))
        return claim

    def attributes(self, claim: Claim) -> Attributes | None:
        """The file's attributes as they are now; None if it is no longer to be indexed."""
        query = sa.select(STORE_FILES.c.attributes).where(*_is(claim), STORE_FILES.c.status == "in_progress")
        with self._database.read() as rows:
            found: Attributes | None = rows.execute(query).scalar_one_or_none()
        return found

    def finish(
        self, claim: Claim, attributes: Attributes, *, usage_bytes: int
    ) -> Literal["completed", "changed", "unwanted"]:
        """Note that the file is in the index with these attributes.

        `changed` if it has other ones by now and `unwanted` if it was cancelled or deleted; nothing is noted then.
        """
        with self._database.write() as rows:
            row = rows.execute(sa.select(STORE_FILES).where(*_is(claim))).one_or_none()
            if row is None or row.status not in ("in_progress", "completed"):
                return "unwanted"
            if row.status == "in_progress" and not are_equal(row.attributes, attributes):
                return "changed"
            done = {"status": "completed", "usage_bytes": usage_bytes, "owner": None, "last_error": None}
            rows.execute(STORE_FILES.update().where(*_is(claim), STORE_FILES.c.status == "in_progress").values(done))
        return "completed"

    def fail(self, claim: Claim, code: ErrorCode, message: str) -> None:
        """Note why the file cannot be indexed, and let it go."""
        failed = {"status": "failed", "owner": None, "last_error": {"code": code, "message": message}}
        with self._database.write() as rows:
            rows.execute(STORE_FILES.update().where(*_is(claim), STORE_FILES.c.status == "in_progress").values(failed))
            rows.execute(STORE_FILES.update().where(*_of_owner(claim)).values(owner=None))

    def are_wanted(self, store_id: str, file_ids: Collection[str]) -> bool:
        """Whether all these files of a store are still to be indexed."""
        query = sa.select(sa.func.count()).where(
            STORE_FILES.c.store_id == store_id, STORE_FILES.c.id.in_(file_ids), STORE_FILES.c.status == "in_progress"
        )
        with self._database.read() as rows:
            return rows.execute(query).scalar_one() == len(file_ids)

    def let_go(self, claim: Claim) -> None:
        """Note that the owner does nothing about the file any more."""
        with self._database.write() as rows:
            rows.execute(STORE_FILES.update().where(*_of_owner(claim)).values(owner=None))

    def owners_of_unwanted(self, store_id: str, file_ids: Collection[str] | None = None) -> set[str]:
        """Who still works on these files of a store, or on any, although they were cancelled or deleted."""
        where = [
            STORE_FILES.c.store_id == store_id,
            STORE_FILES.c.status.in_(("cancelled", DELETING)),
            STORE_FILES.c.owner.is_not(None),
        ]
        if file_ids is not None:
            where.append(STORE_FILES.c.id.in_(file_ids))
        with self._database.read() as rows:
            return set(rows.execute(sa.select(STORE_FILES.c.owner).where(*where).distinct()).scalars())

    def release(self, owner: str, *, has_tried: bool = False) -> None:
        """Gives an owner's files up for the next one to take; unless it `has_tried`, that was no attempt."""
        mine = sa.and_(STORE_FILES.c.owner == owner, STORE_FILES.c.status != "completed")
        attempts = STORE_FILES.c.attempts if has_tried else STORE_FILES.c.attempts - 1
        with self._database.write() as rows:
            rows.execute(STORE_FILES.update().where(mine).values(owner=None, attempts=attempts))


def _is(claim: Claim) -> tuple[sa.ColumnElement[bool], ...]:
    return STORE_FILES.c.store_id == claim.store_id, STORE_FILES.c.id == claim.file_id


def _of_owner(claim: Claim) -> tuple[sa.ColumnElement[bool], ...]:
    return (*_is(claim), STORE_FILES.c.owner == claim.owner)
