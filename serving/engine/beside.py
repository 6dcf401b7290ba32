"""The engine of one beside adapter, as a supervised child: `beside_engine(settings, adapter).start()`.

What answers is serving/beside/server.py, in a process of its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from serving.engine.host import EngineHost, detect_host
from serving.engine.supervisor import Supervisor
from serving.engine.vllm import VllmSettings, spin_briefly
from tuning.export.adapters import Adapter


def beside_engine(settings: VllmSettings, adapter: Adapter) -> Supervisor:
    """Not started. `settings` say the base model, the log and what the user sets; answers come under the adapter's
    name.
    """
    return Supervisor(
        name="the transformers engine",
        plan=lambda port: (
            build_command(settings, adapter, port=port, host=detect_host()),
            build_environment(os.environ),
        ),
        log_path=settings.log_path,
        ready_timeout_s=settings.engine.ready_timeout_s,
    )


def build_command(settings: VllmSettings, adapter: Adapter, *, port: int, host: EngineHost) -> list[str]:
    """The argument vector of the server on loopback."""
    return [
        *(sys.executable, "-m", "serving.beside.server"),
        *("--base", settings.model_path),
        *("--adapter", str(adapter.path)),
        *("--name", adapter.name),
        *("--port", str(port)),
        *("--dtype", host.default_dtype if settings.engine.dtype == "auto" else settings.engine.dtype),
        *("--max-model-len", str(settings.engine.max_model_len)),
        *("--max-rows", str(settings.max_num_seqs)),
    ]


def build_environment(base: Mapping[str, str]) -> dict[str, str]:
    """`base` with what the server needs: no hub, and threads that share the processor."""
    return spin_briefly({**base, "HF_HUB_OFFLINE": "1"})
