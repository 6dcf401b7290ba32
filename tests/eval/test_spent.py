from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eval.spent import spend_time


def test_a_run_that_is_resumed_counts_all_its_processes(tmp_path: Path) -> None:
    ticks = iter([0.0, 40.0, 100.0, 102.5])
    with spend_time(tmp_path / "spent.db", "run-1", every_s=60, clock=lambda: next(ticks)) as first:
        pass
    with spend_time(tmp_path / "spent.db", "run-1", every_s=60, clock=lambda: next(ticks)) as second:
        pass
    assert (first.total_s, second.total_s) == (40.0, 42.5)
    ticks = iter([0.0, 1.0])
    with spend_time(tmp_path / "spent.db", "run-2", every_s=60, clock=lambda: next(ticks)) as other:
        pass
    assert other.total_s == 1.0


def test_what_ends_in_an_error_is_counted(tmp_path: Path) -> None:
    ticks = iter([0.0, 30.0, 100.0, 101.0])
    with pytest.raises(KeyError), spend_time(tmp_path / "spent.db", "r", every_s=60, clock=lambda: next(ticks)):
        raise KeyError
    with spend_time(tmp_path / "spent.db", "r", every_s=60, clock=lambda: next(ticks)) as resumed:
        pass
    assert resumed.total_s == 31.0


@pytest.mark.slow
def test_a_killed_process_loses_the_seconds_since_the_last_write_at_most(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from eval.spent import spend_time\n"
        "with spend_time(Path(sys.argv[1]), 'r', every_s=0.05):\n"
        "    print('on', flush=True); time.sleep(60)\n"
    )
    path = tmp_path / "spent.db"
    child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    started = time.monotonic()
    time.sleep(1.0)
    os.kill(child.pid, signal.SIGKILL)
    lived = time.monotonic() - started
    child.wait()
    child.stdout.close()
    with spend_time(path, "r", every_s=60, clock=lambda: 0.0) as resumed:
        pass
    # Generous, for a busy machine: all but one write of many.
    assert 0.5 * lived < resumed.total_s < lived + 0.5


def test_a_damaged_record_is_set_aside_and_the_time_is_counted_from_now(tmp_path: Path) -> None:
    path = tmp_path / "spent.db"
    path.write_text("no database at all, and long enough to be taken for one")
    with spend_time(path, "r") as spent:
        pass
    assert spent.total_s < 60
    assert len(list(tmp_path.glob("spent.db*damaged*"))) == 1
