"""Loops shared by threads: every part is done once, in whatever process."""

import multiprocessing

import numpy as np
import pytest
import torch

from medseg.transforms.compiled import in_slabs


def count(first: int, last: int, times: np.ndarray) -> None:
    times[first:last] += 1


def counted(threads: int, length: int) -> list[int]:
    before, times = torch.get_num_threads(), np.zeros(length, dtype=int)
    try:
        torch.set_num_threads(threads)
        in_slabs(count, length, times)
    finally:
        torch.set_num_threads(before)
    return times.tolist()


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("length", [1, 2, 7])
def test_every_part_is_done_once(threads, length):
    assert counted(threads, length) == [1] * length


def _put_counted(queue) -> None:
    queue.put(counted(2, 7))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_its_parents_threads():
    counted(2, 7)  # starts the parent's threads
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_put_counted, args=(queue,), daemon=True)
    child.start()
    assert queue.get(timeout=300) == [1] * 7
    child.join()
