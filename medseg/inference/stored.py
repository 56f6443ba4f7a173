"""Probabilities of a whole study in a file instead of in memory."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import WriteError
from medseg.imaging.geometry import Geometry
from medseg.inference.budget import tell_size
from medseg.shapes import FloatArray


class StoredProbabilities:
    """Probabilities (X, Y, Z, C) float32 in a temporary file, read by planes; the file has no name and goes with it.

    Stands where an array is expected that is read as `array[..., z, c]`, the way in which NIfTI files are written;
    `numpy.asarray` reads all of it. Where nothing was written, the background (class 0) is certain.

    Args:
        classes: C.
        folder: where the file lies; the system's folder of temporary files where None.

    Raises:
        WriteError: the disk has no room.
    """

    ndim = 4
    dtype = np.dtype(np.float32)

    def __init__(self, geometry: Geometry, classes: int, folder: Path | None = None) -> None:
        x, y, z = geometry.shape
        self.shape = (x, y, z, classes)
        self.plane_bytes = 4 * x * y
        need = self.plane_bytes * z * classes
        free = shutil.disk_usage(folder or tempfile.gettempdir()).free
        if free < need:
            raise WriteError("the disk has no room for the probabilities", expected=tell_size(need),
                             got=f"{tell_size(free)} free", do="Free some, or leave them out.")  # fmt: skip
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - lives as long as the object
        self._written = np.zeros(z, dtype=bool)

    def put(self, box: tuple[slice, slice, slice], probabilities: FloatArray) -> None:
        """Writes whole slices: probabilities (C, *box); outside of the box they are background."""
        x, y, _, classes = self.shape
        plane = np.empty((x, y), np.float32, order="F")
        for k, z in enumerate(range(box[2].start, box[2].stop)):
            for c in range(classes):
                plane.fill(c == 0)
                plane[box[:2]] = probabilities[c, :, :, k]
                self._write(plane, z, c)
            self._written[z] = True

    def _write(self, plane: FloatArray, z: int, c: int) -> None:
        try:
            os.pwrite(self._file.fileno(), plane.tobytes(order="F"), (c * self.shape[2] + z) * self.plane_bytes)
        except OSError as error:
            raise WriteError("the probabilities cannot be written", got=error.strerror or "",
                             do="Free some space.") from error  # fmt: skip

    def __getitem__(self, place: tuple[Any, ...]) -> FloatArray:
        """The plane (X, Y) of `[..., z, c]`; anything else by way of the whole array."""
        if len(place) != 3 or place[0] is not Ellipsis or not all(isinstance(k, int | np.integer) for k in place[1:]):
            return np.asarray(self)[place]
        _, z, c = place
        x, y = self.shape[:2]
        if not self._written[z]:
            return np.full((x, y), float(c == 0), np.float32, order="F")
        content = os.pread(self._file.fileno(), self.plane_bytes, (c * self.shape[2] + z) * self.plane_bytes)
        return np.frombuffer(content, np.float32).reshape((x, y), order="F")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> FloatArray:
        found = np.empty(self.shape, dtype or self.dtype, order="F")
        for c in range(self.shape[3]):
            for z in range(self.shape[2]):
                found[..., z, c] = self[..., z, c]
        return found
