"""An engine's process, supervised: started, waited for, restarted after a crash, ended with all that it started.

with Supervisor("vLLM", plan, log_path=log, ready_timeout_s=300) as engine: httpx.get(f"{engine.url}/models")

No process is left behind, also by a parent that was killed (serving/engine/process_group.py).
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import httpx

from serving.errors import EngineFailed, ServingError

State = Literal["starting", "ready", "restarting", "stopped", "failed"]
Plan = Callable[[int], tuple[list[str], dict[str, str]]]
"""The argument vector and the environment of an engine on a port. Raises EngineFailed if there can be none."""

RESTART_DELAYS_S = (1.0, 2.0, 5.0, 15.0, 30.0)
_log = logging.getLogger("arbiter.engine")
_POLL_S = 0.25
_WATCH_S = 0.5
_STOP_GRACE_S = 10.0
# More crashes than there are restart delays within this time are a loop, however long the engine ran in between.
_CRASH_WINDOW_S = 1800.0
# "(EngineCore pid=12) ERROR 11-20 10:00:00 [core.py:1] text" -> level and text.
_PREFIX = re.compile(r"^(?:\([^)]*pid=\d+\) )?(?:(?P<level>DEBUG|INFO|WARNING|ERROR) \S+ \S+ \[[^\]]*\] ?)?")
# A line without a level is kept for these words: an exception, argparse, the dynamic linker, the kernel's OOM killer.
_TELLING = re.compile(r"error|exception|killed|segmentation fault|aborted", re.IGNORECASE)
_FRAME = re.compile(r"^\s*(File \"|Traceback |\^|~|During handling|The above exception)")


@dataclass(eq=False)
class Supervisor:
    """One engine on loopback. `failure` says why it was given up, with its command and the last lines of its log.

    `name` is the program in messages, `plan(port)` what is run; it answers /health with 200 when it is ready, with 503
    when it must be restarted. `on_answer` is called each time that it answers, before it counts as ready. All methods
    block; one thread watches.
    """

    name: str
    plan: Plan
    log_path: Path
    ready_timeout_s: float
    on_answer: Callable[[], None] = lambda: None
    restart_delays_s: tuple[float, ...] = RESTART_DELAYS_S
    clock: Callable[[], float] = time.monotonic
    state: State = field(default="stopped", init=False)
    failure: str | None = field(default=None, init=False)
    _stopping: threading.Event = field(default_factory=threading.Event, init=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _watcher: threading.Thread | None = field(default=None, init=False)
    _port: int = field(default=0, init=False)
    _log_start: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        # The environment's proxies must not see requests to loopback. Certificates take 25 ms to read.
        self._http = httpx.Client(trust_env=False, verify=False, timeout=10.0)

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT/v1`; the port is known once `start` was called, and a restart keeps it."""
        return f"http://127.0.0.1:{self._port}/v1"

    def is_ready(self) -> bool:
        """Whether a request sent now has an engine to answer it."""
        return self.state == "ready" and self._is_running()

    def start(self, progress: Callable[[], object] = lambda: None) -> None:
        """Returns when the engine answers; until then `progress` is called a few times a second.

        Raises EngineFailed with the command and the log's end.
        """
        if self._watcher is not None:
            raise ServingError("the engine was started already; stop it first")
        self._stopping.clear()
        self.state, self.failure = "starting", None
        try:
            self._port = _free_port()
            self.log_path.parent.mkdir(parents=True, exist_ok=True)
            self.log_path.write_bytes(b"")
            self._bring_up(progress)
        except BaseException as error:  # Ctrl-C included: no engine may stay behind
            self._end_process()
            self.state = "failed" if isinstance(error, Exception) else "stopped"
            raise
        self._watcher = threading.Thread(target=self._watch, name="engine-watcher", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """Ends every process of the engine; safe to call twice, and from another thread than `start`."""
        self._stopping.set()
        self._end_process()
        if self._watcher is not None and self._watcher is not threading.current_thread():
            self._watcher.join()
            self._watcher = None
        # The watcher may have been launching a new process while the old one was ended.
        self._end_process()
        self.state = "stopped"

    def __enter__(self) -> Supervisor:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def require_ready(self) -> None:
        """Raises ServingError that says what to do while the engine cannot be asked."""
        if not self.is_ready():
            wait = "see its log, then start again" if self.state == "failed" else "try again when it is ready"
            raise ServingError(f"the engine is {self.state}; {wait}")

    def post(self, route: str, body: dict[str, str], failure: str) -> None:
        """Ask one of the engine's own routes for something. Raises ServingError that begins with `failure`."""
        try:
            reply = self._http.post(self.url + route, json=body, timeout=120.0)
        except httpx.HTTPError as error:
            raise ServingError(f"{failure}: no answer ({type(error).__name__}); try again") from error
        if reply.status_code != httpx.codes.OK:
            raise ServingError(f"{failure}: {_reason(reply)}")

    def _bring_up(self, progress: Callable[[], object] = lambda: None) -> None:
        """Starts the process and waits until it answers. Raises EngineFailed, and what `on_answer` raises."""
        command = self._launch()
        started = self.clock()
        while self._health() != httpx.codes.OK:
            waited = self.clock() - started
            if not self._is_running():
                raise EngineFailed(self._failure(f"{self.name} ended before it was ready", command))
            if waited > self.ready_timeout_s:
                raise EngineFailed(self._failure(f"{self.name} was not ready after {waited:.0f} s", command))
            if self._stopping.wait(_POLL_S):
                raise EngineFailed(f"{self.name} was stopped before it was ready")
            progress()
        self.on_answer()
        self.state = "ready"
        _log.info("engine ready program=%s url=%s s=%.1f", self.name, self.url, self.clock() - started)

    def _launch(self) -> list[str]:
        command, env = self.plan(self._port)
        script = str(Path(__file__).with_name("process_group.py"))
        guard = [sys.executable, "-S", script, str(os.getpid()), str(_STOP_GRACE_S)]
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                guard + command,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return command

    def _watch(self) -> None:
        """Restarts the engine whenever it ends by itself, until `stop` or until it crashes in a loop.

        A restart that fails counts as a crash. The more crashes lie within the window, the longer the wait.
        """
        crashes: list[float] = []
        while not self._stopping.wait(_WATCH_S):
            if self._is_running() and self._health() != httpx.codes.SERVICE_UNAVAILABLE:
                continue
            self.state = "restarting"
            self._end_process()
            now = self.clock()
            crashes = [*(crash for crash in crashes if now - crash < _CRASH_WINDOW_S), now]
            if len(crashes) > len(self.restart_delays_s):
                what = f"{self.name} ended {len(crashes)} times within {now - crashes[0]:.0f} s and was given up"
                self.failure = self._failure(what, self.plan(self._port)[0])
                self.state = "failed"
                _log.error("engine failed: %s", self.failure)
                return
            delay_s = self.restart_delays_s[len(crashes) - 1]
            _log.warning("engine ended by itself; restart in %.0f s", delay_s)
            if self._stopping.wait(delay_s):
                return
            try:
                self._bring_up()
            except (ServingError, OSError) as error:
                _log.warning("engine restart failed: %s", error)
                self._end_process()

    def _is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _health(self) -> int | None:
        """The status of its health check, None without an answer. 503 is an HTTP process whose engine core died."""
        try:
            return self._http.get(f"http://127.0.0.1:{self._port}/health").status_code
        except httpx.HTTPError:
            return None

    def _end_process(self) -> None:
        process = self._process
        if process is None:
            return
        group = process.pid
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGTERM)
        # The guard ends the group itself after its grace; this only covers a guard that was killed.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_GRACE_S + 5.0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        process.wait()
        self._process = None

    def _failure(self, what: str, command: list[str]) -> str:
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            lines = telling_lines(log.read().decode(errors="replace"))
        shown = "\n".join(f"    {line}" for line in lines)
        return f"{what}\n  command: {' '.join(command)}\n  log: {self.log_path}\n{shown}"


def telling_lines(text: str, limit: int = 15) -> list[str]:
    """At most `limit` lines in order: the errors without their traceback frames, or simply the last lines."""
    kept: list[str] = []
    in_frame = False
    for line in text.splitlines():
        match = _PREFIX.match(line)
        level = match["level"] if match else None
        body = (line[match.end() :] if match else line).rstrip()
        is_source = in_frame and body.startswith("    ")
        in_frame = body.lstrip().startswith('File "')
        is_error = level == "ERROR" or (level is None and _TELLING.search(body))
        if body and is_error and not is_source and not _FRAME.match(body) and body not in kept:
            kept.append(body)
    return (kept or text.splitlines())[-limit:]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _reason(reply: httpx.Response) -> str:
    try:
        body = reply.json()
        return str(body.get("error", body).get("message", body)).splitlines()[0]
    except (ValueError, AttributeError, IndexError):
        return f"HTTP {reply.status_code}"
