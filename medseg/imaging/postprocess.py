"""The steps that may follow a prediction, by the names of structures: largest pieces, least size, hierarchy, cavities.

They work in place on the labels of the study's own grid, one after the other; see `pieces` for what a piece is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from medseg.errors import LabelError
from medseg.imaging import pieces
from medseg.imaging.labels import BACKGROUND, LabelSet
from medseg.imaging.pieces import Extents, Ground
from medseg.imaging.prediction import Change
from medseg.shapes import IntArray


@dataclass(frozen=True)
class Scale:
    """What names and volumes mean in an array of labels.

    Args:
        label_set: names and values.
        voxel_ml: the volume of a voxel.
        most_bytes: that a step may take beyond the labels.
        extents: of the labels, where they are known.
    """

    label_set: LabelSet
    voxel_ml: float
    most_bytes: int | None = None
    extents: Extents | None = None

    def values(self, names: Sequence[str]) -> list[int]:
        """The label values of structures."""
        return [self.label_set.values[name] for name in names]

    @property
    def ground(self) -> Ground:
        """What the steps need to know beside the labels."""
        return Ground(self.label_set.values[BACKGROUND], self.most_bytes, self.extents)


class Step(Protocol):
    """One step; `str` says in words what it does."""

    @property
    def of(self) -> tuple[str, ...]:
        """The labels that it changes."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """All structures that it names."""
        ...

    def apply(self, labels: IntArray, scale: Scale) -> int:
        """Changes the labels (X, Y, Z) in place; says how many voxels."""
        ...


@dataclass(frozen=True)
class KeepLargest:
    """Of the structure that some labels are together, only so many pieces stay."""

    of: tuple[str, ...]
    pieces: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        return self.of

    def __str__(self) -> str:
        return f"only the {'largest piece' if self.pieces == 1 else f'{self.pieces} largest pieces'}"

    def apply(self, labels: IntArray, scale: Scale) -> int:
        """See `Step`."""
        return pieces.keep_largest(labels, scale.values(self.of), self.pieces, scale.ground)


@dataclass(frozen=True)
class DropSmall:
    """Pieces below a volume are removed."""

    of: tuple[str, ...]
    below_ml: float

    @property
    def names(self) -> tuple[str, ...]:
        return self.of

    def __str__(self) -> str:
        return f"no piece below {self.below_ml:g} ml"

    def apply(self, labels: IntArray, scale: Scale) -> int:
        """See `Step`."""
        return pieces.drop_small(labels, scale.values(self.of), self.below_ml / scale.voxel_ml, scale.ground)


@dataclass(frozen=True)
class DropApart:
    """Pieces that touch none of the structures to which they belong are removed, such as lesions outside an organ."""

    of: tuple[str, ...]
    touching: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.of, *self.touching)

    def __str__(self) -> str:
        return f"no piece that does not touch {' or '.join(self.touching)}"

    def apply(self, labels: IntArray, scale: Scale) -> int:
        """See `Step`."""
        return pieces.drop_apart(labels, scale.values(self.of), scale.values(self.touching), scale.ground)


@dataclass(frozen=True)
class FillCavities:
    """Background that one label encloses on all sides gets the label, in cavities up to a volume."""

    of: tuple[str, ...]
    up_to_ml: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return self.of

    def __str__(self) -> str:
        return "cavities filled" if self.up_to_ml is None else f"cavities up to {self.up_to_ml:g} ml filled"

    def apply(self, labels: IntArray, scale: Scale) -> int:
        """See `Step`."""
        most = None if self.up_to_ml is None else self.up_to_ml / scale.voxel_ml
        return sum(pieces.fill_cavities(labels, value, most, scale.ground) for value in scale.values(self.of))


def postprocess(labels: IntArray, steps: Sequence[Step], scale: Scale) -> tuple[Change, ...]:
    """Applies steps in their order to labels (X, Y, Z), in place; says of each what it changed.

    Raises:
        LabelError: a step names a structure that there is not.
        UsageError: the labels are in so many pieces that more memory is needed.

    >>> import numpy as np
    >>> labels = np.array([1, 1, 0, 1]).reshape(4, 1, 1)
    >>> scale = Scale(LabelSet({"background": 0, "liver": 1}), voxel_ml=0.001)
    >>> [(str(change), change.voxels) for change in postprocess(labels, [KeepLargest(("liver",))], scale)]
    [('liver: only the largest piece', 1)]
    """
    check_steps(steps, scale.label_set)
    extents = Extents.find(labels, scale.values(scale.label_set.foreground))
    found = []
    for step in steps:
        voxels = step.apply(labels, replace(scale, extents=extents))
        if voxels:
            extents.grow(scale.values(step.of))
        found.append(Change(step.of, str(step), voxels))
    return tuple(found)


def check_steps(steps: Sequence[Step], label_set: LabelSet, *, where: str = "postprocessing") -> None:
    """Raises LabelError where a step names a structure that there is not; the background is none."""
    for step in steps:
        if unknown := [name for name in step.names if name not in label_set.foreground]:
            raise LabelError(f"no such structure '{unknown[0]}'", where=where,
                             expected="one of " + ", ".join(label_set.foreground))  # fmt: skip
