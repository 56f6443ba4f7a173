"""The frames of a DICOM segmentation: bits, fractions or label values, packed or compressed (PS3.5 8.2, A.4).

Native 1-bit frames follow one another without padding, so a frame may begin in the middle of a byte; the first pixel
is the lowest bit (PS3.5 8.1.1). Compressed frames stand alone.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import imagecodecs
import numpy as np
from pydicom.encaps import generate_frames

from medseg.errors import DicomError
from medseg.shapes import IntArray

NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99")  # little endian
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"  # each frame a raw deflate stream
RLE = "1.2.840.10008.1.2.5"
JPEG_LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
HTJ2K = ("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203")
JPEG_2000_START, JPEG_START = b"\xff\x4f\xff\x51", b"\xff\xd8"
JPEG_FRAME_MARKERS = {0xC3, 0xF7}  # lossless, JPEG-LS
LARGEST_GAIN = {RLE: 64, DEFLATED_FRAMES: 1032}  # bytes out per byte in that the method can reach


@dataclass(frozen=True)
class FrameLayout:
    """How the pixels are stored.

    Args:
        rows, columns: of every frame.
        bits: allocated per pixel: 1, 8 or 16.
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

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame that stands alone."""
        return (self.pixels * self.bits + 7) // 8


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
        raise ValueError("the pixel data are no bytes")
    if layout.syntax not in NATIVE:
        return _encapsulated(stored, layout, where)
    needed = (layout.pixels * layout.frames * layout.bits + 7) // 8
    if not needed <= len(stored) <= needed + 1:  # padded to an even length
        raise DicomError("the pixel data are not what the header declares", where=where,
                         expected=f"{needed} bytes", got=f"{len(stored)} bytes",
                         do="The file is damaged or truncated: export the segmentation again.")  # fmt: skip
    return Frames(layout, _native(np.frombuffer(stored, dtype=np.uint8), layout))


def _native(stored: IntArray, layout: FrameLayout) -> Callable[[int], IntArray]:
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
    if (decode := _codec(layout.syntax)) is None:
        raise DicomError("a byte order or compression that is not read for segmentations", where=where,
                         do="Decompress the file first.")  # fmt: skip
    kind = np.uint16 if layout.bits == 16 else np.uint8
    limit = LARGEST_GAIN.get(layout.syntax)
    packed: list[Any] = []
    for fragment in generate_frames(stored, number_of_frames=layout.frames):
        if limit and layout.frame_bytes > limit * (len(fragment) + 8):
            raise ValueError("the frame cannot hold as many pixels as the header declares")
        values = decode(fragment, layout)
        if values.shape != (layout.rows, layout.columns) or values.dtype.kind not in "ui":
            raise ValueError("the decoded frame has not the size that the header gives")
        if values.size and (int(values.max()) > (1 if layout.bits == 1 else np.iinfo(kind).max) or values.min() < 0):
            raise ValueError("a decoded value does not fit the header")
        packed.append(np.packbits(values.astype(bool)) if layout.bits == 1 else values.astype(kind))
    if len(packed) != layout.frames:
        raise ValueError("not as many frames as the header declares")

    def unpacked(frame: int) -> IntArray:
        if layout.bits > 1:
            return packed[frame].T
        return np.unpackbits(packed[frame], count=layout.pixels).reshape(layout.rows, layout.columns).T

    return Frames(layout, unpacked)


def _codec(syntax: str) -> Callable[[bytes, FrameLayout], Any] | None:
    if syntax == DEFLATED_FRAMES:
        return _inflated
    if syntax == RLE:
        return _run_lengths
    table: dict[tuple[str, ...], Callable[[bytes], Any]] = {JPEG_LOSSLESS: imagecodecs.ljpeg_decode, JPEG_LS: imagecodecs.jpegls_decode,
             JPEG_2000: imagecodecs.jpeg2k_decode, HTJ2K: imagecodecs.jpeg2k_decode}  # fmt: skip
    for syntaxes, decode in table.items():
        if syntax in syntaxes:
            return lambda data, layout, decode=decode: _decoded(decode, data, layout)
    return None


def _decoded(decode: Callable[[bytes], Any], data: bytes, layout: FrameLayout) -> Any:
    """What an image codec gives; asked only when its own header declares the right size, for it trusts that header."""
    if _declared_size(data) != (layout.rows, layout.columns):
        raise ValueError("the compressed frame has not the size that the header gives")
    return np.asarray(decode(data))


def _declared_size(data: bytes) -> tuple[int, int]:
    """Rows and columns in a JPEG, JPEG-LS (ISO 10918-1 B.2, 14495-1 C.2) or JPEG 2000 stream (ISO 15444-1 A.5.1)."""
    if data[:4] == JPEG_2000_START:
        right, lower, left, upper = struct.unpack(">4L", data[8:24])
        return lower - upper, right - left
    at = 2
    while data[:2] == JPEG_START and at + 9 <= len(data) and data[at] == 0xFF:
        if data[at + 1] in JPEG_FRAME_MARKERS:
            rows, columns = struct.unpack(">2H", data[at + 5 : at + 9])
            return rows, columns
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise ValueError("no stream of the declared compression")


def _inflated(data: bytes, layout: FrameLayout) -> IntArray:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    raw = stream.decompress(data, layout.frame_bytes + 2)
    if not layout.frame_bytes <= len(raw) <= layout.frame_bytes + 1:
        raise ValueError("the inflated frame has not the size that the header gives")
    return _standalone(raw, layout)


def _run_lengths(data: bytes, layout: FrameLayout) -> IntArray:
    """RLE (PS3.5 annex G): one segment per byte of a pixel, the highest byte first; single bits as packed bytes."""
    planes = layout.bits // 8 or 1
    header = np.frombuffer(data[:64], dtype="<u4")
    if header.size != 16 or int(header[0]) != planes:
        raise ValueError("not as many RLE segments as bytes in a pixel")
    bounds = [int(offset) for offset in header[1 : 1 + planes]] + [len(data)]
    length = layout.frame_bytes if layout.bits == 1 else layout.pixels
    parts = []
    for first, last in pairwise(bounds):
        if not 64 <= first < last <= len(data):
            raise ValueError("an RLE segment lies outside the frame")
        part = imagecodecs.packbits_decode(data[first:last])
        if not length <= len(part) <= length + 1:
            raise ValueError("an RLE segment has not the size that the header gives")
        parts.append(np.frombuffer(part, dtype=np.uint8)[:length])
    return _standalone(np.stack(parts[::-1], axis=-1).tobytes(), layout)


def _standalone(raw: bytes, layout: FrameLayout) -> IntArray:
    flat = np.frombuffer(raw, dtype=np.uint8)[: layout.frame_bytes]
    if layout.bits == 1:
        flat = np.unpackbits(flat, bitorder="little")[: layout.pixels]
    elif layout.bits == 16:
        flat = flat.view("<u2")
    return flat.reshape(layout.rows, layout.columns)
