"""Where the patient lies in the image."""

from __future__ import annotations

from typing import cast

import numpy as np
from scipy import ndimage

from medseg.imaging.volume import BODY_HU, Volume
from medseg.shapes import FloatArray, IntArray, IntTriple

SEARCH_MM = 4.0  # the body is searched on a grid this coarse: its outline is smooth
LIMB_MM = 24.0  # thinner are tables and head rests (shells of some 2 to 10 mm), thicker are arms and legs
CORE_SHARE = 0.1  # of an arm 40 mm thick a sixth lies 12 mm deep; of a table with its rails (STS_025) a hundredth


def body_box(volume: Volume, margin_mm: float) -> tuple[IntTriple, IntTriple]:
    """First voxel and shape of the box around the patient, with a margin; everything where there is only air.

    The patient is the largest piece denser than air and whatever else is as thick as a limb: a second leg, an arm.
    The shells of a table, blankets and wires are thinner.
    """
    spacing = np.array(volume.geometry.spacing_mm)
    step = np.maximum(np.floor(SEARCH_MM / spacing), 1).astype(int)
    dense = volume.hu[:: step[0], :: step[1], :: step[2]] > BODY_HU
    pieces, count = cast(tuple[IntArray, int], ndimage.label(dense))
    shape = np.array(volume.hu.shape)
    if not count:
        return (0, 0, 0), volume.geometry.shape
    ends = np.array([[(s.start, s.stop) for s in box] for box in _bodies(pieces, spacing * step)])
    # The body may begin up to a voxel short of a search step before the first voxel that was looked at.
    margin = np.maximum(np.ceil(margin_mm / spacing).astype(int), step - 1)
    start = np.maximum(ends[:, :, 0].min(axis=0) * step - margin, 0)
    stop = np.minimum(ends[:, :, 1].max(axis=0) * step + margin, shape)
    (x, y, z), (a, b, c) = start.tolist(), (stop - start).tolist()
    return (x, y, z), (a, b, c)


def _bodies(pieces: IntArray, spacing_mm: FloatArray) -> list[tuple[slice, ...]]:
    """The boxes of the largest piece and of all that are mostly as thick as a limb."""
    sizes, boxes = np.bincount(pieces.ravel()), ndimage.find_objects(pieces)
    largest = 1 + int(sizes[1:].argmax())
    ball = 4 / 3 * np.pi * (LIMB_MM / 2) ** 3 / np.prod(spacing_mm)
    others = [k for k in np.flatnonzero(sizes >= ball).tolist() if k not in (0, largest)]
    thick = [k for k in others if _core_share(pieces, k, boxes[k - 1], spacing_mm) >= CORE_SHARE]
    return [boxes[k - 1] for k in (largest, *thick)]


def _core_share(pieces: IntArray, number: int, box: tuple[slice, ...], spacing_mm: FloatArray) -> float:
    """How much of a piece lies half a limb below its surface; beyond the image's edge it goes on."""
    around = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in box)
    piece = pieces[around] == number
    between_mm = np.asarray(ndimage.distance_transform_edt(piece, sampling=spacing_mm.tolist()))
    depth_mm = between_mm - spacing_mm.min() / 2  # the surface lies half way between centres of voxels
    return float(np.count_nonzero(depth_mm >= LIMB_MM / 2) / np.count_nonzero(piece))
