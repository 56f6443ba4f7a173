"""How much of two masks is common: Dice, intersection over union, volumes."""

from __future__ import annotations

import numpy as np

from medseg.shapes import BoolArray, Triple


def dice(reference: BoolArray, prediction: BoolArray, spacing_mm: Triple = (1.0, 1.0, 1.0)) -> float:
    """Twice the common voxels over the voxels of both masks, 0 to 1 (Dice 1945).

    One mask empty gives 0 (a miss or a false positive); both empty gives NaN, because nothing was there to agree on.
    `score_masks` turns that NaN into 1 where anybody else marked the structure in the case.

    >>> dice(np.array([[[True, True]]]), np.array([[[True, False]]]))
    0.6666666666666666
    """
    return dice_of_counts(*_counts(reference, prediction))


def iou(reference: BoolArray, prediction: BoolArray, spacing_mm: Triple = (1.0, 1.0, 1.0)) -> float:
    """Common voxels over the voxels of the union, 0 to 1 (Jaccard 1901); empty masks as in `dice`.

    >>> iou(np.array([[[True, True]]]), np.array([[[True, False]]]))
    0.5
    """
    return iou_of_counts(*_counts(reference, prediction))


def volume_ml(mask: BoolArray, spacing_mm: Triple) -> float:
    """Volume of a mask in millilitres; 0 when it is empty."""
    return float(np.count_nonzero(mask)) * float(np.prod(spacing_mm)) / 1000.0


def dice_of_counts(reference: int, prediction: int, common: int) -> float:
    """Dice from three voxel counts; NaN when both masks are empty."""
    total = reference + prediction
    return 2.0 * common / total if total else float("nan")


def iou_of_counts(reference: int, prediction: int, common: int) -> float:
    """Intersection over union from three voxel counts; NaN when both masks are empty."""
    union = reference + prediction - common
    return common / union if union else float("nan")


def _counts(reference: BoolArray, prediction: BoolArray) -> tuple[int, int, int]:
    a, b = np.asarray(reference, dtype=bool), np.asarray(prediction, dtype=bool)
    return int(np.count_nonzero(a)), int(np.count_nonzero(b)), int(np.count_nonzero(a & b))
