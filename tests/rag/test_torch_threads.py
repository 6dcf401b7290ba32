from __future__ import annotations

import threading

import pytest

from rag.torch_threads import one_thread_pool


@pytest.mark.slow
def test_each_thread_of_a_pool_runs_torch_on_one_thread_and_nobody_else_does() -> None:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with one_thread_pool(2) as pool:
            found = list(pool.map(lambda _: torch.get_num_threads(), range(6)))
        later: list[int] = []
        thread = threading.Thread(target=lambda: later.append((torch.zeros(1) + 1, torch.get_num_threads())[1]))
        thread.start()
        thread.join()

        assert found == [1] * 6
        assert torch.get_num_threads() == 3
        assert later == [3]
    finally:
        torch.set_num_threads(before)
