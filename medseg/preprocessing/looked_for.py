"""What a reading says of structures that its rater looked for, and nothing of the others."""

from __future__ import annotations

import numpy as np

from medseg.imaging.regions import Reading
from medseg.shapes import BoolArray, IntArray


def known_classes(reading: Reading) -> BoolArray:
    """(C,) True for each class that the rater looked for, and for the background."""
    return np.array([True, *(reading.was_read(name) for name in reading.label_set.foreground)])


def read_indices(reading: Reading) -> IntArray:
    """Class indices (X, Y, Z); what is drawn of a structure that the rater did not look for is background.

    `medseg check` warns of such drawings: they count as not read.
    """
    known = known_classes(reading)
    if known.all():
        return reading.indices
    return np.where(np.isin(reading.indices, np.flatnonzero(~known)), 0, reading.indices)
