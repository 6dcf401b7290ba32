"""A training's process as its server sees it."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from serving.fine_tuning.process import ENDED, start_process

# Every test starts a process.
pytestmark = pytest.mark.slow

PROGRAM = """
import os, signal, sys
from multiprocessing.connection import Connection
channel = Connection(int(sys.argv[1]))
channel.send({"kind": "step", "group": os.getpgid(0) == os.getpid(), "spin": os.environ.get("GOMP_SPINCOUNT")})
what = sys.argv[2]
print("printed", flush=True)
if what == "die":
    os.kill(os.getpid(), signal.SIGKILL)
elif what == "fail":
    raise ValueError("no good")
elif what == "wait":
    signal.pause()
"""


def program(what: str) -> Any:
    def command(_stage: str, _folder: Path, descriptor: int) -> Sequence[str]:
        return [sys.executable, "-I", "-S", "-c", PROGRAM, str(descriptor), what]

    return command


def test_what_it_says_is_heard_and_what_it_prints_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    with start_process("train", tmp_path, program("end")) as process:
        assert process.hear(20) == {"kind": "step", "group": True, "spin": "1000"}
        assert process.hear(20) is ENDED
        assert process.hear(0) is ENDED
        assert (process.how_it_ended(), process.last_words()) == ("", "printed")


def test_one_that_was_killed_is_told_from_one_that_failed(tmp_path: Path) -> None:
    with start_process("train", tmp_path, program("die")) as process:
        assert process.hear(20) is not ENDED
        assert process.hear(20) is ENDED
        assert process.how_it_ended() == "SIGKILL"
    with start_process("train", tmp_path, program("fail")) as process:
        assert process.hear(20) is not ENDED
        assert process.hear(20) is ENDED
        assert process.how_it_ended() == ""
        assert process.last_words().endswith("ValueError: no good")


def test_it_is_gone_when_the_block_ends(tmp_path: Path) -> None:
    with start_process("train", tmp_path, program("wait")) as process:
        process.hear(20)
        assert process.hear(0.05) is None
        found = psutil.Process(process.process.pid)
    assert not found.is_running()
