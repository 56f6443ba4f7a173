"""The frames of a DICOM segmentation: bits, fractions or label values, packed or compressed (PS3.5 8.2, A.4).

Native 1-bit frames follow one another without padding, so a frame may begin in the middle of a byte; the first pixel
is the lowest bit (PS3.5 8.1.1). Compressed frames stand alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.encaps import generate_frames

from medseg.errors import DicomError
from medseg.io.dicom_codecs import decode
from medseg.io.dicom_damage import DamageError
from medseg.io.dicom_headers import PixelFormat
from medseg.shapes import IntArray

NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99")  # little endian
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"  # each frame a raw deflate stream (PS3.5 A.4.13)
MAX_UNPACKED = 2**31  # bytes of all frames of a compressed file: 65,000 frames of 512 x 512 bits


@dataclass(frozen=True)
class FrameLayout:
    """How the pixels are stored.

    Args:
        rows, columns: of every frame.
        bits: allocated per pixel: 1, 8 or 16.
        syntax: transfer syntax UID.
    """

    rows: int
    columns: int
    frames: int
    bits: int
    syntax: str

    @property
    def pixels(self) -> int:
        """Pixels of a frame."""
        return self.rows * self.columns


@dataclass(frozen=True, eq=False)
class Frames:
    """Decoded frames, kept as small as they come; `values(k)` is frame k as (columns, rows)."""

    layout: FrameLayout
    values: Callable[[int], IntArray]


def read_frames(dataset: Any, layout: FrameLayout, where: str) -> Frames:
    """The frames of a dataset.

    Raises:
        DicomError: more or fewer pixels than the header declares, or a transfer syntax that is not read.
        OSError, ValueError, KeyError, RuntimeError ...: damaged pixel data, as pydicom and the codecs raise it.
    """
    stored = dataset.PixelData
    if not isinstance(stored, bytes):
        raise DamageError("the pixel data are no bytes")
    if layout.syntax not in NATIVE:
        return _encapsulated(stored, layout, where)
    needed = (layout.pixels * layout.frames * layout.bits + 7) // 8
    if not needed <= len(stored) <= needed + 1:  # padded to an even length
        raise DicomError("the pixel data are not what the header declares", where=where,
                         expected=f"{needed} bytes", got=f"{len(stored)} bytes",
                         do="The file is damaged or truncated: export the segmentation again.")  # fmt: skip
    return Frames(layout, _native(np.frombuffer(stored, dtype=np.uint8), layout))


def _native(stored: npt.NDArray[np.uint8], layout: FrameLayout) -> Callable[[int], IntArray]:
    def values(frame: int) -> IntArray:
        first = frame * layout.pixels
        if layout.bits == 1:
            packed = stored[first // 8 : (first + layout.pixels + 7) // 8]
            flat: IntArray = np.unpackbits(packed, bitorder="little")[first % 8 :][: layout.pixels]
        else:
            flat = stored[: stored.size // 2 * 2].view("<u2") if layout.bits == 16 else stored
            flat = flat[first : first + layout.pixels]
        return flat.reshape(layout.rows, layout.columns).T

    return values


def _encapsulated(stored: bytes, layout: FrameLayout, where: str) -> Frames:
    if (needed := layout.pixels * layout.frames * layout.bits // 8) > MAX_UNPACKED:
        raise DicomError("a segmentation that is too large when it is unpacked", where=where,
                         expected=f"at most {MAX_UNPACKED} bytes", got=f"{needed} bytes",
                         do="Export it without compression, or in parts.")  # fmt: skip
    packed: list[Any] = []
    for fragment in generate_frames(stored, number_of_frames=layout.frames):
        values = _decoded(fragment, layout, where)
        if layout.bits == 1 and int(values.max()) > 1:
            raise DamageError("a decoded value is no bit")
        packed.append(np.packbits(values) if layout.bits == 1 else values)
    if len(packed) != layout.frames:
        raise DamageError("it has not as many frames as the header says")

    def unpacked(frame: int) -> IntArray:
        if layout.bits > 1:
            return packed[frame].T
        return np.unpackbits(packed[frame], count=layout.pixels).reshape(layout.rows, layout.columns).T

    return Frames(layout, unpacked)


def _decoded(data: bytes, layout: FrameLayout, where: str) -> IntArray:
    """The values (rows, columns) of one frame; single bits come out of the image codecs as a byte each."""
    if layout.syntax == DEFLATED_FRAMES:
        return _inflated(data, layout)
    bits = max(layout.bits, 8)
    pixels = PixelFormat(layout.syntax, True, (layout.rows, layout.columns), 1, "MONOCHROME2", (bits, bits, bits - 1),
                         False, layout.frames, None, None)  # fmt: skip
    return decode(data, pixels, where).values


def _inflated(data: bytes, layout: FrameLayout) -> IntArray:
    needed = (layout.pixels * layout.bits + 7) // 8
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    raw = stream.decompress(data, needed + 2)
    if not needed <= len(raw) <= needed + 1:
        raise DamageError("the inflated frame has not the size that the header gives")
    flat = np.frombuffer(raw, dtype=np.uint8)[:needed]
    if layout.bits == 1:
        flat = np.unpackbits(flat, bitorder="little")[: layout.pixels]
    return (flat.view("<u2") if layout.bits == 16 else flat).reshape(layout.rows, layout.columns)
