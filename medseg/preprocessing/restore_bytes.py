"""How much memory the way back takes, counted before it begins."""

from __future__ import annotations

from medseg.preprocessing.restore import SCRATCH_BYTES, Order, WayBack
from medseg.shapes import IntTriple

CUBIC_PASSES = 3  # windows of planes that a thread makes small at a time, see `imaging.separable`
DOUBT_STEPS = 3  # copies of a map on its way into steps
FLOAT = 4


def restoring_bytes(
    way: WayBack, shape: IntTriple, channels: int, order: Order, *, chunk: int, probabilities: bool, doubt: bool
) -> int:
    """The most bytes that a `Restoration` holds beyond its labels and the planes that it is given.

    Args:
        shape: of the standardised grid.
        channels: of the planes.
        chunk: planes that are given at a time.
        probabilities: whether they are taken.
        doubt: whether entropy and sums are.
    """
    source = FLOAT * shape[way.axes[1]] * shape[way.axes[2]]
    target = FLOAT * len(way.taps[1].columns) * len(way.taps[2].columns)
    held = (way.window + chunk) * channels * source
    whole = probabilities or (doubt and order == 3)
    depth = channels if whole else 2 if doubt else 1
    count = min(max(1, SCRATCH_BYTES // (target * depth)), len(way.taps[0].columns))  # planes made at a time
    made = count * target * (channels if whole else 3 if order == 3 else 1)  # the best, its class, another; or labels
    if doubt:
        made += count * target * (channels + DOUBT_STEPS if whole else 2 + DOUBT_STEPS)
    passes = _passes_bytes(way, count, max(source, target)) if whole or order == 3 else 0
    return held + made + passes + (2 * target if probabilities else 0)  # a plane on its way to the disk, and its bytes


def _passes_bytes(way: WayBack, count: int, plane: int) -> int:
    """Of planes between the axes of an interpolation, over all threads."""
    columns = way.taps[0].columns
    ratio = (int(columns.max()) + 1 - int(columns.min())) / len(columns)
    needed = way.window + int(count * ratio) + 1
    return plane * min(2 * needed, needed + CUBIC_PASSES * way.window)
