"""Probabilities of labels in a NIfTI file: (X, Y, Z, label), or (X, Y, Z) for one label."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from medseg.errors import GeometryError, VoxelError
from medseg.imaging.geometry import Geometry
from medseg.io.nifti_header import open_file, read_grid, read_stored
from medseg.shapes import FloatArray

ROUNDING = 1e-5  # float32 means of several softmaxes leave 0..1 by less


def read_probabilities(path: str | Path, *, where: str = "") -> tuple[FloatArray, Geometry]:
    """Probabilities (X, Y, Z, C) in float32, C = 1 for a file of three axes, and the grid.

    Values that leave 0 to 1 by float32 rounding (1e-5) are put to the limit. Memory: the array, 4 bytes a value.

    Raises:
        FileReadError, GeometryError: as `nifti.read_volume`; more than four axes.
        VoxelError: values outside 0 to 1, or NaN.
    """
    where = where or Path(path).name
    with open_file(Path(path), where) as (content, header):
        shape = tuple(int(n) for n in header.get_data_shape())
        while len(shape) > 4 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) not in (3, 4) or min(shape) < 1:
            raise GeometryError("no probabilities", where=where, expected="axes X, Y, Z and label", got=str(shape))
        volume = header.copy()
        volume.set_data_shape(shape[:3])
        geometry = read_grid(volume, where)
        stored = read_stored(header, math.prod(shape), where)
        content.check_size(stored.end, where)
        values = np.empty(stored.count, np.float32)
        content.fill(values, stored, where)
    low, high = float(values.min()), float(values.max())  # NaN makes both NaN
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):
        raise VoxelError("values that are no probabilities", where=where, expected="0 to 1",
                         got="NaN" if math.isnan(low) else f"{low:.4g} to {high:.4g}",
                         do="Store the softmax, not logits or percent.")  # fmt: skip
    np.clip(values, 0, 1, out=values)
    return values.reshape((*shape, 1)[:4], order="F"), geometry
