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
    return f"data:image/png;base64,{base64.b64encode(png(grey)).decode()}"


def _shrink(hu: FloatArray, most_pixels: int) -> FloatArray:
    """Block means; the last rows may repeat the edge."""
    steps = [-(-length // most_pixels) for length in hu.shape]
    padded = np.pad(hu, [(0, -length % step) for length, step in zip(hu.shape, steps, strict=True)], mode="edge")
    blocks = padded.reshape(padded.shape[0] // steps[0], steps[0], padded.shape[1] // steps[1], steps[1])
    return blocks.mean(axis=(1, 3))


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Pixels (rows, columns) in grey, or (rows, columns, 3) in red, green and blue, as an 8-bit PNG file.

    Written with the Sub filter (ISO/IEC 15948): differences along a row compress better than values.
    """
    grey = pixels.ndim == 2
    differences = np.diff(pixels, axis=1, prepend=np.zeros_like(pixels[:, :1])).reshape(len(pixels), -1)
    lines = np.concatenate([np.ones((len(pixels), 1), np.uint8), differences], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 0 if grey else 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body
