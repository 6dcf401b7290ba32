"""`arbiter serve`: the newest decision of a config, with its arms, indexes and adapters, on a port."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping

import uvicorn

from eval.errors import EvalError
from eval.runs import Run
from rag.errors import RagError
from rag.index import Index
from router.answerer import Answerer
from router.arm import Arm
from router.engine import HttpEngine
from serving.app import AUTO, Served, create_app
from serving.console import Console
from serving.engines import OpenEngine, open_engine
from serving.errors import PortTaken, ServingError
from serving.pipeline import Pipeline
from tuning.errors import TuningError


def serve_decision(pipeline: Pipeline, console: Console, *, host: str, port: int) -> None:
    """Serve until stopped. What can fail fast fails before the engine starts: the port, the decision, adapters,
    indexes.

    Raises ServingError, and EngineFailed when vLLM does not start.
    """
    with _listen(host, port) as listener:
        run = pipeline.last_run()
        decision = run.decision()
        arms = [scores.arm for scores in run.scorecard().arms]
        adapters = pipeline.adapters_of(arms)
        indexes = _open_indexes(pipeline, run, arms, console)
        _warn_of_new_data(pipeline, run, console)
        address = "http://{}:{}".format(*listener.getsockname()[:2])
        with open_engine(
            pipeline.config, pipeline.models.base, adapters, home=pipeline.home, console=console
        ) as engine:
            app = create_app(_served(run, decision, arms, indexes, engine, pipeline))
            console.say(f"{address}/v1 serves {AUTO} = {decision['arm']} ({decision['verdict']}), and {_names(arms)}")
            console.say(f"{address}/ shows the report; Ctrl-C stops")
            config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=10)
            # Ctrl-C is how a server is meant to end: uvicorn finishes what is in flight, then raises it again.
            with contextlib.suppress(KeyboardInterrupt):
                uvicorn.Server(config).run(sockets=[listener])
            console.say("stopped")


def _served(
    run: Run,
    decision: Mapping[str, object],
    arms: list[Arm],
    indexes: Mapping[str, Index],
    engine: OpenEngine,
    pipeline: Pipeline,
) -> Served:
    http = HttpEngine(engine.url, api_key=engine.api_key, timeout_s=pipeline.config.engine.request_timeout_s)
    return Served(
        answerer=Answerer(http, indexes, engine.base_model),
        arms={arm.name: arm for arm in arms},
        decided_arm=str(decision["arm"]),
        decision_id=run.id,
        confidence=float(str(decision["confidence"])),
        base_model=engine.base_model,
        is_ready=engine.is_ready,
        created=int(str(decision["decided_at"])),
        report=run.directory / "report.html",
        api_key=os.environ.get("ARBITER_API_KEY") or None,
    )


def _open_indexes(pipeline: Pipeline, run: Run, arms: list[Arm], console: Console) -> dict[str, Index]:
    indexes = {
        name: Index.open(pipeline.home, name, pipeline.embedder)
        for name in sorted({arm.index for arm in arms if arm.index is not None})
    }
    for name in sorted(indexes):
        measured = {run.manifest["versions"][arm.name]["index"] for arm in arms if arm.index == name}
        if measured != {indexes[name].version}:
            console.say(f"warning: index {name} has changed since the decision was made; run again to measure it")
    for index in indexes.values():
        # The first search loads the embedder; that wait belongs here and not to the first request.
        index.search("warm up", 1)
    return indexes


def _warn_of_new_data(pipeline: Pipeline, run: Run, console: Console) -> None:
    try:
        version = pipeline.data.version
    except (RagError, TuningError, EvalError, ServingError) as error:
        console.say(f"warning: the data cannot be read ({error}); serving what was measured")
        return
    if version != run.manifest["data_version"]:
        console.say("warning: the data has changed since the decision was made; run again to measure it")


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


def _names(arms: list[Arm]) -> str:
    return ", ".join(arm.name for arm in arms)
