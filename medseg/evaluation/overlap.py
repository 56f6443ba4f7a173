"""How much of two masks is common, and how their volumes differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medseg.shapes import BoolArray, Triple

NAN = float("nan")


@dataclass(frozen=True)
class Overlap:
    """Three voxel counts of a pair; every overlap metric follows from them. What is undefined is NaN.

    Args:
        reference, prediction, common: voxels of each mask and of both together.
        voxel_ml: volume of one voxel.

    >>> Overlap(16, 12, 12).dice
    0.8571428571428571
    """

    reference: int
    prediction: int
    common: int
    voxel_ml: float = NAN

    @property
    def dice(self) -> float:
        return _share(2 * self.common, self.reference + self.prediction)

    @property
    def iou(self) -> float:
        return _share(self.common, self.reference + self.prediction - self.common)

    @property
    def sensitivity(self) -> float:
        return _share(self.common, self.reference)

    @property
    def precision(self) -> float:
        return _share(self.common, self.prediction)

    @property
    def volumetric_similarity(self) -> float:
        return 1.0 - _share(abs(self.prediction - self.reference), self.reference + self.prediction)

    @property
    def volume_difference(self) -> float:
        return (self.prediction - self.reference) * self.voxel_ml if self.reference or self.prediction else NAN

    @property
    def relative_volume_difference(self) -> float:
        return _share(self.prediction - self.reference, self.reference)

    @property
    def symmetric_volume_difference(self) -> float:
        return _share(2 * (self.prediction - self.reference), self.reference + self.prediction)


def overlap(reference: BoolArray, prediction: BoolArray, spacing_mm: Triple = (1.0, 1.0, 1.0)) -> Overlap:
    """The counts of two masks (X, Y, Z)."""
    a, b = np.asarray(reference, dtype=bool), np.asarray(prediction, dtype=bool)
    common = int(np.count_nonzero(a & b))
    return Overlap(int(np.count_nonzero(a)), int(np.count_nonzero(b)), common, float(np.prod(spacing_mm)) / 1000.0)


def dice(reference: BoolArray, prediction: BoolArray, spacing_mm: Triple = (1.0, 1.0, 1.0)) -> float:
    """Twice the common voxels over the voxels of both masks, 0 to 1 (Dice 1945).

    One mask empty gives 0 (a miss or a false positive); both empty gives NaN, because nothing was there to agree on.
    `score_masks` turns that NaN into 1 where anybody else marked the structure in the case.

    >>> dice(np.array([[[True, True]]]), np.array([[[True, False]]]))
    0.6666666666666666
    """
    return overlap(reference, prediction).dice


def iou(reference: BoolArray, prediction: BoolArray, spacing_mm: Triple = (1.0, 1.0, 1.0)) -> float:
    """Common voxels over the voxels of the union, 0 to 1 (Jaccard 1901); empty masks as in `dice`.

    >>> iou(np.array([[[True, True]]]), np.array([[[True, False]]]))
    0.5
    """
    return overlap(reference, prediction).iou


def sensitivity(reference: BoolArray, prediction: BoolArray, spacing_mm: Triple = (1.0, 1.0, 1.0)) -> float:
    """Share of the reference's voxels that the prediction holds, 0 to 1.

    Reference empty gives NaN (there was nothing to find; the precision is 0 then), prediction alone empty 0.

    >>> sensitivity(np.array([[[True, True]]]), np.array([[[True, False]]]))
    0.5
    """
    return overlap(reference, prediction).sensitivity


def precision(reference: BoolArray, prediction: BoolArray, spacing_mm: Triple = (1.0, 1.0, 1.0)) -> float:
    """Share of the prediction's voxels that the reference holds, 0 to 1.

    Prediction empty gives NaN (nothing was claimed; the sensitivity is 0 then), reference alone empty 0.

    >>> precision(np.array([[[True, True]]]), np.array([[[True, False]]]))
    1.0
    """
    return overlap(reference, prediction).precision


def volumetric_similarity(reference: BoolArray, prediction: BoolArray, spacing_mm: Triple = (1.0, 1.0, 1.0)) -> float:
    """1 less the difference of the volumes over their sum, 0 to 1 (Taha and Hanbury 2015); empty masks as in `dice`.

    It looks at volumes alone: two masks of one size that nowhere overlap score 1.

    >>> volumetric_similarity(np.array([[[True, True, False]]]), np.array([[[False, False, True]]]))
    0.6666666666666667
    """
    return overlap(reference, prediction).volumetric_similarity


def volume_difference(reference: BoolArray, prediction: BoolArray, spacing_mm: Triple) -> float:
    """Prediction minus reference in millilitres; both empty NaN.

    >>> volume_difference(np.array([[[True, True]]]), np.array([[[True, False]]]), (10.0, 10.0, 10.0))
    -1.0
    """
    return overlap(reference, prediction, spacing_mm).volume_difference


def relative_volume_difference(
    reference: BoolArray, prediction: BoolArray, spacing_mm: Triple = (1.0, 1.0, 1.0)
) -> float:
    """Prediction minus reference as a share of the reference, -1 and up; NaN where the reference is empty.

    >>> relative_volume_difference(np.array([[[True, True]]]), np.array([[[True, False]]]))
    -0.5
    """
    return overlap(reference, prediction).relative_volume_difference


def symmetric_volume_difference(
    reference: BoolArray, prediction: BoolArray, spacing_mm: Triple = (1.0, 1.0, 1.0)
) -> float:
    """Prediction minus reference as a share of their mean volume, -2 to 2; both empty NaN.

    Exchanging the two turns the sign and nothing else, so neither of two readers is treated as the truth.

    >>> symmetric_volume_difference(np.array([[[True, True]]]), np.array([[[True, False]]]))
    -0.6666666666666666
    """
    return overlap(reference, prediction).symmetric_volume_difference


def volume_ml(mask: BoolArray, spacing_mm: Triple) -> float:
    """Volume of a mask in millilitres; 0 when it is empty."""
    return float(np.count_nonzero(mask)) * float(np.prod(spacing_mm)) / 1000.0


def dice_of_counts(reference: int, prediction: int, common: int) -> float:
    """Dice from three voxel counts; NaN when both masks are empty."""
    return Overlap(reference, prediction, common).dice


def _share(part: int, whole: int) -> float:
    return part / whole if whole else NAN
