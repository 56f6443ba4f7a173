"""The floor that a network must beat: the best HU window of a structure, and the largest piece inside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import ndimage

from medseg.evaluation.overlap import dice
from medseg.shapes import BoolArray, FloatArray

COARSE_HU = tuple(range(-40, 141, 20))  # soft tissue lies in between
FINE_HU = (-10, 10)
Window = tuple[float, float]
Example = tuple[FloatArray, Mapping[str, BoolArray]]


def largest_piece(hu: FloatArray, window_hu: Window) -> BoolArray:
    """Mask of the largest face-connected piece of voxels inside the window; empty when no voxel is."""
    pieces, _ = ndimage.label((hu >= window_hu[0]) & (hu <= window_hu[1]))  # type: ignore[misc]  # stubs lack the pair
    if not pieces.any():
        return np.zeros(hu.shape, dtype=bool)
    return pieces == np.bincount(pieces.ravel())[1:].argmax() + 1


def fit_windows(examples: Sequence[Example], on_window: Callable[[int], None] = lambda done: None) -> dict[str, Window]:
    """Per structure the window with the best mean Dice over the examples, both ends searched.

    First every pair of ends 20 HU apart, then 10 HU to either side of the best.

    Args:
        examples: HU (X, Y, Z) and one mask per structure; all examples have the same structures.
        on_window: called with the number of windows tried so far.
    """
    tried: dict[Window, dict[str, float]] = {}

    def mean_dice(window: Window) -> dict[str, float]:
        if window not in tried:
            tried[window] = _mean_dice(examples, window)
            on_window(len(tried))
        return tried[window]

    for low in COARSE_HU:
        for high in (h for h in COARSE_HU if h > low):
            mean_dice((low, high))
    best = {}
    for name in examples[0][1]:
        coarse = max(tried, key=lambda window, n=name: tried[window][n])
        finer = [(coarse[0] + a, coarse[1] + b) for a in (*FINE_HU, 0) for b in (*FINE_HU, 0)]
        best[name] = max((w for w in finer if w[0] < w[1]), key=lambda window, n=name: mean_dice(window)[n])
    return best


def _mean_dice(examples: Sequence[Example], window: Window) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name in examples[0][1]}
    for hu, masks in examples:
        piece = largest_piece(hu, window)
        for name, mask in masks.items():
            found[name].append(dice(mask, piece))
    return {name: float(np.mean(values)) for name, values in found.items()}
