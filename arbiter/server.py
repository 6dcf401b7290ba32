"""`arbiter serve`: the decision that holds for a config, with its run's arms, indexes and adapters, on a port."""

from __future__ import annotations

import contextlib
import io
import os
import socket

import uvicorn

from arbiter.build import index_home
from arbiter.config.schema import Config
from arbiter.console import Console
from arbiter.home import home_database
from arbiter.pipeline import Pipeline
from arbiter.served_runs import ServedRuns, served_decision
from rag.home import OpenIndexes
from serving.app import create_app
from serving.decisions.api import decision_routes
from serving.decisions.ledger import Ledger
from serving.decisions.promotion import Promoter, check_gates
from serving.errors import NotPromotable, ServingError
from serving.evals.api import eval_routes
from serving.evals.runner import EvalRunner
from serving.evals.store import EvalStore
from serving.fine_tuning.api import fine_tuning_routes
from serving.fine_tuning.models import TunedModels
from serving.fine_tuning.runner import JobRunner
from serving.fine_tuning.store import JobStore
from serving.http.served import AUTO, CurrentDecision
from serving.vector_stores.api import vector_store_routes
from serving.vector_stores.files_api import file_routes
from serving.vector_stores.stores import open_vector_stores
from storage.jobs.jobs import Jobs
from storage.jobs.rows import JobRows


def serve_decision(pipeline: Pipeline, *, host: str, port: int) -> None:
    """Serve until stopped. What can fail fast fails before the engine starts: the port, the decision, adapters,
    indexes.

    Raises ArbiterError, and EngineFailed when vLLM does not start.
    """
    config, home, console = pipeline.config, pipeline.home, pipeline.console

    def read_version(of: Config) -> str:
        # What is skipped in the data was said when the run was made.
        return Pipeline(of, home=home, console=Console(stderr=io.StringIO())).data.version

    with contextlib.ExitStack() as during:
        listener = during.enter_context(_listen(host, port))
        database = during.enter_context(home_database(home))
        decision = served_decision(Ledger(database), config, home, console)
        # From here on models are looked for, and converted where that was not done yet.
        base = pipeline.base
        open_indexes = OpenIndexes(index_home(config, home), pipeline.embedder)
        during.callback(open_indexes.close)
        runs = ServedRuns(config=config, home=home, open_indexes=open_indexes, base=base, data_version=read_version)
        jobs = during.enter_context(contextlib.closing(Jobs(JobRows(database))))
        stores = open_vector_stores(open_indexes, database, jobs)
        opener, served, _ = during.enter_context(runs.served(decision, console))
        if stale := runs.stale_reason(decision):
            console.say(f"warning: {stale}")
        try:
            check_gates(decision)
        except NotPromotable as blocked:  # it is served all the same: it was promoted, or nothing was
            console.say(f"warning: {blocked}")
        current = CurrentDecision(served)
        evals = EvalRunner(
            EvalStore(database),
            current,
            jobs,
            # Chat requests come first: an eval may use a quarter of what an evaluation would.
            concurrency=max(1, config.eval.concurrency // 4),
            patience_s=config.eval.patience_s,
            embed=pipeline.embedder.embed,
        )
        models = TunedModels(current, opener.engine, config.sampling)
        tuning = JobRunner(JobStore(database), stores.files, jobs, models, base=base, home=home)
        app = create_app(
            current,
            decision_routes(Promoter(current, Ledger(database), opener, scope=decision.scope)),
            eval_routes(evals, files=stores.files),
            file_routes(stores),
            fine_tuning_routes(tuning),
            vector_store_routes(stores, current),
            api_key=os.environ.get("ARBITER_API_KEY") or None,
        )
        address = "http://{}:{}".format(*listener.getsockname()[:2])
        names = ", ".join(served.arms)
        console.say(f"{address}/v1 serves {AUTO} = {decision.arm} ({decision.verdict}), and {names}")
        console.say(f"{address}/ shows the report; Ctrl-C stops")
        settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=10)
        # Ctrl-C is how a server is meant to end: uvicorn finishes what is in flight, then raises it again.
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(settings).run(sockets=[listener])
        console.say("stopped")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # Listening at once makes a second server fail now and not after its engine has started.
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0].lower()
        raise ServingError(f"cannot listen on {host}:{port} ({reason}); choose another with --port") from error
