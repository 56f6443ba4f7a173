"""Do a model's samples vary as the readers do: generalised energy distance and matched IoU of two sets of masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm

import numpy as np
from scipy.optimize import linear_sum_assignment

from medseg.errors import UsageError
from medseg.evaluation.domain import union_box
from medseg.evaluation.patterns import Masks, Read, check_masks
from medseg.imaging.regions import box_of
from medseg.shapes import BoolArray, FloatArray, IntArray

AT_ONCE = 1 << 20  # voxels; sums of so many ones are exact in single precision (below 2^24)
MOST_COPIES = 5_000  # rows of the assignment: 200 MB, and half a minute


@dataclass(frozen=True)
class Distribution:
    """A model's samples against the readers, in one structure of one case.

    Compare only numbers of equally many samples and readers: the squared distance contains the diversity of both.

    Args:
        ged2: squared generalised energy distance, 0 for the same sets; lower is better.
        cross, among_samples, among_readers: mean 1 - IoU between the sets and within each (with itself: 0).
        hungarian_iou: mean IoU of the best matching of samples and readers, 0 to 1; higher is better.
        samples, readers: how many.
    """

    ged2: float
    cross: float
    among_samples: float
    among_readers: float
    hungarian_iou: float
    samples: int
    readers: int


def compare_distributions(samples: Masks, readers: Masks, read: Read = None) -> Distribution:
    """Energy distance and matched IoU of samples and readers (X, Y, Z each).

    GED^2 = 2 E d(S, Y) - E d(S, S') - E d(Y, Y') with d = 1 - IoU and all pairs, those of a mask with itself too (the
    V-statistic of Kohl et al., NeurIPS 2018). Two empty masks are the same: d = 0, IoU = 1. A hard prediction is one
    sample.

    Args:
        read: where each reader read, None for everywhere; a pair is compared where both read. A pair without a common
            voxel leaves all numbers NaN.

    Raises:
        UsageError: no sample or no reader.
        GeometryError: masks of different shapes.
    """
    if not samples or not readers:
        raise UsageError("no distributions to compare", expected="at least one sample and one reader",
                         got=f"{len(samples)} samples, {len(readers)} readers")  # fmt: skip
    n = len(samples)
    iou = iou_matrix([*samples, *readers], [*[None] * n, *(read or [None] * len(readers))])
    cross, among_samples, among_readers = (1 - float(iou[part].mean()) for part in (
        np.s_[:n, n:], np.s_[:n, :n], np.s_[n:, n:]))  # fmt: skip
    return Distribution(
        2 * cross - among_samples - among_readers,
        cross,
        among_samples,
        among_readers,
        matched_iou(iou[:n, n:]),
        n,
        len(readers),
    )


def iou_matrix(masks: Masks, read: Read = None) -> FloatArray:
    """IoU (M, M) of every pair of masks, where both read; 1 for two empty masks, NaN without a common voxel.

    >>> iou_matrix([np.array([[[True, True]]]), np.array([[[True, False]]])]).tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    checked, known = check_masks(masks, read)
    box = union_box([box_of(mask) for mask in checked])
    both, sizes = _counts([mask if box is None else mask[box] for mask in checked],
                          [where if where is None or box is None else where[box] for where in known])  # fmt: skip
    either = sizes + sizes.T - both
    iou = np.where(either > 0, both / np.maximum(either, 1), 1.0)
    for a, here in enumerate(known):
        for b, there in enumerate(known):
            if here is not None and not (here if there is None else here & there).any():
                iou[a, b] = iou[b, a] = np.nan
    return iou


def matched_iou(iou: FloatArray) -> float:
    """Mean IoU of the best one-to-one matching of samples and readers, given the IoU (S, R) of every pair.

    Both sets are repeated to equal length first, so every sample and every reader has the same weight (Hungarian
    matching; Kohl et al. 2019). NaN where an IoU is.

    Raises:
        UsageError: the least common multiple of S and R is above 5,000.

    >>> matched_iou(np.array([[0.9, 0.8], [0.7, 0.1]]))
    0.75
    """
    if np.isnan(iou).any():
        return float("nan")
    copies = lcm(*iou.shape)
    if copies > MOST_COPIES:
        raise UsageError("too many samples and readers to match", expected=f"a common multiple up to {MOST_COPIES}",
                         got=f"{iou.shape[0]} samples, {iou.shape[1]} readers",
                         do="Draw a number of samples that is a multiple of the number of readers.")  # fmt: skip
    repeated = np.repeat(np.repeat(iou, copies // iou.shape[0], axis=0), copies // iou.shape[1], axis=1)
    return float(repeated[linear_sum_assignment(repeated, maximize=True)].mean())


def _counts(masks: Sequence[BoolArray], known: Sequence[BoolArray | None]) -> tuple[IntArray, IntArray]:
    """(M, M) voxels that both of a pair marked, and voxels that the first marked where the second read."""
    order = "F" if masks[0].strides[0] < masks[0].strides[-1] else "C"
    marked = [(mask if where is None else mask & where).ravel(order) for mask, where in zip(masks, known, strict=True)]
    both = np.zeros((len(masks), len(masks)), dtype=np.int64)
    sizes = np.zeros_like(both)
    everywhere = all(where is None for where in known)
    read = [None if where is None else where.ravel(order) for where in known]
    for start in range(0, marked[0].size, AT_ONCE):
        here = slice(start, start + AT_ONCE)
        block = np.stack([mask[here] for mask in marked]).astype(np.float32)
        both += (block @ block.T).astype(np.int64)
        if not everywhere:
            seen = np.stack([np.ones(block.shape[1], dtype=bool) if r is None else r[here] for r in read])
            sizes += (block @ seen.astype(np.float32).T).astype(np.int64)
    if everywhere:
        sizes += np.diag(both)[:, None]
    return both, sizes
