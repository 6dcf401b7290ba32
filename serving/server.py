"""`arbiter serve`: the decision that holds for a config, with its run's arms, indexes and adapters, on a port."""

from __future__ import annotations

import contextlib
import io
import os
import socket

import uvicorn

from router.engine import HttpEngine
from serving.app import create_app
from serving.config import Config
from serving.console import Console
from serving.decisions.api import decision_routes
from serving.decisions.ledger import LEDGER, Ledger, RecordedDecision, record_run
from serving.decisions.promotion import Promoter
from serving.decisions.shelf import RunOpener, RunParts, RunShelf
from serving.engine.engines import open_engine
from serving.errors import NotPromotable, PortTaken, ServingError
from serving.evals.api import eval_routes
from serving.evals.runner import EvalRunner
from serving.evals.store import EVALS, EvalStore
from serving.http.served import AUTO, Stage
from serving.indexes.collections import Collections
from serving.indexes.home import index_home
from serving.pipeline import Pipeline
from serving.retrieval.files_api import file_routes
from serving.retrieval.vector_stores import open_vector_stores
from serving.retrieval.vector_stores_api import vector_store_routes


def serve_decision(pipeline: Pipeline, console: Console, *, host: str, port: int) -> None:
    """Serve until stopped. What can fail fast fails before the engine starts: the port, the decision, adapters,
    indexes.

    Raises ServingError, and EngineFailed when vLLM does not start.
    """
    with _listen(host, port) as listener, contextlib.closing(Ledger(pipeline.home / LEDGER)) as ledger:
        decision = served_decision(pipeline, ledger, console)
        # From here on models are looked for, and converted where that was not done yet.
        _serve(pipeline, console, listener, ledger, decision)


def _serve(
    pipeline: Pipeline, console: Console, listener: socket.socket, ledger: Ledger, decision: RecordedDecision
) -> None:
    config, home, base = pipeline.config, pipeline.home, pipeline.models.base

    def read_version(of: Config) -> str:
        # What is skipped in the data was said when the run was made.
        return Pipeline(of, home=home, console=Console(stderr=io.StringIO())).data.version

    collections = Collections(index_home(config, home), pipeline.embedder)
    shelf = RunShelf(config, home=home, collections=collections, base=base, data_version=read_version)
    with (
        contextlib.closing(EvalStore(home / EVALS)) as store,
        contextlib.closing(open_vector_stores(collections)) as stores,
    ):
        parts = _take(shelf, decision)
        if stale := shelf.stale_reason(decision):
            console.say(f"warning: {stale}")
        address = "http://{}:{}".format(*listener.getsockname()[:2])
        with open_engine(config, base, parts.adapters, home=home, console=console) as engine:
            http = HttpEngine(engine.url, api_key=engine.api_key, timeout_s=config.engine.request_timeout_s)
            opener = RunOpener(shelf, engine, http, api_key=os.environ.get("ARBITER_API_KEY") or None)
            stage = Stage(opener.serve(decision, parts))
            evals = EvalRunner(
                store,
                stage,
                # Chat requests come first: an eval may use a quarter of what an evaluation would.
                concurrency=max(1, config.eval.concurrency // 4),
                patience_s=config.eval.patience_s,
                embed=pipeline.embedder.embed,
            )
            promoter = Promoter(stage, ledger, opener, scope=decision.scope)
            app = create_app(
                stage,
                decision_routes(promoter),
                eval_routes(evals, files=stores.files),
                file_routes(stores),
                vector_store_routes(stores, in_use=lambda: {arm.index or "" for arm in stage.served.arms.values()}),
            )
            names = ", ".join(parts.arms)
            console.say(f"{address}/v1 serves {AUTO} = {decision.arm} ({decision.verdict}), and {names}")
            console.say(f"{address}/ shows the report; Ctrl-C stops")
            settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=10)
            # Ctrl-C is how a server is meant to end: uvicorn finishes what is in flight, then raises it again.
            with contextlib.suppress(KeyboardInterrupt):
                uvicorn.Server(settings).run(sockets=[listener])
            console.say("stopped")


def served_decision(pipeline: Pipeline, ledger: Ledger, console: Console) -> RecordedDecision:
    """What `auto` means when a server of this config starts: the promoted decision, else the config's newest.

    Raises ServingError when the config has no decision, and EvalError when its run has none yet.
    """
    fingerprint = pipeline.config.fingerprint()
    # A run that was decided without a ledger beside it is taken in now.
    newest = ledger.newest(fingerprint) or record_run(ledger, pipeline.last_run())
    current = ledger.current(newest.scope, fingerprint)
    assert current is not None, "the newest decision is in the scope"
    if current.id != newest.id:
        console.say(
            f"serving the promoted decision {current.id} ({current.arm}); the newest is {newest.id} ({newest.arm}); "
            f"change it with: arbiter decisions promote {newest.id}"
        )
    return current


def _take(shelf: RunShelf, decision: RecordedDecision) -> RunParts:
    try:
        return shelf.take(decision)
    except NotPromotable as error:
        raise ServingError(
            f"decision {decision.id} cannot be served: {error}, or choose another with: arbiter decisions promote ID"
        ) from error


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
        raise PortTaken(f"cannot listen on {host}:{port} ({reason.lower()}); choose another with --port") from error
    return listener
