"""The rows behind /v1/evals: evals, their runs, and an output item for every row that is done.

store = EvalStore(open_database(home))
run = store.add_run(eval_id, {"name": "first", "data_source": source, ...}, work={"arm": None, "rows": None})
store.done_positions(run.id)     what a restart need not ask again

A row's `card` is what a client is shown of it, as far as that does not change.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import sqlalchemy as sa

from serving.errors import NotFound
from serving.http.pages import Page, PageOfRows, select_page
from storage.database import Database, insert_missing
from storage.tables import NUMBER, TABLES

RunStatus = Literal["queued", "in_progress", "completed", "failed", "canceled"]
ItemStatus = Literal["pass", "fail", "error"]
LIVE: tuple[RunStatus, ...] = ("queued", "in_progress")

EVAL_ROWS = sa.Table(
    "evals",
    TABLES,
    sa.Column("sequence", NUMBER, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    # Rises with every update, and has no ties as seconds would.
    sa.Column("updates", sa.BigInteger, nullable=False, unique=True),
    sa.Column("card", sa.JSON, nullable=False),
)
RUN_ROWS = sa.Table(
    "eval_runs",
    TABLES,
    sa.Column("sequence", NUMBER, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("eval_id", sa.ForeignKey(EVAL_ROWS.c.id, ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("status", sa.Text, nullable=False, index=True),
    sa.Column("error", sa.JSON),
    # `arm` answers all of it, none where nothing is generated; `rows` stood in a file, none where they are in the card.
    sa.Column("work", sa.JSON, nullable=False),
    sa.Column("card", sa.JSON, nullable=False),
)
ITEM_ROWS = sa.Table(
    "eval_items",
    TABLES,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("run_id", sa.ForeignKey(RUN_ROWS.c.id, ondelete="CASCADE"), nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("card", sa.JSON, nullable=False),
    sa.UniqueConstraint("run_id", "position"),
)
_NEXT_UPDATE = sa.select(sa.func.coalesce(sa.func.max(EVAL_ROWS.c.updates), 0) + 1).correlate(None).scalar_subquery()

Card = dict[str, Any]
# A row of RUN_ROWS.
Run = sa.Row[Any]
Submit = Callable[[str, sa.Connection], object]


class EvalStore:
    """A change is one transaction, and what it reads beside it holds until it ends: there is one writer at a time.

    Methods that name an eval, a run or an item raise NotFound for an unknown id. Items are kept only while their run is
    live: what comes late from a run that was cancelled or deleted is dropped.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._count_once = lru_cache(maxsize=1_000)(self._count)

    def add_eval(self, card: Card) -> Card:
        """A new eval; one without a name is named by its id."""
        card = self._new("eval") | card
        card["name"] = card["name"] or card["id"]
        with self._database.write() as rows:
            rows.execute(EVAL_ROWS.insert().values(id=card["id"], updates=_NEXT_UPDATE, card=card))
        return card

    def get_eval(self, eval_id: str) -> Card:
        return dict(self._one(EVAL_ROWS, eval_id, "eval").card)

    def update_eval(self, eval_id: str, changes: Card) -> Card:
        """Change the name or the metadata, as far as `changes` has them."""
        with self._database.write() as rows:
            card = self.get_eval(eval_id) | changes
            values = {"updates": _NEXT_UPDATE, "card": card}
            rows.execute(EVAL_ROWS.update().where(EVAL_ROWS.c.id == eval_id).values(values))
        return card

    def evals(self, page: Page, *, by_update: bool = False) -> PageOfRows:
        """A page of rows, in the order the evals were created or last updated."""
        return select_page(self._database, EVAL_ROWS, page, by=EVAL_ROWS.c.updates if by_update else None)

    def delete_eval(self, eval_id: str) -> list[str]:
        """Takes an eval away with its runs and their items; returns the ids of the runs."""
        with self._database.write() as rows:
            self.get_eval(eval_id)
            runs = rows.execute(sa.select(RUN_ROWS.c.id).where(RUN_ROWS.c.eval_id == eval_id)).scalars().all()
            rows.execute(EVAL_ROWS.delete().where(EVAL_ROWS.c.id == eval_id))
        return list(runs)

    def add_run(self, eval_id: str, card: Card, *, work: Mapping[str, Any], submit: Submit) -> Run:
        """A queued run, named by its id without a name; `submit` adds its job to the same transaction."""
        card = self._new("evalrun") | {"object": "eval.run", "eval_id": eval_id} | card
        card["name"] = card["name"] or card["id"]
        values = {"id": card["id"], "eval_id": eval_id, "status": "queued", "work": work, "card": card}
        with self._database.write() as rows:
            self.get_eval(eval_id)
            run = rows.execute(RUN_ROWS.insert().values(values).returning(RUN_ROWS)).one()
            submit(run.id, rows)
        return run

    def get_run(self, eval_id: str, run_id: str) -> Run:
        return self._one(RUN_ROWS, run_id, "run", RUN_ROWS.c.eval_id == eval_id)

    def runs(self, eval_id: str, page: Page) -> PageOfRows:
        """A page of an eval's runs without the rows of files."""
        self.get_eval(eval_id)
        return select_page(self._database, RUN_ROWS, page, RUN_ROWS.c.eval_id == eval_id, without=[RUN_ROWS.c.work])

    def set_status(self, run_id: str, status: RunStatus, *, error: Mapping[str, str] | None = None) -> bool:
        """Move a live run on; False, and nothing changed, when it has ended already or is gone."""
        live = sa.and_(RUN_ROWS.c.id == run_id, RUN_ROWS.c.status.in_(LIVE))
        with self._database.write() as rows:
            changed = rows.execute(RUN_ROWS.update().where(live).values(status=status, error=error))
        return changed.rowcount == 1

    def delete_run(self, eval_id: str, run_id: str) -> None:
        """Takes a run and its items away."""
        with self._database.write() as rows:
            self.get_run(eval_id, run_id)
            rows.execute(RUN_ROWS.delete().where(RUN_ROWS.c.id == run_id))

    def find_live_run(self, run_id: str) -> Run | None:
        """The run, None if it has ended or is gone."""
        live = sa.select(RUN_ROWS).where(RUN_ROWS.c.id == run_id, RUN_ROWS.c.status.in_(LIVE))
        with self._database.read() as rows:
            return rows.execute(live).one_or_none()

    def add_item(self, run: Run, position: int, card: Card) -> None:
        """Keep the outcome of one row, once."""
        place = {"eval_id": run.eval_id, "run_id": run.id, "datasource_item_id": position}
        card = self._new("outputitem") | {"object": "eval.run.output_item"} | place | card
        kept = {"id": card["id"], "run_id": run.id, "position": position, "status": card["status"], "card": card}
        with self._database.write() as rows:
            state = rows.execute(sa.select(RUN_ROWS.c.status).where(RUN_ROWS.c.id == run.id)).scalar_one_or_none()
            if state in LIVE:
                insert_missing(rows, ITEM_ROWS, [kept])

    def get_item(self, eval_id: str, run_id: str, item_id: str) -> Card:
        self.get_run(eval_id, run_id)
        return dict(self._one(ITEM_ROWS, item_id, "output item", ITEM_ROWS.c.run_id == run_id).card)

    def items(self, eval_id: str, run_id: str, page: Page) -> PageOfRows:
        """A page of a run's items in the order of its data."""
        self.get_run(eval_id, run_id)
        return select_page(self._database, ITEM_ROWS, page, ITEM_ROWS.c.run_id == run_id, by=ITEM_ROWS.c.position)

    def done_positions(self, run_id: str) -> set[int]:
        """The positions of the rows that have their outcome."""
        with self._database.read() as rows:
            return set(rows.execute(sa.select(ITEM_ROWS.c.position).where(ITEM_ROWS.c.run_id == run_id)).scalars())

    def counts(self, run: Run, criteria: Sequence[str]) -> Card:
        """What OpenAI counts of a run's items; those of one that has ended, which stay as they are, are read once."""
        count = self._count if run.status in LIVE else self._count_once
        return count(run.id, tuple(criteria))

    def _count(self, run_id: str, criteria: tuple[str, ...]) -> Card:
        # Whole cards: PostgreSQL takes none apart that has a NUL or half a surrogate pair in it.
        query = sa.select(ITEM_ROWS.c.status, ITEM_ROWS.c.card)
        with self._database.read() as rows:
            found = rows.execute(query.where(ITEM_ROWS.c.run_id == run_id)).all()
        graded: Counter[tuple[str, bool]] = Counter()
        usage: dict[str, Counter[str]] = {}
        for _status, card in found:
            # What could not be graded has neither passed nor failed.
            graded.update((one["name"], one["passed"]) for one in card["results"] if one["score"] is not None)
            # The arm is not there where nothing was generated.
            if (notes := card["sample"].get("arbiter")) is not None:
                usage.setdefault(notes["arm"], Counter()).update(invocation_count=1, **card["sample"]["usage"])
        statuses = Counter(row.status for row in found)
        names = {"passed": "pass", "failed": "fail", "errored": "error"}
        return {
            "result_counts": {name: statuses[status] for name, status in names.items()} | {"total": len(found)},
            "per_model_usage": [{"model_name": model, **counts} for model, counts in sorted(usage.items())],
            "per_testing_criteria_results": [
                {"testing_criteria": name, "passed": graded[name, True], "failed": graded[name, False]}
                for name in criteria
            ],
        }

    def _one(self, table: sa.Table, row_id: str, what: str, *where: sa.ColumnElement[bool]) -> sa.Row[Any]:
        with self._database.read() as rows:
            row = rows.execute(sa.select(table).where(table.c.id == row_id, *where)).one_or_none()
        if row is None:
            raise NotFound(f"no {what} {row_id!r}", code=f"{what.replace(' ', '_')}_not_found")
        return row

    def _new(self, kind: str) -> Card:
        return {"id": f"{kind}_{uuid.uuid4().hex}", "created_at": int(self._clock())}
