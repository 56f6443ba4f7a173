"""Probabilities and maps of a whole study in a file instead of in memory."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import WriteError
from medseg.imaging.geometry import Geometry
from medseg.inference.budget import tell_size
from medseg.shapes import FloatArray, IntArray

HIDDEN = (
    ".medseg-"  # where a system knows no files without a name, it begins with this, and nobody takes it for a result
)
Box = tuple[slice, slice, slice]
Plane = npt.NDArray[Any]


class StoredPlanes:
    """Channels of a study in a temporary file, read by planes; the file has no name and goes with the object.

    Stands where an array (X, Y, Z, C) is expected that is read as `array[..., z, c]`, or (X, Y, Z) as `array[..., z]`,
    the way in which NIfTI files are written; `numpy.asarray` reads all of it.

    Args:
        shape: (X, Y, Z, C), or (X, Y, Z) for one channel.
        kind: of the numbers.
        outside: for each channel what stands where nothing was written.
        folder: where the file lies; the system's folder of temporary files where None.
        what: it is, for messages.

    Raises:
        WriteError: the disk has no room.
    """

    def __init__(
        self, shape: tuple[int, ...], kind: npt.DTypeLike, outside: tuple[float, ...], folder: Path | None, what: str
    ) -> None:
        self.shape, self.ndim, self.dtype, self.what = shape, len(shape), np.dtype(kind), what
        self._outside = outside
        self.plane_bytes = self.dtype.itemsize * shape[0] * shape[1]
        check_disk(self.plane_bytes * shape[2] * len(outside), folder, what)
        self._file = tempfile.TemporaryFile(dir=folder, prefix=HIDDEN)  # noqa: SIM115 - lives as long as the object
        self._written = np.zeros(shape[2], dtype=bool)

    def put_channels(self, box: Box, values: Plane) -> None:
        """Writes whole slices: values (C, *box)."""
        plane = np.empty(self.shape[:2], self.dtype, order="F")
        for k, z in enumerate(range(box[2].start, box[2].stop)):
            for c, outside in enumerate(self._outside):
                plane.fill(outside)
                plane[box[:2]] = values[c, :, :, k]
                self._write(plane, z, c)
            self._written[z] = True

    def _write(self, plane: Plane, z: int, c: int) -> None:
        place, left = (c * self.shape[2] + z) * self.plane_bytes, memoryview(plane.tobytes(order="F"))
        try:
            while left:  # a disk that is nearly full takes a part and says how much
                done = os.pwrite(self._file.fileno(), left, place)
                place, left = place + done, left[done:]
        except OSError as error:
            raise WriteError(f"the {self.what} cannot be written", got=error.strerror or "",
                             do="Free some space.") from error  # fmt: skip

    def __getitem__(self, place: tuple[Any, ...]) -> Plane:
        """The plane (X, Y) of `[..., z, c]` or `[..., z]`; anything else by way of the whole array."""
        numbers = place[1:]
        whole = len(place) != self.ndim - 1 or place[0] is not Ellipsis
        if whole or not all(isinstance(k, int | np.integer) for k in numbers):
            return np.asarray(self)[place]
        z, c = numbers if len(numbers) == 2 else (*numbers, 0)
        if not self._written[z]:
            return np.full(self.shape[:2], self._outside[c], self.dtype, order="F")
        content = os.pread(self._file.fileno(), self.plane_bytes, (c * self.shape[2] + z) * self.plane_bytes)
        return np.frombuffer(content, self.dtype).reshape(self.shape[:2], order="F")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Plane:
        found = np.empty(self.shape, dtype or self.dtype, order="F")
        for place in np.ndindex(self.shape[2:]):
            found[(..., *place)] = self[(..., *place)]
        return found


def check_disk(need: int, folder: Path | None, what: str) -> None:
    """Raises WriteError where the disk has not so many bytes left."""
    free = shutil.disk_usage(folder or tempfile.gettempdir()).free
    if free < need:
        raise WriteError(f"the disk has no room for the {what}", expected=tell_size(need),
                         got=f"{tell_size(free)} free", do="Free some, or leave them out.")  # fmt: skip


class StoredProbabilities(StoredPlanes):
    """Probabilities (X, Y, Z, C) float32; where nothing was written, the background (class 0) is certain.

    Args:
        classes: C.
    """

    def __init__(self, geometry: Geometry, classes: int, folder: Path | None = None) -> None:
        outside = (1.0, *[0.0] * (classes - 1))
        super().__init__((*geometry.shape, classes), np.float32, outside, folder, "probabilities")

    def put(self, box: Box, probabilities: FloatArray) -> None:
        """Writes whole slices: probabilities (C, *box); outside of the box they are background."""
        self.put_channels(box, probabilities)


class StoredMap(StoredPlanes):
    """A map (X, Y, Z) in int16 steps; 0 where nothing was written."""

    def __init__(self, geometry: Geometry, folder: Path | None = None) -> None:
        super().__init__(geometry.shape, np.int16, (0.0,), folder, "maps")

    def put(self, box: Box, steps: IntArray) -> None:
        """Writes whole slices: steps (*box)."""
        self.put_channels(box, steps[None])
