"""Two readings of one image that fit only when one of them is turned over: a label file whose axis is flipped."""

from __future__ import annotations

import numpy as np

from medseg.imaging.labels import Box
from medseg.imaging.regions import Reading
from medseg.shapes import BoolArray

LEAST_TURNED = 0.7  # Dice of all structures of two people who drew the same
LEAST_GAIN = 0.3  # organs along the middle fit a flip of themselves by half: 0.3 to 0.5 against 0.9 in the phantoms


def mirrored_axis(first: Reading, second: Reading) -> tuple[int, float, float] | None:
    """The axis (0 to 2) along which the second reading looks flipped, with the Dice as it is and with it turned back.

    Dice counts all structures that both drew together. None when the two fit as they are, when no flip of one axis
    makes them fit, or when they share no structure or lie on different grids.
    """
    if first.geometry.differences(second.geometry):
        return None
    boxes, others = first.boxes(), second.boxes()
    names = [name for name in boxes if name in others]
    total = sum(first.mask_in(name, boxes[name]).sum() + second.mask_in(name, others[name]).sum() for name in names)
    if not names:
        return None

    def dice(axis: int | None) -> float:
        return 2 * sum(_common(first, second, name, axis) for name in names) / float(total)

    if (plain := dice(None)) > 1 - LEAST_GAIN:
        return None
    turned = [dice(axis) for axis in range(3)]
    best = int(np.argmax(turned))
    return (best, plain, turned[best]) if turned[best] >= max(LEAST_TURNED, plain + LEAST_GAIN) else None


def _common(first: Reading, second: Reading, name: str, axis: int | None) -> int:
    """Voxels that both mark, with the second flipped along an axis of the grid, inside the first one's box."""
    box = first.boxes()[name]
    return int(np.count_nonzero(first.mask_in(name, box) & _flipped_in(second, name, box, axis)))


def _flipped_in(reading: Reading, name: str, box: Box, axis: int | None) -> BoolArray:
    """What a box shows of a mask that is flipped along an axis of the whole grid."""
    if axis is None:
        return reading.mask_in(name, box)
    size, side = reading.geometry.shape[axis], box[axis]
    there = list(box)
    there[axis] = slice(size - side.stop, size - side.start)
    return np.flip(reading.mask_in(name, (there[0], there[1], there[2])), axis)
