"""An app on a real socket of this machine, so that the real openai client talks to it as a user's would."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import uvicorn
from fakes.engines import FixedRetriever, passage
from fastapi import APIRouter, FastAPI

from router.answering.answerer import Answerer
from router.answering.arm import Arm
from router.answering.engine import HttpEngine
from serving.app import create_app
from serving.http.served import CurrentDecision, Served

ARMS = {
    "base": Arm("base"),
    "rag": Arm("rag", index="docs", top_k=1),
    "hybrid": Arm("hybrid", adapter="raft@1", index="docs", top_k=1),
}
DESK = passage("The desk opens at nine.", document="desk", title="Desk")


def make_served(
    engine: HttpEngine,
    *,
    arm: str = "hybrid",
    decision_id: str = "dec_1",
    ready: bool = True,
    report: Path | None = None,
) -> Served:
    return Served(
        answerer=Answerer(engine, {"docs": FixedRetriever(DESK)}, "org/base"),
        arms=ARMS,
        decided_arm=arm,
        decision_id=decision_id,
        confidence=0.975,
        base_model="org/base",
        is_ready=lambda: ready,
        created=1_700_000_000,
        question="a smoke question",
        report=report,
        measured={"rag": {"metric": "token_f1", "score": 0.5}},
    )


class Impatient(uvicorn.Server):
    """Looks every few milliseconds whether it is to end, not every 100."""

    async def main_loop(self) -> None:
        while not self.should_exit:  # noqa: ASYNC110  # uvicorn sets an attribute, no event
            await asyncio.sleep(0.005)


@contextmanager
def listening(app: FastAPI, *, log_level: str = "critical", stops_after_s: int | None = None) -> Iterator[str]:
    """The app's address while it listens; its lifespan begins and ends with the block, after which it waits so long
    for what is in flight, or for ever.
    """
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level=log_level, timeout_graceful_shutdown=stops_after_s)
    server = Impatient(config)
    listener = config.bind_socket()
    # From here on connections wait; bound alone, they are refused until the thread is as far.
    listener.listen()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)


def plain_client(url: str, **options: Any) -> httpx.Client:
    """A client of an address of this machine: no proxies, and no certificates, which take 25 ms to read."""
    return httpx.Client(base_url=url, trust_env=False, verify=False, timeout=20, **options)


@contextmanager
def client_of(
    served: Served, *surfaces: APIRouter, key: str = "none", api_key: str | None = None
) -> Iterator[openai.OpenAI]:
    with (
        listening(create_app(CurrentDecision(served), *surfaces, api_key=api_key)) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client,
    ):
        yield client
