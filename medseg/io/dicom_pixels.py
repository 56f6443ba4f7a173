"""HU of the slices of a series, made by threads straight into the volume.

Memory: the volume and, for each thread, one slice with its bytes. (A multi-frame file that is deflated or in a zip can
only be read from its beginning; its bytes are kept while it is read.)

Padding (PS3.3 C.7.5.1.1.2) becomes air, -1024 HU. The standard wants a padding value "not contained in the native
image", but files whose padding is a plausible value, such as 0 HU, are common. So padding values below -1024 HU or
above 30710 HU (the end of the extended scale), which no tissue has, are padding wherever they lie; one within that
range counts as padding only in areas that reach a corner of the image, where the rectangle was filled up.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
from scipy import ndimage

from medseg.errors import DicomError
from medseg.io.dicom_codecs import Stored, decode
from medseg.io.dicom_damage import DamageError, reading
from medseg.io.dicom_frames import FrameIndex, check_room, find_frames
from medseg.io.dicom_headers import Image
from medseg.io.dicom_sources import Item
from medseg.shapes import BoolArray, FloatArray

AIR_HU = -1024.0
LOWEST_HU, HIGHEST_HU = -1024.0, 30710.0  # of what a scanner measures
EXACT = 1 << 23  # sums of 16 bit integers and smaller ones are exact in float32
WORKERS = max(1, min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))


@dataclass
class SliceReader:
    """HU of slice k, as often as it is asked for.

    Args:
        slices: for each place, bottom up, the images that lie there; one each in a proper series.
        where: the series, for messages.

    Attributes:
        dropped: (place, index) of images that repeated the first image of their place, found so far.
    """

    slices: Sequence[Sequence[Image]]
    where: str
    dropped: set[tuple[int, int]] = field(default_factory=set)
    _indices: dict[Item, FrameIndex] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def read_into(self, k: int, out: FloatArray) -> None:
        """Writes slice k into `out` (X, Y), float32.

        Raises:
            DicomError: pixels that cannot be read, or different images at the place.
        """
        place = self._place(k)
        first, *others = self.slices[k]
        self._read_image(first, out, place)
        for index, other in enumerate(others, start=1):
            again = np.empty(out.shape, np.float32, order="F")
            self._read_image(other, again, place)
            if not np.array_equal(out, again):
                raise self._conflict()
            self.dropped.add((k, index))

    def read(self, k: int) -> FloatArray:
        """Slice k as a new array (X, Y)."""
        rows, columns = self.slices[k][0].pixels.shape
        out = np.empty((columns, rows), np.float32, order="F")
        self.read_into(k, out)
        return out

    def check_room(self) -> None:
        """Looks whether the files can hold what their headers declare, before memory is taken for it.

        Raises:
            DicomError: one of them cannot.
        """
        checked: set[Item] = set()
        for k, image in ((k, image) for k, images in enumerate(self.slices) for image in images):
            if image.item not in checked:
                checked.add(image.item)
                with reading(self._place(k), "the pixels"):
                    check_room(image.item, image.pixels)

    def read_all(self, tell: Callable[[int, int], None]) -> FloatArray:
        """All slices (X, Y, N), x fastest; `tell(done, of)` is called after each."""
        rows, columns = self.slices[0][0].pixels.shape
        hu = self._volume((columns, rows, len(self.slices)))
        with ThreadPoolExecutor(WORKERS) as pool:
            tasks = [pool.submit(self.read_into, k, hu[:, :, k]) for k in range(len(self.slices))]
            try:
                for done, task in enumerate(tasks, start=1):
                    task.result()
                    tell(done, len(tasks))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return hu

    def _volume(self, shape: tuple[int, int, int]) -> FloatArray:
        try:
            return np.empty(shape, np.float32, order="F")
        except MemoryError as error:
            raise DicomError("the volume does not fit into memory", where=self.where,
                             got=f"{' x '.join(map(str, shape))} voxels") from error  # fmt: skip

    def _read_image(self, image: Image, out: FloatArray, place: str) -> None:
        with reading(place, "the pixels"):
            frame = self._index(image).read(image.frame)
            try:
                stored = decode(frame, image.pixels, place)
            except (RuntimeError, struct.error) as error:
                raise DamageError("the codestream is damaged") from error
            write_hu(stored, image, out.T)

    def _index(self, image: Image) -> FrameIndex:
        if image.pixels.frames == 1:
            return find_frames(image.item, image.pixels)
        with self._lock:
            if image.item not in self._indices:
                self._indices[image.item] = find_frames(image.item, image.pixels)
            return self._indices[image.item]

    def _place(self, k: int) -> str:
        return f"{self.where}, slice {k + 1} of {len(self.slices)}"

    def _conflict(self) -> DicomError:
        images, crowded = sum(map(len, self.slices)), sum(len(images) > 1 for images in self.slices)
        return DicomError("several different images lie at one position", where=self.where,
                          expected="one image a place",
                          got=f"{images} images at {len(self.slices)} places, {crowded} of them crowded",
                          do="Separate the time points or reconstructions into folders.")  # fmt: skip


def write_hu(stored: Stored, image: Image, out: FloatArray) -> None:
    """Writes stored value x slope + intercept of this slice into `out` (rows, columns), padding as air."""
    values = stored.values
    slope, intercept = float(image.slope or 0), float(image.intercept or 0)
    if slope == 1 and intercept.is_integer() and abs(intercept) <= EXACT and values.dtype.itemsize <= 2:
        np.add(values, np.float32(intercept), out=out)
    else:
        with np.errstate(over="ignore", invalid="ignore"):  # the volume refuses what is not finite
            out[:] = values.astype(np.float64) * slope + intercept
    padded = is_padding(stored, image)
    if padded is None or not padded.any():
        return
    impossible = padded & ((out < LOWEST_HU) | (out > HIGHEST_HU))
    out[impossible | _from_corners(padded & ~impossible)] = AIR_HU


def is_padding(stored: Stored, image: Image) -> BoolArray | None:
    """Where a frame holds padding, both limits included; None where the header tells of none.

    The limits are written as unsigned in files whose pixels are signed, and the other way round: they are 16 bit
    patterns, compared as the stored values are. A pattern that BitsStored cannot hold is looked for in whole cells.
    """
    if image.padding is None:
        return None
    values, bits = stored.values, image.pixels.bits[1]
    signed = image.pixels.signed
    low, high = sorted(value - 65536 if signed and value >= 32768 else value for value in image.padding)
    lowest, highest = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if not lowest <= low <= high <= highest:
        values, (low, high) = stored.cells, sorted(image.padding)
        if high > np.iinfo(values.dtype).max:
            return None
    return values == low if low == high else (values >= low) & (values <= high)


def _from_corners(mask: BoolArray) -> BoolArray:
    """The areas of the mask (4 neighbours) that hold a corner of the image."""
    if not (mask[0, 0] or mask[0, -1] or mask[-1, 0] or mask[-1, -1]):
        return np.zeros_like(mask)
    areas = np.empty(mask.shape, np.int32)
    ndimage.label(mask, output=areas)
    corners = {int(areas[y, x]) for y in (0, -1) for x in (0, -1)} - {0}
    return np.isin(areas, list(corners))
