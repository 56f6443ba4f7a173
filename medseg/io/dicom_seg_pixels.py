"""The pixels of a binary DICOM SEG: one bit a voxel and segment, frame after frame without a gap (PS3.5 8.1.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

import numpy as np

from medseg.shapes import BoolArray, IntArray

BITS = 8


def present_labels(indices: IntArray, count: int) -> BoolArray:
    """Which of the class indices 1 to `count` each slice of (X, Y, N) holds: (N, count)."""
    found = np.zeros((indices.shape[2], count + 1), dtype=bool)
    for z in range(indices.shape[2]):
        found[z] = np.bincount(indices[:, :, z].ravel(), minlength=count + 1) > 0
    return found[:, 1:]


def write_frames(stream: BinaryIO, indices: IntArray, frames: Iterable[tuple[int, int]]) -> None:
    """Writes a frame of rows of bits for each slice and class index; slice -1 is an empty frame.

    The first pixel is the lowest bit. A frame need not begin with a byte; the last byte is filled up, and an odd
    number of bytes made even.
    """
    left = np.zeros(0, dtype=bool)
    size = 0
    for place, number in frames:
        mask = np.zeros(indices.shape[:2], dtype=bool) if place < 0 else indices[:, :, place] == number
        bits = np.concatenate([left, mask.ravel(order="F")])  # X is fastest
        whole = len(bits) // BITS * BITS
        size += stream.write(np.packbits(bits[:whole], bitorder="little").tobytes())
        left = bits[whole:]
    size += stream.write(np.packbits(left, bitorder="little").tobytes())
    stream.write(bytes(size % 2))
    stream.seek(0)
