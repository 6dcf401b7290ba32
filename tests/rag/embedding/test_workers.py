from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

from rag.embedding.workers import Workers


class Machine:
    """A clock that stands still between rounds: a round of so many batches at once takes the seconds it is given."""

    def __init__(self, seconds: Sequence[float]) -> None:
        self._times = [0.0]
        for length in seconds:
            self._times += [self._times[-1] + length, self._times[-1] + length]
        self._calls = 0

    def __call__(self) -> float:
        self._calls += 1
        return self._times[self._calls - 1]


def _double(number: int) -> int:
    return 2 * number


@pytest.mark.parametrize("count", [0, 1, 2, 7, 40])
def test_every_batch_comes_back_in_order_with_its_result(count: int) -> None:
    workers = Workers(num_cores=3)

    assert list(workers.run(_double, range(count), [1] * count)) == [(n, 2 * n) for n in range(count)]


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        # Rounds of 1 (not counted), 1, 2 and 4 batches of 10 tokens. Rates 10, 20, 40.
        ((9.0, 1.0, 1.0, 1.0), 4),
        # 10, 20, 10: half the cores are twice as fast as all of them.
        ((9.0, 1.0, 1.0, 4.0), 2),
        # 10, 4, 4: side by side only hinders.
        ((9.0, 1.0, 5.0, 10.0), 1),
        # 10, 10.5, 10: within 10% more workers are kept.
        ((9.0, 1.0, 20 / 10.5, 4.0), 4),
    ],
)
def test_the_number_that_did_most_a_second_is_kept(seconds: tuple[float, ...], chosen: int) -> None:
    workers = Workers(num_cores=4, clock=Machine(seconds))
    assert workers.chosen is None

    assert len(list(workers.run(_double, range(20), [10] * 20))) == 20
    assert workers.chosen == chosen


def test_a_short_call_measures_nothing() -> None:
    workers = Workers(num_cores=4)

    list(workers.run(_double, range(8), [1] * 8))

    assert workers.chosen is None


@pytest.mark.parametrize(("limit", "cores"), [(2, 4), (1, 4), (None, 1)])
def test_a_given_number_or_a_single_core_is_not_measured(limit: int | None, cores: int) -> None:
    assert Workers(limit, num_cores=cores).chosen == (limit or 1)


def test_no_more_than_the_limit_run_at_once() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def work(_: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with lock:
            running -= 1

    list(Workers(2, num_cores=8).run(work, range(12), [1] * 12))

    assert most == 2


def test_a_batch_on_its_own_does_not_wait_for_a_long_call() -> None:
    workers, release = Workers(1), threading.Event()
    long_call = threading.Thread(target=lambda: list(workers.run(lambda _: release.wait(20), range(3), [1] * 3)))
    long_call.start()

    try:
        assert list(workers.run(_double, [21], [1])) == [(21, 42)]
        assert not release.is_set()
    finally:
        release.set()
        long_call.join()


def test_an_exception_of_a_batch_comes_out_and_drops_the_rest() -> None:
    seen: list[int] = []

    def fail(number: int) -> int:
        seen.append(number)
        raise ValueError(f"batch {number}")

    with pytest.raises(ValueError, match="batch 0"):
        list(Workers(1).run(fail, range(50), [1] * 50))
    assert len(seen) <= 2


def test_each_worker_runs_torch_on_one_thread_and_nobody_else_does() -> None:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found = list(Workers(2).run(lambda _: torch.get_num_threads(), range(6), [1] * 6))
        later: list[int] = []
        thread = threading.Thread(target=lambda: later.append((torch.zeros(1) + 1, torch.get_num_threads())[1]))
        thread.start()
        thread.join()

        assert [threads for _, threads in found] == [1] * 6
        assert torch.get_num_threads() == 3
        assert later == [3]
    finally:
        torch.set_num_threads(before)
