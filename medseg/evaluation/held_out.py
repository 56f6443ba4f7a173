"""Cases that were held out from training: what the network said of them, what experts said, and how well they agree."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from medseg.evaluation.expected_dice import DiceCalibration
from medseg.imaging.labels import BACKGROUND, LabelSet
from medseg.imaging.postprocess import Scale, Step
from medseg.shapes import IntArray

Structures = Mapping[str, tuple[int, ...]]  # name of a class or region to its class indices
UNKNOWN = -1  # class index of voxels that nobody read


@dataclass(frozen=True, eq=False)
class Packed:
    """An array whose bytes are compressed: hundreds of label maps fit into memory."""

    shape: tuple[int, ...]
    kind: str
    content: bytes

    @classmethod
    def pack(cls, array: IntArray) -> Packed:
        """The array, compressed."""
        return cls(array.shape, array.dtype.str, zlib.compress(np.asfortranarray(array).tobytes(order="F"), 1))

    def unpack(self) -> IntArray:
        """A copy that may be changed, x fastest."""
        flat = np.frombuffer(bytearray(zlib.decompress(self.content)), self.kind)
        return flat.reshape(self.shape, order="F")


@dataclass(eq=False)
class HeldOutCase:
    """One case on the plan's grid.

    Args:
        patient: whose cases belong together.
        labels: (X, Y, Z) class indices of the prediction; steps change them.
        reference: (X, Y, Z) class indices, -1 where nobody looked.
        sought: for each class whether any reader looked for it.
        voxel_ml: the volume of a voxel.
        promised: by name of a class the Dice that the probabilities promise.
    """

    id: str
    patient: str
    labels: Packed
    reference: Packed
    sought: Sequence[bool]
    voxel_ml: float
    promised: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def confusion(self) -> IntArray:
        """(reference, prediction) number of voxels by class, without those that nobody read."""
        reference, labels, count = self.reference.unpack(), self.labels.unpack(), len(self.sought)
        known = reference != UNKNOWN
        pairs = reference[known].astype(np.int64) * count + labels[known]
        return np.bincount(pairs, minlength=count * count).reshape(count, count)

    def looked_for(self, classes: Sequence[int]) -> bool:
        """Whether somebody looked for all of these classes."""
        return all(self.sought[index] for index in classes)

    def sizes(self, classes: Sequence[int]) -> tuple[int, int, int]:
        """Voxels of a structure in the reference, in the prediction, and in both."""
        chosen = list(classes)
        part = self.confusion[chosen]
        return int(part.sum()), int(self.confusion[:, chosen].sum()), int(part[:, chosen].sum())

    def dice(self, classes: Sequence[int]) -> float:
        """Dice of a structure; NaN where the reference has none or nobody looked for it: such a case cannot gain."""
        reference, predicted, both = self.sizes(classes)
        return 2 * both / (reference + predicted) if reference and self.looked_for(classes) else np.nan

    def is_false_alarm(self, classes: Sequence[int]) -> bool:
        """Whether the prediction has a structure for which somebody looked and that the reference has not."""
        reference, predicted, _ = self.sizes(classes)
        return self.looked_for(classes) and not reference and predicted > 0

    def apply(self, step: Step, names: Sequence[str]) -> HeldOutCase:
        """The case after one more step; `names` are those of the classes, the background first."""
        labels = self.labels.unpack()
        if not step.apply(labels, Scale(index_labels(names), self.voxel_ml)):
            return self
        return HeldOutCase(self.id, self.patient, Packed.pack(labels), self.reference, self.sought, self.voxel_ml,
                           self.promised)  # fmt: skip


def index_labels(names: Sequence[str]) -> LabelSet:
    """Classes by name, whose values are their indices.

    >>> index_labels(["background", "liver"]).values
    {'background': 0, 'liver': 1}
    """
    return LabelSet({BACKGROUND: 0, **{name: index for index, name in enumerate(names) if index}})


@dataclass(frozen=True)
class StructureScore:
    """A structure over all held-out cases.

    Args:
        dice: mean over the cases whose reference has it; NaN where none has.
        cases: how many have it.
        false_alarms: cases in which it was predicted and is not there.
    """

    dice: float
    cases: int
    false_alarms: int


def score(cases: Sequence[HeldOutCase], structures: Structures) -> dict[str, StructureScore]:
    """Every structure over all cases."""
    found = {}
    for name, classes in structures.items():
        dice = np.array([case.dice(classes) for case in cases])
        there = dice[~np.isnan(dice)]
        alarms = sum(case.is_false_alarm(classes) for case in cases)
        found[name] = StructureScore(float(there.mean()) if there.size else np.nan, int(there.size), alarms)
    return found


def mean_dice(cases: Sequence[HeldOutCase], structures: Structures) -> float:
    """Mean over the structures of their mean Dice; NaN where none occurs."""
    dice = [each.dice for each in score(cases, structures).values() if each.cases]
    return float(np.mean(dice)) if dice else np.nan


def calibrate(cases: Sequence[HeldOutCase], names: Sequence[str]) -> dict[str, DiceCalibration]:
    """The calibration of the expected Dice of every class, from the cases in which it was looked for and predicted.

    A class that is predicted where the reference has none has a Dice of 0.

    Args:
        names: of the classes, the background first.
    """
    found = {}
    for index, name in enumerate(names):
        if index:
            pairs = [(case.promised[name], _dice_of_predicted(case, index)) for case in cases]
            found[name] = DiceCalibration.fit(*zip(*pairs, strict=True)) if pairs else DiceCalibration((), ())
    return found


def _dice_of_predicted(case: HeldOutCase, index: int) -> float:
    reference, predicted, both = case.sizes([index])
    return 2 * both / (reference + predicted) if predicted and case.looked_for([index]) else np.nan
