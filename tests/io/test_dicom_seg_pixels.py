"""The bits of a binary SEG, against numpy's packing of all frames at once."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest

from medseg.io.dicom_seg_pixels import present_labels, write_frames


@pytest.mark.parametrize("shape", [(16, 4, 3), (5, 3, 4), (7, 1, 5), (1, 1, 1)])
def test_frames_follow_each_other_without_a_gap(shape: tuple[int, int, int]) -> None:
    indices = np.random.default_rng(0).integers(0, 4, shape).astype(np.uint8)
    frames = [(z, number) for number in (1, 2, 3) for z in range(shape[2])]
    stream = BytesIO()

    write_frames(stream, indices, frames)

    bits = np.concatenate([(indices[:, :, z] == number).T.ravel() for z, number in frames])  # rows of pixels
    expected = np.packbits(bits, bitorder="little").tobytes()
    assert stream.read() == expected + bytes(len(expected) % 2)


def test_an_empty_result_has_empty_frames() -> None:
    stream = BytesIO()
    write_frames(stream, np.ones((4, 4, 1), dtype=np.uint8), [(-1, 1), (-1, 2)])
    assert stream.read() == bytes(4)


def test_each_slice_knows_its_labels() -> None:
    indices = np.zeros((2, 2, 2), dtype=np.uint8)
    indices[0, 0, 1] = 3
    assert present_labels(indices, 3).tolist() == [[False, False, False], [False, False, True]]
