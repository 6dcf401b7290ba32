"""Gives every response its request id, and every request one line in the log: `app.add_middleware(Accounting)`."""

from __future__ import annotations

import logging
import re
import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_REQUEST_ID = re.compile(r"[\w.-]{1,64}")
_log = logging.getLogger("arbiter.http")


class Accounting:
    """ASGI middleware; a route names the arm that answered in `request.scope["arm"]`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        started, status = time.perf_counter(), 0

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-arbiter-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            ms = 1000 * (time.perf_counter() - started)
            _log.info(
                "%s %s status=%d arm=%s request_id=%s ms=%.0f",
                scope["method"], scope["path"], status, scope.get("arm", "-"), request_id, ms,
            )  # fmt: skip
