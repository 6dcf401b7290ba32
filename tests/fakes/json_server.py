"""An HTTP server whose every answer is JSON: `with serving_json(answer) as url: ...`."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def serving_json(answer: Callable[[str, Any], tuple[int, object]]) -> Iterator[str]:
    """The URL, with /v1 at its end. `answer` gets the path below it and the decoded body, None for a GET."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(None)

        def do_POST(self) -> None:
            self.reply(json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def reply(self, asked: Any) -> None:
            status, body = answer(self.path.removeprefix("/v1"), asked)
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        # Of more connections at a time than the usual 5 the kernel lets some wait for seconds.
        request_queue_size = 128

        def handle_error(self, *_: object) -> None:
            """A client that was stopped half way is no fault of the server's."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
