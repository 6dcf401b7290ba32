"""vLLM's API server on a CPU, imported once: `python -m serving.engine.vllm_launch ARGUMENTS`, those of `vllm serve`.

vLLM spawns its engine core and the core its worker, so that three processes, one after the other, import the same
modules. Forked ones have them already: ready in less than half the time (docs/experiments/engine-start). vLLM forks too
where it is used as a library; its command line spawns because some accelerators cannot be used after a fork.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# What vLLM and transformers import where it is there, and a server that compiles nothing does not use.
_UNUSED = ("torch._inductor.lowering", "sklearn")


def main() -> None:
    """Serves until it is told to end."""
    # Nothing is compiled on a CPU: what torch.compile decorates, at import, stays as it is.
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    gc.disable()
    processors = parse_processors(os.environ.get("VLLM_CPU_OMP_THREADS_BIND", "auto"))
    if processors:
        _import_torch_for(processors)

    with without_modules(_UNUSED):
        import vllm.utils.system_utils as utils

    server = os.getpid()
    fork, spawn = multiprocessing.get_context("fork"), multiprocessing.get_context("spawn")
    # Before the modules that take it by name are imported. vLLM's own list of processors is set when a worker spawns.
    utils.get_mp_context = lambda: spawn if processors is None and os.getpid() != server else fork

    def after_fork() -> None:
        # Else a signal of the child would wake the server's event loop as if it were the server's own.
        signal.set_wakeup_fd(-1)
        if processors and os.getppid() != server:  # the worker, not the engine core
            os.sched_setaffinity(0, {min(processors)})

    os.register_at_fork(after_in_child=after_fork)

    with without_modules(_UNUSED):
        from vllm.entrypoints.launchers.api_server.entry import main as serve

    # All that was imported stays: no collection looks through it, here or in a forked process.
    gc.freeze()
    gc.enable()
    serve()


@contextmanager
def without_modules(names: Sequence[str]) -> Iterator[None]:
    """Inside, an import of these fails as if they were not installed."""
    modules: dict[str, Any] = sys.modules
    missing = [name for name in names if name not in modules]
    modules.update(dict.fromkeys(missing))
    try:
        yield
    finally:
        for name in missing:
            del modules[name]


def parse_processors(binding: str) -> set[int] | None:
    """The processors of the only worker, as vLLM writes them: "0,2-3"; none for "nobind"; None where vLLM chooses."""
    if binding == "nobind":
        return set()
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", binding):
        return None
    ends = [part.split("-") for part in binding.split(",")]
    return {processor for first, *last in ends for processor in range(int(first), int((last or [first])[0]) + 1)}


def _import_torch_for(processors: set[int]) -> None:
    """OpenMP reads its settings once, when torch is imported: those that vLLM gives a worker that it spawns.

    Each thread stays on one processor, the first one from the fork on: free to wander, they gave 74 tokens/s for 105.
    """
    processor_list = " ".join(map(str, sorted(processors)))
    wanted = {"OMP_NUM_THREADS": str(len(processors)), "GOMP_CPU_AFFINITY": processor_list}
    before = {name: os.environ.get(name) for name in wanted}
    allowed = os.sched_getaffinity(0)
    os.environ.update(wanted)

    import torch  # noqa: F401  # for OpenMP to read them

    # They are the worker's alone: server and engine core stay free to run anywhere, and compute with one thread.
    os.sched_setaffinity(0, allowed)
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


if __name__ == "__main__":
    main()
