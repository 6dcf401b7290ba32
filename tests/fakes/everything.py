"""An app with every surface over one home, its engine scripted and its embedder counting words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fakes.decisions import FakeOpener, make_decision
from fakes.embedders import WordEmbedder
from fakes.engines import ScriptedEngine
from fakes.retrieval_server import CHUNKING, read_text
from fakes.tuning_server import LoadingEngine, fake_command, write_base
from fastapi import FastAPI

from rag.home import IndexHome, OpenIndexes
from rag.search.settings import SearchSettings
from serving.app import create_app
from serving.decisions.api import decision_routes
from serving.decisions.ledger import Ledger
from serving.decisions.promotion import Promoter
from serving.evals.api import eval_routes
from serving.evals.runner import EvalRunner
from serving.evals.store import EvalStore
from serving.fine_tuning.api import fine_tuning_routes
from serving.fine_tuning.models import TunedModels
from serving.fine_tuning.runner import JobRunner
from serving.fine_tuning.store import JobStore
from serving.http.served import CurrentDecision
from serving.vector_stores.api import vector_store_routes
from serving.vector_stores.files_api import file_routes
from serving.vector_stores.stores import open_vector_stores
from storage.database import open_database
from storage.jobs.jobs import Jobs
from storage.jobs.rows import JobRows


@contextmanager
def open_everything(home: Path, *, api_key: str | None = None) -> Iterator[FastAPI]:
    """The app; two decisions are in its ledger, of which that for the arm `rag` is served."""
    engine = ScriptedEngine(lambda _: "nine")
    decision = make_decision("rag", run_directory=home / "run")
    database = open_database(home)
    ledger = Ledger(database)
    for recorded in (make_decision("base", run_directory=home / "run"), decision):
        ledger.record(recorded)
    opener = FakeOpener(engine)
    current = CurrentDecision(opener.open(decision))
    home_of_indexes = IndexHome(home, chunking=CHUNKING, retrieval=SearchSettings(mode="dense"))
    jobs = Jobs(JobRows(database))
    stores = open_vector_stores(OpenIndexes(home_of_indexes, WordEmbedder()), database, jobs, read=read_text)
    models = TunedModels(current, LoadingEngine().open())
    base = write_base(home / "base")
    tuning = JobRunner(JobStore(database), stores.files, jobs, models, base=base, home=home, command=fake_command())
    try:
        yield create_app(
            current,
            decision_routes(Promoter(current, ledger, opener, scope=decision.scope)),
            eval_routes(EvalRunner(EvalStore(database), current, jobs), files=stores.files),
            file_routes(stores),
            fine_tuning_routes(tuning),
            vector_store_routes(stores, current),
            api_key=api_key,
        )
    finally:
        stores.open_indexes.close()
        jobs.close()
        database.close()
