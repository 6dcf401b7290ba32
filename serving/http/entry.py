"""What every request passes first: it gets an id and a line in the log, its key is checked, and what it is served by
stays whole until its response ends, which it has also when the server stops.

app.add_middleware(Entry, current=current, api_key=None)
served_by(request).arm("auto")
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import logging
import re
import time
import uuid
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import ServingError, Unauthorized
from serving.http.errors import error_body, error_response
from serving.http.served import CurrentDecision, Served

_REQUEST_ID = re.compile(r"[\w.-]{1,64}")
# A load balancer has no key, and learns nothing here.
_OPEN = frozenset({"/health", "/ready"})
_READING = frozenset({"GET", "HEAD"})

_log = logging.getLogger("arbiter.http")


class Entry:
    """ASGI middleware over all routes, also those that there are not.

    A route names the arm that answered in `request.scope["arm"]`.
    """

    def __init__(self, app: ASGIApp, *, current: CurrentDecision, api_key: str | None) -> None:
        self._app = app
        self._api_key = api_key
        self._current = current

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        started, status, is_stream = time.perf_counter(), 0, False

        async def counted(message: Message) -> None:
            nonlocal status, is_stream
            if message["type"] == "http.response.start":
                status = message["status"]
                is_stream = (Headers(raw=message["headers"]).get("content-type") or "").startswith("text/event-stream")
                message["headers"] = [*message["headers"], (b"x-arbiter-request-id", request_id.encode())]
            elif not message.get("more_body"):
                is_stream = False
            await send(message)

        try:
            if scope["path"] in _OPEN or _has_key(scope, self._api_key):
                with self._current.hold() as served:
                    scope["served"] = served
                    await self._app(scope, receive, counted)
            else:
                response = error_response(Unauthorized("wrong or missing API key; send Authorization: Bearer KEY"))
                # Makes a browser ask for it.
                response.headers["WWW-Authenticate"] = 'Basic realm="Arbiter: any user name, the API key as password"'
                await response(scope, receive, counted)
        except asyncio.CancelledError:
            # uvicorn does that to what is not done when its time to stop is over, and makes of it a traceback and 500.
            error = ServingError("the server stopped before this was answered; ask again")
            if not status:
                await error_response(error)(scope, receive, counted)
            elif is_stream:
                _log.warning("stream broke off arm=%s: %s", scope.get("arm", "-"), error)
                body = f"data: {json.dumps(error_body(error))}\n\n".encode()
                await counted({"type": "http.response.body", "body": body})
        finally:
            ms = 1000 * (time.perf_counter() - started)
            _log.info(
                "%s %s status=%d arm=%s request_id=%s ms=%.0f",
                scope["method"], quote(scope["path"], safe="/:@"), status, scope.get("arm", "-"), request_id, ms,
            )  # fmt: skip


def served_by(request: Request) -> Served:
    """What a request is served by from its beginning to its end, whatever is promoted meanwhile."""
    served: Served = request.scope["served"]
    return served


def _has_key(scope: Scope, key: str | None) -> bool:
    """Whether a request brings the key; None asks for none.

    A browser brings it as the password of HTTP Basic, and adds that to requests which other sites make, too: so Basic
    is for reading alone.
    """
    if key is None:
        return True
    scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
    given = token.encode("latin-1")  # The bytes as they were sent.
    if scheme.lower() == "basic" and scope["method"] in _READING:
        try:
            given = base64.b64decode(token, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(given, key.encode())
