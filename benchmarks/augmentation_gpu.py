"""What augmentation costs a training step on a CUDA device."""

from __future__ import annotations

from collections.abc import Iterator

from io_rows import Row

NAMES = ("gpu_share_of_step", "gpu_throughput")


def rows(edge: int) -> Iterator[Row]:
    """Both rows."""
    yield from ()
