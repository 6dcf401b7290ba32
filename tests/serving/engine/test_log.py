"""Which lines of a vLLM log are shown when it fails."""

from serving.engine.log import telling_lines

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
