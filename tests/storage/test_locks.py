import subprocess
import sys
import threading
from pathlib import Path

import pytest

from storage.errors import StorageError
from storage.locks import hold_lock

HOLDER = """
import sys, time
from pathlib import Path
from storage.locks import hold_lock
with hold_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_that_another_process_has_is_busy_until_that_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(file)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(StorageError, match="busy"), hold_lock(file, busy=StorageError("busy")):
            pass
        process.kill()
    with hold_lock(file, busy=StorageError("busy")):
        pass


def test_without_an_error_to_raise_it_waits(tmp_path: Path) -> None:
    order: list[str] = []

    def wait() -> None:
        with hold_lock(tmp_path / "lock"):
            order.append("second")

    with hold_lock(tmp_path / "lock"):
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(timeout=0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
