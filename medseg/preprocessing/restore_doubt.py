"""What the probabilities of a study leave open, gathered slice by slice: maps in small steps, and sums by class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import log

import numpy as np

from medseg.imaging.prediction import MAPS, ClassSums
from medseg.preprocessing.kernels_doubt import COLUMNS
from medseg.shapes import FloatArray, IntArray

STEPS = np.iinfo(np.int16).max  # of the most that a map can hold
MapSink = Callable[[tuple[slice, slice, slice], IntArray], None]  # a box of the study, whole steps (*box) in int16


@dataclass(eq=False)
class Doubt:
    """Takes entropy, disagreement and sums of finished boxes of a study.

    Both maps lie between 0 and the logarithm of the number of classes.

    Args:
        classes: how many.
        sinks: where each map that was asked for goes.
    """

    classes: int
    sinks: Mapping[str, MapSink] = field(default_factory=dict)
    table: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        self.table = np.zeros((self.classes, COLUMNS))

    @property
    def step(self) -> float:
        """Nats of one step of a map."""
        return map_step(self.classes)

    def take(self, box: tuple[slice, slice, slice], found: FloatArray, sums: FloatArray) -> None:
        """Adds a box: `found` (channels, *box) in nats, entropy first, and its sums (classes, 5)."""
        self.table += sums
        for nats, name in zip(found, MAPS, strict=False):
            if name in self.sinks:
                steps = np.clip(np.rint(nats / np.float32(self.step)), 0, STEPS)
                self.sinks[name](box, steps.astype(np.int16))

    def sums(self, members: FloatArray | None = None) -> ClassSums:
        """The sums of all boxes so far; `members` are the voxels of each member, see `ClassSums`."""
        return ClassSums(*self.table.T.copy(), members=members)


def map_step(classes: int) -> float:
    """Nats of one step of a map, so that 32767 steps are all that so many classes can leave open.

    >>> round(map_step(2) * 32767, 4)
    0.6931
    """
    return log(max(2, classes)) / STEPS
