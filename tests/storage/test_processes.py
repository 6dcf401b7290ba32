import os
import subprocess
import sys

from storage.processes import is_here, is_running, process_name


def test_a_process_is_known_by_its_id_and_start() -> None:
    mine = process_name(os.getpid())
    assert is_running(mine)
    assert not is_running(mine.rpartition(":")[0] + ":1.00")
    assert not is_running("no process")
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = process_name(other.pid)
    assert is_running(name)
    other.kill()
    other.communicate()
    assert not is_running(name)


def test_a_process_of_another_machine_is_told_from_one_of_this() -> None:
    mine = process_name(os.getpid())
    assert is_here(mine)
    assert not is_here("elsewhere:" + mine.partition(":")[2])
    assert not is_running("elsewhere:" + mine.partition(":")[2])
