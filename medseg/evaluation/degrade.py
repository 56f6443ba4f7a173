"""Known damage to a mask, in millimetres: what a verdict must notice.

Lengths are measured between voxel centres on the grid's own spacing; what lies outside the image is background. Damage
that would move no voxel is refused instead of being done in name only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cc3d
import numpy as np
from scipy.ndimage import distance_transform_edt

from medseg.errors import UsageError
from medseg.evaluation.consensus import majority
from medseg.evaluation.words import percent
from medseg.shapes import BoolArray, IntTriple, Triple

HAIR = 1e-6  # voxels; a distance equal to the amount is reached whatever its last digit says
KINDS = ("dilate", "erode", "shift", "drop", "copy", "majority")
FORMS = "dilate:MM, erode:MM, shift:X,Y,Z in mm, drop:largest, drop:SHARE, copy:READER or majority"


def dilate(mask: BoolArray, spacing_mm: Triple, mm: float) -> BoolArray:
    """The mask and every voxel whose centre is at most `mm` from one of its voxels; an empty mask stays empty.

    Raises:
        UsageError: `mm` is not positive, or smaller than a voxel in every direction.

    >>> dilate(np.array([[[False, True, False]]]), (1.0, 1.0, 2.0), 2.0).tolist()
    [[[True, True, True]]]
    """
    _check_length(mm, spacing_mm)
    if not mask.any():
        return mask.copy()
    return np.asarray(distance_transform_edt(~mask, sampling=spacing_mm)) <= mm + HAIR * min(spacing_mm)


def erode(mask: BoolArray, spacing_mm: Triple, mm: float) -> BoolArray:
    """The voxels of the mask whose centre is more than `mm` from every voxel outside; may leave nothing.

    Raises:
        UsageError: as `dilate`.

    >>> int(erode(np.ones((5, 5, 5), dtype=bool), (1.0, 1.0, 1.0), 1.0).sum())  # outside the image is background
    27
    """
    _check_length(mm, spacing_mm)
    inside = np.asarray(distance_transform_edt(np.pad(mask, 1), sampling=spacing_mm))[1:-1, 1:-1, 1:-1]
    return inside > mm + HAIR * min(spacing_mm)


def shift(mask: BoolArray, spacing_mm: Triple, by_mm: Triple) -> BoolArray:
    """The mask moved by whole voxels, those nearest to `by_mm` along each axis; what leaves the image is lost.

    Raises:
        UsageError: no axis moves by a voxel.

    >>> shift(np.array([[[True, False, False]]]), (1.0, 1.0, 3.0), (0.0, 0.0, 6.0)).tolist()
    [[[False, False, True]]]
    """
    steps = shift_voxels(spacing_mm, by_mm)
    if not any(steps):
        raise UsageError("the shift moves no voxel", expected=f"a multiple of the spacing {_mm(spacing_mm)}",
                         got=_mm(by_mm))  # fmt: skip
    moved = np.zeros_like(mask)
    if all(abs(step) < size for step, size in zip(steps, mask.shape, strict=True)):
        to = tuple(slice(max(step, 0), size + min(step, 0)) for step, size in zip(steps, mask.shape, strict=True))
        of = tuple(slice(max(-step, 0), size + min(-step, 0)) for step, size in zip(steps, mask.shape, strict=True))
        moved[to] = mask[of]
    return moved


def shift_voxels(spacing_mm: Triple, by_mm: Triple) -> IntTriple:
    """Whole voxels along X, Y, Z that come nearest to a shift in mm.

    >>> shift_voxels((1.0, 1.0, 3.0), (0.0, -2.0, 4.0))
    (0, -2, 1)
    """
    x, y, z = (round(mm / spacing) for mm, spacing in zip(by_mm, spacing_mm, strict=True))
    return x, y, z


def drop_largest(mask: BoolArray) -> BoolArray:
    """The mask without its largest connected component (26 neighbours; of equal ones the first); may leave nothing."""
    parts = _components(mask)
    if not parts.max(initial=0):
        return mask.copy()
    return mask & (parts != 1 + int(np.argmax(np.bincount(parts.ravel())[1:])))


def drop_lesions(mask: BoolArray, share: float, rng: np.random.Generator) -> BoolArray:
    """The mask without each of its connected components with probability `share`.

    Raises:
        UsageError: `share` is not between 0 and 1.
    """
    if not 0.0 < share <= 1.0:
        raise UsageError("no lesion would be dropped", expected="a share above 0 and at most 1", got=str(share))
    parts = _components(mask)
    dropped = np.r_[False, rng.random(int(parts.max(initial=0))) < share]
    return mask & ~dropped[parts]


@dataclass(frozen=True)
class Damage:
    """One kind of damage with its amount, as read from `--degrade`.

    Args:
        kind: one of KINDS.
        mm: of `dilate` and `erode`.
        by_mm: of `shift`.
        share: of `drop`, or None for the largest component.
        reader: of `copy`.
    """

    kind: str
    mm: float = 0.0
    by_mm: Triple = (0.0, 0.0, 0.0)
    share: float | None = None
    reader: str = ""

    def __str__(self) -> str:
        amount = {
            "dilate": f" by {self.mm:g} mm",
            "erode": f" by {self.mm:g} mm",
            "shift": f" by {_mm(self.by_mm)}",
            "drop": " the largest part" if self.share is None else f" {percent(self.share)} of the lesions",
            "copy": f" of {self.reader}",
            "majority": " vote of the readers",
        }[self.kind]
        return self.kind + amount

    def apply(
        self, mask: BoolArray, spacing_mm: Triple, readers: Mapping[str, BoolArray], rng: np.random.Generator
    ) -> BoolArray:
        """The damaged mask (X, Y, Z).

        Args:
            readers: the readers' masks of the same structure, for `copy` and `majority`.
            rng: for `drop:SHARE`.

        Raises:
            UsageError: no voxel can move by so little, or the reader to copy has not read this case.
        """
        if self.kind == "copy" and self.reader not in readers:
            raise UsageError("no such reader to copy", expected=" or ".join(readers), got=self.reader)
        if self.kind == "majority" or self.kind == "copy":
            return readers[self.reader].copy() if self.kind == "copy" else majority(list(readers.values()))[0]
        if self.kind == "shift":
            return shift(mask, spacing_mm, self.by_mm)
        if self.kind == "drop":
            return drop_largest(mask) if self.share is None else drop_lesions(mask, self.share, rng)
        return (dilate if self.kind == "dilate" else erode)(mask, spacing_mm, self.mm)


def read_damage(text: str) -> Damage:
    """The damage that a word such as `erode:2`, `shift:3,0,0`, `drop:0.2`, `copy:A` or `majority` names.

    Raises:
        UsageError: an unknown kind or an amount that is no number; the forms are listed.

    >>> str(read_damage("shift:3,0,-3")), str(read_damage("drop:0.2"))
    ('shift by 3, 0, -3 mm', 'drop 20 % of the lesions')
    """
    kind, _, amount = text.partition(":")
    fault = UsageError("unknown damage", expected=FORMS, got=repr(text))
    if kind == "majority" and not amount:
        return Damage(kind)
    if kind == "copy" and amount:
        return Damage(kind, reader=amount)
    if kind == "drop" and amount == "largest":
        return Damage(kind)
    try:
        numbers = [float(part) for part in amount.split(",")]
    except ValueError:
        raise fault from None
    if not np.isfinite(numbers).all():
        raise fault
    if kind == "shift" and len(numbers) == 3:
        return Damage(kind, by_mm=(numbers[0], numbers[1], numbers[2]))
    if kind in ("dilate", "erode") and len(numbers) == 1 and numbers[0] > 0:
        return Damage(kind, mm=numbers[0])
    if kind == "drop" and len(numbers) == 1 and 0 < numbers[0] <= 1:
        return Damage(kind, share=numbers[0])
    raise fault


def _components(mask: BoolArray) -> np.ndarray:
    """Numbers (X, Y, Z) of the connected components from 1 on, 0 for background."""
    if not mask.any():
        return np.zeros(mask.shape, dtype=np.int64)
    framed = np.pad(mask, 1)  # cc3d 3.2x reserves too few labels for masks one voxel thick and raises
    return np.asarray(cc3d.connected_components(framed, connectivity=26))[1:-1, 1:-1, 1:-1]


def _check_length(mm: float, spacing_mm: Triple) -> None:
    if not mm > 0 or mm < min(spacing_mm) * (1 - HAIR):
        raise UsageError("the amount moves no voxel", expected=f"at least the smallest spacing, {min(spacing_mm):g} mm",
                         got=f"{mm:g} mm")  # fmt: skip


def _mm(lengths: Triple) -> str:
    return ", ".join(f"{length:g}" for length in lengths) + " mm"
