"""Small boxes written as the readings of raters and models, in the layouts that `agree` takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.imaging.geometry import Geometry
from medseg.io.nifti import write_labels
from medseg.shapes import IntArray

GRID = Geometry((12, 10, 6), np.diag([1.0, 1.0, 3.0, 1.0]))


def box(start: int = 2, stop: int = 7, value: int = 1, geometry: Geometry = GRID) -> IntArray:
    """Labels (X, Y, Z) with one box of a value, from index `start` to before `stop` along X and Y."""
    labels = np.zeros(geometry.shape, dtype=np.uint8)
    labels[start:stop, start:stop, 1:4] = value
    return labels


def write_boxes(folder: Path, *cases: str, start: int = 2, value: int = 1, geometry: Geometry = GRID) -> Path:
    """`<case>.nii.gz` of one box each in a folder, which is returned."""
    for case in cases:
        write_labels(folder / f"{case}.nii.gz", box(start, value=value, geometry=geometry), geometry)
    return folder


def write_structures(folder: Path, case: str, *names: str, geometry: Geometry = GRID) -> Path:
    """`<case>/<structure>.nii.gz`, each a box that starts one voxel further on; the folder of all cases is returned."""
    for index, name in enumerate(names):
        write_labels(folder / case / f"{name}.nii.gz", box(2 + index, geometry=geometry), geometry)
    return folder
