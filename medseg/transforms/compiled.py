"""Compiled loops for the CPU: how they are made, and how they share the cores without changing a single bit."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import torch

from medseg.imaging.compiled import compiled as compiled


def in_slabs(kernel: Callable[..., Any], length: int, *arguments: Any) -> None:
    """Runs `kernel(first, last, *arguments)` over 0 to `length` in as many pieces as torch has threads.

    The kernel must write only to the places of its own piece. Numba's own threads are not used: its pools do not
    stand being called from several threads at once, and one of them resets torch's number of threads.
    """
    pieces = min(torch.get_num_threads(), length)
    if pieces < 2:
        kernel(0, length, *arguments)
        return
    ends = [length * piece // pieces for piece in range(pieces + 1)]
    pool = _pool(pieces, os.getpid())
    jobs = [pool.submit(kernel, a, b, *arguments) for a, b in pairwise(ends)]
    for job in jobs:
        job.result()


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """One for each process, because a forked one gets a copy without the threads, which would be waited for forever."""
    return ThreadPoolExecutor(threads, thread_name_prefix="medseg-transform")
