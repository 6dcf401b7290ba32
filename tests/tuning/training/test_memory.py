import os
import platform
import resource
from pathlib import Path

import pytest

from tuning.training import memory

# It measures torch's.
pytestmark = pytest.mark.slow


def test_an_allocation_beyond_what_is_free_fails_and_the_limit_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    before = resource.getrlimit(resource.RLIMIT_DATA)
    monkeypatch.setattr(memory, "free_bytes", lambda: 200_000_000)
    with memory.memory_limit():
        assert torch.ones(10_000_000).sum() == 10_000_000, "40 MB are there"
        with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
            torch.ones(100_000_000)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    assert len(torch.ones(100_000_000)) == 100_000_000


def test_a_limit_that_is_there_is_not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 10**12)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (10**11, before[1]))
    try:
        with memory.memory_limit():
            assert resource.getrlimit(resource.RLIMIT_DATA)[0] == 10**11
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def test_what_was_freed_is_given_back_to_the_system() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    if not Path("/proc/self/statm").exists() or platform.libc_ver()[0] != "glibc":
        pytest.skip("another system keeps memory in other ways")
    # Of many small blocks the last one holds all of them.
    blocks = [b"x" * 60_000 for _ in range(4_000)]
    last = blocks[-1]
    del blocks
    before = resident()
    memory.give_back()
    assert before - resident() > 100 << 20
    assert len(last) == 60_000
