"""Stands in for vLLM: the few routes that VllmServer uses, a grandchild process, and every way to fail.

`python fake_engine.py PORT NOTES [option...]`. NOTES is a folder: `starts` gets a line for each start, `pids` the
process ids of engine and grandchild. Options: `dies`, `dies-after-first`, `never-ready`, `slow`, `deaf` (to SIGTERM).
"""

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

GRANDCHILD = "import signal, time; {}; time.sleep(600)"


class Routes(BaseHTTPRequestHandler):
    adapters: ClassVar[dict[str, str]] = {}
    ready_at = 0.0
    health = 200

    def do_GET(self) -> None:
        if self.path == "/health":
            self.reply(Routes.health if time.monotonic() >= Routes.ready_at else 503, {})
        elif self.path == "/v1/models":
            self.reply(200, Routes.adapters)
        else:
            self.reply(404, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        if self.path == "/v1/load_lora_adapter":
            if body["lora_name"] == "refused":
                self.reply(400, {"error": {"message": "LoRA rank 64 is greater than max_lora_rank 16."}})
            else:
                Routes.adapters[body["lora_name"]] = body["lora_path"]
                self.reply(200, {})
        elif self.path == "/v1/unload_lora_adapter":
            del Routes.adapters[body["lora_name"]]
            self.reply(200, {})
        elif self.path == "/crash":
            os._exit(3)
        elif self.path == "/die-inside":
            Routes.health = 503
            self.reply(200, {})

    def reply(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_arguments: object) -> None:
        pass


def main(port: int, notes: Path, options: set[str]) -> None:
    with (notes / "starts").open("a") as starts:
        starts.write(f"{time.monotonic()}\n")
    is_first = len((notes / "starts").read_text().splitlines()) == 1
    if "dies" in options or ("dies-after-first" in options and not is_first):
        sys.stderr.write("(EngineCore pid=1) INFO 11-20 10:00:00 [core.py:1] loading\n")
        sys.exit("(EngineCore pid=1) ERROR 11-20 10:00:01 [core.py:2] ValueError: no room for the KV cache")
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)" if "deaf" in options else "pass"
    if "deaf" in options:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    grandchild = subprocess.Popen([sys.executable, "-S", "-c", GRANDCHILD.format(ignore)])
    (notes / "pids").write_text(f"{os.getpid()} {grandchild.pid}")
    if "slow" in options:
        Routes.ready_at = time.monotonic() + 1.0
    if "never-ready" in options:
        Routes.ready_at = float("inf")
    ThreadingHTTPServer(("127.0.0.1", port), Routes).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), set(sys.argv[3:]))
