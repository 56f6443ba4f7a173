"""A slice in HU as a small grey picture inside the page."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import numpy.typing as npt

from medseg.shapes import FloatArray

WINDOW_HU = (-160.0, 240.0)  # the usual soft-tissue window: width 400, level 40
MOST_PIXELS = 320  # a longer side is averaged down, so that a page with many slices stays below 3 MB


def slice_url(hu: npt.NDArray[np.generic], most_pixels: int = MOST_PIXELS) -> str:
    """A data URL of a slice (rows, columns) in HU, in the soft-tissue window; no side is longer than `most_pixels`."""
    low, high = WINDOW_HU
    shrunk = _shrink(np.asarray(hu, dtype=np.float32), most_pixels)
    grey = np.rint((np.clip(shrunk, low, high) - low) / (high - low) * 255).astype(np.uint8)
    return f"data:image/png;base64,{base64.b64encode(_png(grey)).decode()}"


def _shrink(hu: FloatArray, most_pixels: int) -> FloatArray:
    """Block means; the last rows may repeat the edge."""
    steps = [-(-length // most_pixels) for length in hu.shape]
    padded = np.pad(hu, [(0, -length % step) for length, step in zip(hu.shape, steps, strict=True)], mode="edge")
    blocks = padded.reshape(padded.shape[0] // steps[0], steps[0], padded.shape[1] // steps[1], steps[1])
    return blocks.mean(axis=(1, 3))


def _png(grey: npt.NDArray[np.uint8]) -> bytes:
    """An 8-bit grey PNG with the Sub filter (ISO/IEC 15948): differences along a row compress better than values."""
    differences = np.diff(grey, axis=1, prepend=np.zeros((grey.shape[0], 1), np.uint8))
    lines = np.concatenate([np.ones((grey.shape[0], 1), np.uint8), differences], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body
