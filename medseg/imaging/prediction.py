"""What a model says about one study, on the study's own grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.shapes import FloatArray, IntArray

MAPS = ("entropy", "disagreement")
LIKELY, POSSIBLE = 0.75, 0.25  # three to one that a voxel is in the structure, and three to one that it is not


@dataclass(frozen=True, eq=False)
class ScaledMap:
    """A map (X, Y, Z) of nats in int16 steps, a quarter of the memory of float64 and half of float32.

    Args:
        steps: whole steps, an array or what is read like one by `[..., z]`.
        step: nats of one step.
    """

    steps: Any
    step: float

    @property
    def values(self) -> FloatArray:
        """The map in nats, float32."""
        return np.asarray(self.steps) * np.float32(self.step)


@dataclass(frozen=True, eq=False)
class ClassSums:
    """Sums over the voxels of a study, arrays (C,) float64 in label order, of labels that nothing has changed since.

    Args:
        voxels: that have the class as label.
        total: of the probability, over all voxels.
        inside: of the probability, over the voxels that have the class as label.
        likely, possible: voxels where the probability is at least 0.75, and at least 0.25.
        members: (M, C) voxels that each member of an ensemble or each expert of the network would label, or None; a
            member's tiles vote with their weights on the network's grid, so these are no whole numbers.
    """

    voxels: FloatArray
    total: FloatArray
    inside: FloatArray
    likely: FloatArray
    possible: FloatArray
    members: FloatArray | None = None


@dataclass(frozen=True)
class Change:
    """What a step of postprocessing did to one study: to which structures, in words, and to how many voxels."""

    of: tuple[str, ...]
    step: str
    voxels: int

    def __str__(self) -> str:
        return f"{' and '.join(self.of)}: {self.step}"


@dataclass(frozen=True, eq=False)
class Prediction:
    """Labels (X, Y, Z) in the data set's own values, and what else was asked for.

    Args:
        probabilities: (X, Y, Z, C), C in label order.
        maps: `entropy` of the probabilities and `disagreement` of the members, in nats.
        sums: of the probabilities, for volumes and the expected Dice.
        changes: what postprocessing did to the labels; everything else is the network's.
    """

    labels: IntArray
    geometry: Geometry
    label_set: LabelSet
    probabilities: FloatArray | None = None
    maps: Mapping[str, ScaledMap] = field(default_factory=lambda: MappingProxyType({}))
    sums: ClassSums | None = None
    changes: tuple[Change, ...] = ()
