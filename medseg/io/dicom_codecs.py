"""Stored values of one frame: the table of transfer syntaxes, each with its decoder.

A decoder in C gets a stream only when its own header agrees with the DICOM header on rows, columns, components and
bits, and when it has an end: a damaged stream cannot ask for gigabytes, a truncated one is not filled up with grey.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
from pydicom.uid import UID

from medseg.errors import DicomError
from medseg.io.dicom_damage import DamageError
from medseg.io.dicom_headers import PixelFormat
from medseg.io.dicom_quiet import quiet_pydicom
from medseg.shapes import IntArray

Decode = Callable[[bytes, PixelFormat], tuple[IntArray, int]]  # (rows, columns), and how many bits the codec kept

BASELINE, EXTENDED, LOSSLESS, JPEG_LS = 0xC0, 0xC1, 0xC3, 0xF7  # start of frame markers (ISO 10918-1, 14495-1)
START_OF_FRAME = frozenset({*range(0xC0, 0xD0), JPEG_LS}) - {0xC4, 0xC8, 0xCC}
STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
END = b"\xff\xd9"
SIZE_MARKER = b"\xff\x4f\xff\x51"  # SOC, SIZ (ISO 15444-1 A.4.1, A.5.1)
MAX_TILES = 4096


class Stored(NamedTuple):
    """A frame, decoded.

    Args:
        values: (rows, columns) stored values, without bits that are not part of them, signed as the header says.
        cells: the unsigned pixel cells of which they were taken, as wide as BitsAllocated.
    """

    values: IntArray
    cells: IntArray


def decode(frame: bytes, pixels: PixelFormat, where: str) -> Stored:
    """The stored values of a frame.

    Raises:
        DicomError: no decoder for the syntax.
        DamageError, RuntimeError, struct.error: a damaged frame, or one that contradicts the DICOM header.
    """
    if pixels.syntax in NATIVE:
        return _from_cells(_native(frame, pixels), pixels)
    entry = DECODERS.get(pixels.syntax)
    if entry is None:
        raise DicomError(f"no decoder for {syntax_name(pixels.syntax)}", where=where,
                         do="With dcmdjpeg or gdcmconv, decompress the series first.")  # fmt: skip
    values, bits = entry(frame, pixels)
    if values.shape != pixels.shape:
        raise DamageError("the pixel array has not the size that the header gives")
    if entry is _rle:
        return _from_cells(values, pixels)
    cells = values.astype(_dtype(pixels), copy=False)
    return Stored(_kept(cells, min(bits, pixels.bits[1]), pixels.signed), cells)


def frame_bytes(pixels: PixelFormat) -> int:
    """Bytes of one frame that is not compressed."""
    return pixels.shape[0] * pixels.shape[1] * pixels.samples * pixels.bits[0] // 8


def syntax_name(uid: str) -> str:
    """The standard's name of a transfer syntax; `an unknown transfer syntax` for any other text."""
    with quiet_pydicom():
        known = UID(uid)
        return known.name if known.name != uid and known.is_transfer_syntax else "an unknown transfer syntax"


def _dtype(pixels: PixelFormat) -> np.dtype[Any]:
    return np.dtype(f"u{pixels.bits[0] // 8}")


def _native(frame: bytes, pixels: PixelFormat) -> IntArray:
    if len(frame) != frame_bytes(pixels):
        raise DamageError("it has not the bytes of a frame")
    dtype = _dtype(pixels).newbyteorder("<" if pixels.little else ">")
    return np.frombuffer(frame, dtype).reshape(pixels.shape)


def _from_cells(cells: IntArray, pixels: PixelFormat) -> Stored:
    """Values out of pixel cells: bits below and above them (PS3.5 8.1.1; overlays in old files) are cut off."""
    allocated, stored, high = pixels.bits
    if not 0 < stored <= high + 1 <= allocated:
        raise DamageError("BitsStored and HighBit do not fit into BitsAllocated")
    cells = cells.astype(cells.dtype.newbyteorder("="), copy=False)
    return Stored(_kept(cells >> (high + 1 - stored) if high + 1 != stored else cells, stored, pixels.signed), cells)


def _kept(values: IntArray, bits: int, signed: bool) -> IntArray:
    """The lowest `bits` of unsigned values, as two's complement when signed."""
    width = 8 * values.dtype.itemsize
    if signed:
        whole = values.view(f"i{values.dtype.itemsize}")
        return whole if bits == width else (whole << (width - bits)) >> (width - bits)
    return values if bits == width else values & values.dtype.type((1 << bits) - 1)


def _rle(frame: bytes, pixels: PixelFormat) -> tuple[IntArray, int]:
    """RLE Lossless (PS3.5 annex G)."""
    count = pixels.bits[0] // 8
    head = struct.unpack_from("<16L", frame)
    offsets = head[1 : 1 + count]
    if head[0] != count or offsets[0] != 64 or list(offsets) != sorted(set(offsets)) or offsets[-1] >= len(frame):
        raise DamageError("it has not the segments of one frame")
    decoded = imagecodecs.dicomrle_decode(frame, _dtype(pixels))
    if len(decoded) != frame_bytes(pixels):
        raise DamageError("it has not the bytes of a frame")
    return np.frombuffer(decoded, _dtype(pixels)).reshape(pixels.shape), pixels.bits[0]


def _jpeg(*markers: int) -> Decode:
    """JPEG baseline, extended and lossless (ISO 10918-1) with one of these start of frame markers."""

    def decode_jpeg(frame: bytes, pixels: PixelFormat) -> tuple[IntArray, int]:
        bits = _check_jpeg(frame, pixels, markers)
        return _unsigned(imagecodecs.jpeg8_decode(frame)), bits

    return decode_jpeg


def _jpeg_ls(frame: bytes, pixels: PixelFormat) -> tuple[IntArray, int]:
    """JPEG-LS (ISO 14495-1), lossless and near lossless."""
    bits = _check_jpeg(frame, pixels, (JPEG_LS,))
    return _unsigned(imagecodecs.jpegls_decode(frame)), bits


def _jpeg_2000(frame: bytes, pixels: PixelFormat) -> tuple[IntArray, int]:
    """JPEG 2000 part 1 and high-throughput JPEG 2000 (ISO 15444-1, -15).

    OpenJPEG for both: imagecodecs' decoder of OpenJPH is twice as fast, but returns a half filled array in silence when
    the stream is damaged.
    """
    stream, bits = _codestream(frame, pixels)
    return _unsigned(imagecodecs.jpeg2k_decode(stream, numthreads=1)), bits


def _unsigned(values: Any) -> IntArray:
    if values.dtype.kind not in "iu":
        raise DamageError("its values are no integers")
    return values.view(f"u{values.dtype.itemsize}")


def _check_jpeg(frame: bytes, pixels: PixelFormat, markers: tuple[int, ...]) -> int:
    """The bits that a JPEG or JPEG-LS stream says its values have, when all else fits.

    Raises:
        DamageError: other marker, size, components or more bits than the DICOM header has; no end.
    """
    marker, bits, rows, columns, components = _start_of_frame(frame)
    _check_end(frame)
    if marker not in markers or (rows, columns, components) != (*pixels.shape, 1) or bits > pixels.bits[0]:
        raise DamageError("the codestream contradicts the header")
    return bits


def _start_of_frame(frame: bytes) -> tuple[int, int, int, int, int]:
    """Marker, precision, rows, columns and components."""
    at = 2
    if frame[:2] != b"\xff\xd8":
        raise DamageError("it is no JPEG")
    while True:
        lead, marker = struct.unpack_from("BB", frame, at)
        if lead != 0xFF or marker == 0xDA:
            raise DamageError("it has no start of frame")
        if marker in START_OF_FRAME:
            return marker, *struct.unpack_from(">BHHB", frame, at + 4)
        if marker == 0xFF:
            at += 1
        elif marker in STANDALONE:
            at += 2
        else:
            at += 2 + struct.unpack_from(">H", frame, at + 2)[0]


def _codestream(frame: bytes, pixels: PixelFormat) -> tuple[bytes, int]:
    """The bare JPEG 2000 codestream, out of the JP2 boxes that some writers add, and the bits of its values.

    Raises:
        DamageError: other size, components, signedness or more bits than the DICOM header has; no end.
    """
    start = 0 if frame.startswith(SIZE_MARKER) else frame.find(SIZE_MARKER, 0, 4096)
    if start < 0:
        raise DamageError("it is no JPEG 2000")
    _check_end(frame)
    x1, y1, x0, y0, tile_x, tile_y, tile_x0, tile_y0, components, depth, step_x, step_y = struct.unpack_from(
        ">8LHBBB", frame, start + 8
    )
    bits = (depth & 0x7F) + 1
    tiles = -(-(x1 - tile_x0) // max(tile_x, 1)) * -(-(y1 - tile_y0) // max(tile_y, 1))
    fits = (y1 - y0, x1 - x0, components, step_x, step_y) == (*pixels.shape, 1, 1, 1) and bits <= pixels.bits[0]
    if not fits or tile_x0 > x0 or tile_y0 > y0 or not 0 < tiles <= MAX_TILES or not (tile_x and tile_y):
        raise DamageError("the codestream contradicts the header")
    if depth & 0x80 and not pixels.signed:
        raise DamageError("the codestream is signed, the header is not")
    return frame[start:], bits


def _check_end(frame: bytes) -> None:
    if not frame[-64:].rstrip(b"\0").endswith(END):
        raise DamageError("the codestream is truncated")


NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"}
DECODERS: dict[str, Decode] = {
    "1.2.840.10008.1.2.5": _rle,
    "1.2.840.10008.1.2.4.50": _jpeg(BASELINE),
    "1.2.840.10008.1.2.4.51": _jpeg(EXTENDED, BASELINE),
    "1.2.840.10008.1.2.4.57": _jpeg(LOSSLESS),
    "1.2.840.10008.1.2.4.70": _jpeg(LOSSLESS),
    "1.2.840.10008.1.2.4.80": _jpeg_ls,
    "1.2.840.10008.1.2.4.81": _jpeg_ls,
    "1.2.840.10008.1.2.4.90": _jpeg_2000,
    "1.2.840.10008.1.2.4.91": _jpeg_2000,
    "1.2.840.10008.1.2.4.201": _jpeg_2000,
    "1.2.840.10008.1.2.4.202": _jpeg_2000,
    "1.2.840.10008.1.2.4.203": _jpeg_2000,
}  # keys as in PS3.6 table A-1
