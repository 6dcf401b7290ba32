"""`arbiter serve`: the decision that holds for a config, with its run's arms, indexes and adapters, on a port."""

from __future__ import annotations

import contextlib
import io
import os
import socket

import uvicorn

from arbiter.build import index_home, open_engine
from arbiter.config import Config
from arbiter.console import Console
from arbiter.database import home_database
from arbiter.pipeline import Pipeline
from arbiter.served_runs import RunOpener, ServedRuns, served_decision
from rag.open_indexes import OpenIndexes
from router.answering.engine import HttpEngine
from serving.app import create_app
from serving.decisions.api import decision_routes
from serving.decisions.ledger import Ledger, RecordedDecision
from serving.decisions.promotion import Promoter
from serving.errors import ServingError
from serving.evals.api import eval_routes
from serving.evals.runner import EvalRunner
from serving.evals.store import EvalStore
from serving.http.served import AUTO, CurrentDecision
from serving.vector_stores.api import vector_store_routes
from serving.vector_stores.files_api import file_routes
from serving.vector_stores.stores import open_vector_stores
from storage.database import Database
from storage.jobs.jobs import open_jobs


def serve_decision(pipeline: Pipeline, console: Console, *, host: str, port: int) -> None:
    """Serve until stopped. What can fail fast fails before the engine starts: the port, the decision, adapters,
    indexes.

    Raises ArbiterError, and EngineFailed when vLLM does not start.
    """
    with _listen(host, port) as listener, home_database(pipeline.home) as database:
        decision = served_decision(Ledger(database), pipeline.config.fingerprint(), pipeline.last_run, console)
        # From here on models are looked for, and converted where that was not done yet.
        _serve(pipeline, console, listener, database, decision)


def _serve(
    pipeline: Pipeline, console: Console, listener: socket.socket, database: Database, decision: RecordedDecision
) -> None:
    config, home, base = pipeline.config, pipeline.home, pipeline.models.base

    def read_version(of: Config) -> str:
        # What is skipped in the data was said when the run was made.
        return Pipeline(of, home=home, console=Console(stderr=io.StringIO())).data.version

    open_indexes = OpenIndexes(index_home(config, home), pipeline.embedder)
    runs = ServedRuns(config, home=home, open_indexes=open_indexes, base=base, data_version=read_version)
    with (
        contextlib.closing(open_jobs(database)) as jobs,
        contextlib.closing(open_vector_stores(open_indexes, database, jobs)) as stores,
    ):
        parts = runs.servable_parts(decision)
        if stale := runs.stale_reason(decision):
            console.say(f"warning: {stale}")
        address = "http://{}:{}".format(*listener.getsockname()[:2])
        with open_engine(config, base, parts.adapters, home=home, console=console) as engine:
            http = HttpEngine(engine.url, api_key=engine.api_key, timeout_s=config.engine.request_timeout_s)
            opener = RunOpener(runs, engine, http)
            current = CurrentDecision(opener.serve(decision, parts))
            evals = EvalRunner(
                EvalStore(database),
                current,
                jobs,
                # Chat requests come first: an eval may use a quarter of what an evaluation would.
                concurrency=max(1, config.eval.concurrency // 4),
                patience_s=config.eval.patience_s,
                embed=pipeline.embedder.embed,
            )
            promoter = Promoter(current, Ledger(database), opener, scope=decision.scope)
            app = create_app(
                current,
                decision_routes(promoter),
                eval_routes(evals, files=stores.files),
                file_routes(stores),
                vector_store_routes(stores, in_use=lambda: {arm.index or "" for arm in current.served.arms.values()}),
                api_key=os.environ.get("ARBITER_API_KEY") or None,
            )
            names = ", ".join(parts.arms)
            console.say(f"{address}/v1 serves {AUTO} = {decision.arm} ({decision.verdict}), and {names}")
            console.say(f"{address}/ shows the report; Ctrl-C stops")
            settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=10)
            # Ctrl-C is how a server is meant to end: uvicorn finishes what is in flight, then raises it again.
            with contextlib.suppress(KeyboardInterrupt):
                uvicorn.Server(settings).run(sockets=[listener])
            console.say("stopped")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        # Listening at once makes a second server fail now and not after its engine has started.
        listener.listen(128)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise ServingError(f"cannot listen on {host}:{port} ({reason.lower()}); choose another with --port") from error
    return listener
