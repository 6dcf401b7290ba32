"""The rows behind /v1/evals: evals, their runs, and an output item for every row that is done.

store = EvalStore(open_database(home))
run = store.add_run(eval_id, name="first", data_source=source, model="auto", arm=arm, decision_id="dec_1")
store.done_positions(run.id)     what a restart need not ask again
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

import sqlalchemy as sa

from serving.errors import NotFound
from serving.http.pages import Page, PageOfRows, select_page
from storage.database import Database
from storage.rows import read_row, values_of
from storage.tables import NUMBER, TABLES

RunStatus = Literal["queued", "in_progress", "completed", "failed", "canceled"]
ItemStatus = Literal["pass", "fail", "error"]
RUN_STATUSES: tuple[RunStatus, ...] = ("queued", "in_progress", "completed", "failed", "canceled")
ITEM_STATUSES: tuple[ItemStatus, ...] = ("pass", "fail", "error")
LIVE: tuple[RunStatus, ...] = ("queued", "in_progress")

EVAL_ROWS = sa.Table(
    "evals",
    TABLES,
    sa.Column("sequence", NUMBER, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    # Rises with every update, and has no ties as seconds would.
    sa.Column("updates", sa.BigInteger, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("data_source_config", sa.JSON, nullable=False),
    sa.Column("testing_criteria", sa.JSON, nullable=False),
    sa.Column("metadata", sa.JSON),
)
RUN_ROWS = sa.Table(
    "eval_runs",
    TABLES,
    sa.Column("sequence", NUMBER, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("eval_id", sa.ForeignKey(EVAL_ROWS.c.id, ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False, index=True),
    sa.Column("error", sa.JSON),
    sa.Column("data_source", sa.JSON, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("arm", sa.JSON),
    sa.Column("decision_id", sa.Text),
    sa.Column("metadata", sa.JSON),
)
ITEM_ROWS = sa.Table(
    "eval_items",
    TABLES,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("run_id", sa.ForeignKey(RUN_ROWS.c.id, ondelete="CASCADE"), nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("item", sa.JSON, nullable=False),
    sa.Column("grades", sa.JSON, nullable=False),
    sa.Column("sample", sa.JSON, nullable=False),
    sa.Column("usage", sa.JSON),
    sa.UniqueConstraint("run_id", "position"),
)


@dataclass(frozen=True, slots=True)
class StoredEval:
    """An eval as it was created. `data_source_config` and `testing_criteria` are the request's own."""

    id: str
    created_at: int
    name: str
    data_source_config: Mapping[str, Any]
    testing_criteria: Sequence[Mapping[str, Any]]
    metadata: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run of an eval. `arm` is the JSON form of the arm that answers all of it, None where nothing is generated."""

    id: str
    eval_id: str
    created_at: int
    name: str
    status: RunStatus
    error: Mapping[str, str] | None
    data_source: Mapping[str, Any]
    model: str
    arm: Mapping[str, Any] | None
    decision_id: str | None
    metadata: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class StoredItem:
    """The outcome of one row of a run's data, which stands at `position` there.

    `grades` are `eval.graders.Grade`s as JSON; `usage` has the tokens where an answer was generated.
    """

    id: str
    run_id: str
    position: int
    created_at: int
    status: ItemStatus
    item: Mapping[str, Any]
    grades: Sequence[Mapping[str, Any]]
    sample: Mapping[str, Any]
    usage: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """A run's items, counted: by status, by criterion (passed, failed), and the tokens by model."""

    statuses: Mapping[str, int]
    criteria: Mapping[str, tuple[int, int]]
    usage: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


class EvalStore:
    """Every method is one transaction. Those that name an eval, a run or an item raise NotFound for an unknown id.

    Items are kept only while their run is live: what comes late from a run that was cancelled or deleted is dropped.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._count_once = lru_cache(maxsize=1_000)(self._count)

    def add_eval(
        self,
        *,
        name: str | None,
        data_source_config: Mapping[str, Any],
        testing_criteria: Sequence[Mapping[str, Any]],
        metadata: Mapping[str, str] | None,
    ) -> StoredEval:
        """A new eval; one without a name is named by its id."""
        eval_id = _new_id("eval")
        stored = StoredEval(eval_id, self._now(), name or eval_id, data_source_config, list(testing_criteria), metadata)
        with self._database.write() as rows:
            rows.execute(EVAL_ROWS.insert().values(**values_of(stored), updates=_next_update(rows)))
        return stored

    def get_eval(self, eval_id: str) -> StoredEval:
        with self._database.read() as rows:
            return read_row(StoredEval, _one(rows, EVAL_ROWS, eval_id, "eval"))

    def update_eval(self, eval_id: str, changes: Mapping[str, object]) -> StoredEval:
        """Change the name or the metadata, as far as `changes` has them."""
        with self._database.write() as rows:
            values = {**changes, "updates": _next_update(rows)}
            rows.execute(EVAL_ROWS.update().where(EVAL_ROWS.c.id == eval_id).values(values))
            return read_row(StoredEval, _one(rows, EVAL_ROWS, eval_id, "eval"))

    def evals(self, page: Page, *, by_update: bool = False) -> PageOfRows:
        """A page of StoredEvals, in the order they were created or last updated."""
        with self._database.read() as rows:
            found = select_page(rows, EVAL_ROWS, page, by=EVAL_ROWS.c.updates if by_update else None)
        return replace(found, rows=[read_row(StoredEval, row) for row in found.rows])

    def delete_eval(self, eval_id: str) -> list[str]:
        """Takes an eval away with its runs and their items; returns the ids of the runs."""
        with self._database.write() as rows:
            _one(rows, EVAL_ROWS, eval_id, "eval")
            runs = rows.execute(sa.select(RUN_ROWS.c.id).where(RUN_ROWS.c.eval_id == eval_id)).scalars().all()
            rows.execute(EVAL_ROWS.delete().where(EVAL_ROWS.c.id == eval_id))
        return list(runs)

    def add_run(
        self,
        eval_id: str,
        *,
        name: str | None,
        data_source: Mapping[str, Any],
        model: str = "",
        arm: Mapping[str, Any] | None = None,
        decision_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
        submit: Callable[[str, sa.Connection], object] | None = None,
    ) -> StoredRun:
        """A queued run; `submit` adds its job to the same transaction."""
        run_id = _new_id("evalrun")
        stored = StoredRun(
            id=run_id,
            eval_id=eval_id,
            created_at=self._now(),
            name=name or run_id,
            status="queued",
            error=None,
            data_source=data_source,
            model=model,
            arm=arm,
            decision_id=decision_id,
            metadata=metadata,
        )
        with self._database.write() as rows:
            _one(rows, EVAL_ROWS, eval_id, "eval")
            rows.execute(RUN_ROWS.insert().values(**values_of(stored)))
            if submit is not None:
                submit(run_id, rows)
        return stored

    def get_run(self, eval_id: str, run_id: str) -> StoredRun:
        with self._database.read() as rows:
            return read_row(StoredRun, _one(rows, RUN_ROWS, run_id, "run", RUN_ROWS.c.eval_id == eval_id))

    def runs(self, eval_id: str, page: Page) -> PageOfRows:
        """A page of an eval's StoredRuns; the filter `status` is heeded."""
        where = [RUN_ROWS.c.eval_id == eval_id]
        if "status" in page.filters:
            where.append(RUN_ROWS.c.status == page.filters["status"])
        with self._database.read() as rows:
            _one(rows, EVAL_ROWS, eval_id, "eval")
            found = select_page(rows, RUN_ROWS, page, *where)
        return replace(found, rows=[read_row(StoredRun, row) for row in found.rows])

    def set_status(self, run_id: str, status: RunStatus, *, error: Mapping[str, str] | None = None) -> bool:
        """Move a live run on; False, and nothing changed, when it has ended already or is gone."""
        live = sa.and_(RUN_ROWS.c.id == run_id, RUN_ROWS.c.status.in_(LIVE))
        with self._database.write() as rows:
            changed = rows.execute(RUN_ROWS.update().where(live).values(status=status, error=error))
        return changed.rowcount == 1

    def delete_run(self, eval_id: str, run_id: str) -> None:
        """Takes a run and its items away."""
        with self._database.write() as rows:
            _one(rows, RUN_ROWS, run_id, "run", RUN_ROWS.c.eval_id == eval_id)
            rows.execute(RUN_ROWS.delete().where(RUN_ROWS.c.id == run_id))

    def find_live_run(self, run_id: str) -> StoredRun | None:
        """The run, None if it has ended or is gone."""
        live = sa.select(RUN_ROWS).where(RUN_ROWS.c.id == run_id, RUN_ROWS.c.status.in_(LIVE))
        with self._database.read() as rows:
            row = rows.execute(live).one_or_none()
        return read_row(StoredRun, row) if row is not None else None

    def add_item(
        self,
        run_id: str,
        position: int,
        *,
        status: ItemStatus,
        item: Mapping[str, Any],
        grades: Sequence[Mapping[str, Any]],
        sample: Mapping[str, Any],
        usage: Mapping[str, Any] | None,
    ) -> None:
        """Keep the outcome of one row, once."""
        stored = StoredItem(
            _new_id("outputitem"), run_id, position, self._now(), status, item, list(grades), sample, usage
        )
        with self._database.write() as rows:
            state = rows.execute(sa.select(RUN_ROWS.c.status).where(RUN_ROWS.c.id == run_id)).scalar_one_or_none()
            place = sa.and_(ITEM_ROWS.c.run_id == run_id, ITEM_ROWS.c.position == position)
            if state in LIVE and rows.execute(sa.select(ITEM_ROWS.c.id).where(place)).first() is None:
                rows.execute(ITEM_ROWS.insert().values(**values_of(stored)))

    def get_item(self, eval_id: str, run_id: str, item_id: str) -> StoredItem:
        with self._database.read() as rows:
            _one(rows, RUN_ROWS, run_id, "run", RUN_ROWS.c.eval_id == eval_id)
            return read_row(StoredItem, _one(rows, ITEM_ROWS, item_id, "output item", ITEM_ROWS.c.run_id == run_id))

    def items(self, eval_id: str, run_id: str, page: Page) -> PageOfRows:
        """A page of a run's StoredItems in the order of its data; the filter `status` is heeded."""
        where = [ITEM_ROWS.c.run_id == run_id]
        if "status" in page.filters:
            where.append(ITEM_ROWS.c.status == page.filters["status"])
        with self._database.read() as rows:
            _one(rows, RUN_ROWS, run_id, "run", RUN_ROWS.c.eval_id == eval_id)
            found = select_page(rows, ITEM_ROWS, page, *where, by=ITEM_ROWS.c.position)
        return replace(found, rows=[read_row(StoredItem, row) for row in found.rows])

    def done_positions(self, run_id: str) -> set[int]:
        """The positions of the rows that have their outcome."""
        with self._database.read() as rows:
            return set(rows.execute(sa.select(ITEM_ROWS.c.position).where(ITEM_ROWS.c.run_id == run_id)).scalars())

    def tally(self, run: StoredRun) -> Tally:
        """A run's items so far, counted; those of one that has ended, which stay as they are, are read once."""
        return self._count(run.id) if run.status in LIVE else self._count_once(run.id)

    def _count(self, run_id: str) -> Tally:
        columns = sa.select(ITEM_ROWS.c.status, ITEM_ROWS.c.grades, ITEM_ROWS.c.usage)
        with self._database.read() as rows:
            found = rows.execute(columns.where(ITEM_ROWS.c.run_id == run_id)).all()
        criteria: dict[str, tuple[int, int]] = {}
        usage: dict[str, Counter[str]] = {}
        for row in found:
            for grade in row.grades:
                passed, failed = criteria.get(grade["name"], (0, 0))
                # What could not be graded has neither passed nor failed.
                if grade["score"] is not None:
                    criteria[grade["name"]] = (passed + grade["passed"], failed + (not grade["passed"]))
            if row.usage is not None:
                tokens = {name: count for name, count in row.usage.items() if name != "model"}
                usage.setdefault(row.usage["model"], Counter()).update(invocation_count=1, **tokens)
        return Tally(statuses=Counter(row.status for row in found), criteria=criteria, usage=usage)

    def _now(self) -> int:
        return int(self._clock())


def _one(rows: sa.Connection, table: sa.Table, row_id: str, what: str, *where: sa.ColumnElement[bool]) -> Any:
    row = rows.execute(sa.select(table).where(table.c.id == row_id, *where)).one_or_none()
    if row is None:
        raise NotFound(f"no {what} {row_id!r}", code=f"{what.replace(' ', '_')}_not_found")
    return row


def _next_update(rows: sa.Connection) -> int:
    last = rows.execute(sa.select(sa.func.coalesce(sa.func.max(EVAL_ROWS.c.updates), 0))).scalar_one()
    return int(last) + 1


def _new_id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex}"
