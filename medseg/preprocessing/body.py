"""Where the patient lies in the image."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from medseg.imaging.volume import Volume
from medseg.shapes import IntTriple

BODY_HU = -300.0  # between air and fat
SEARCH_MM = 4.0  # the body is searched on a grid this coarse: its outline is smooth


def body_box(volume: Volume, margin_mm: float) -> tuple[IntTriple, IntTriple]:
    """First voxel and shape of the box around the largest piece denser than air, with a margin; else everything."""
    spacing = np.array(volume.geometry.spacing_mm)
    step = np.maximum(np.floor(SEARCH_MM / spacing), 1).astype(int)
    pieces, count = ndimage.label(volume.hu[:: step[0], :: step[1], :: step[2]] > BODY_HU)  # type: ignore[misc]
    shape = np.array(volume.hu.shape)
    if not count:
        return (0, 0, 0), volume.geometry.shape
    box = ndimage.find_objects(pieces)[int(np.bincount(pieces.ravel())[1:].argmax())]
    # The body may begin up to a voxel short of a search step before the first voxel that was looked at.
    margin = np.maximum(np.ceil(margin_mm / spacing).astype(int), step - 1)
    start = np.maximum(np.array([s.start for s in box]) * step - margin, 0)
    stop = np.minimum(np.array([s.stop for s in box]) * step + margin, shape)
    (x, y, z), (a, b, c) = start.tolist(), (stop - start).tolist()
    return (x, y, z), (a, b, c)
