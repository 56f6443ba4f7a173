"""Pixels of segmentations: packed bits and compressed frames."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from medseg.errors import DicomError, FileReadError
from medseg.io.dicom_seg import read_segmentation
from tests.support.segmentations import (
    APART,
    DRAWN,
    SEG,
    WriteSeg,
    assert_masks,
    write_seg,
)

FRAME_DEFLATE = "1.2.840.10008.1.2.8.1"
__all__ = ["write_seg"]  # a fixture


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
@pytest.mark.parametrize("kind", ["FRACTIONAL", "LABELMAP"])
def test_compressed_frames_equal_the_plain_ones(write_seg: WriteSeg, kind: str, syntax: str) -> None:
    assert_masks(read_segmentation(write_seg(APART, kind, transfer_syntax_uid=syntax), threshold=1.0), APART)


def test_a_deflated_file_equals_the_plain_one(write_seg: WriteSeg) -> None:
    path = write_seg(DRAWN)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    assert_masks(read_segmentation(path), DRAWN)


def _deflate(frame: Any) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(np.packbits(frame, bitorder="little").tobytes()) + packer.flush()


@pytest.mark.parametrize(
    ("syntax", "pack"), [(FRAME_DEFLATE, _deflate), (JPEG2000Lossless, lambda f: imagecodecs.jpeg2k_encode(f, level=0))]
)
def test_single_bits_packed_frame_by_frame_equal_the_plain_ones(
    write_seg: WriteSeg, syntax: str, pack: Callable[[Any], bytes]
) -> None:
    path = write_seg(DRAWN)
    dataset = pydicom.dcmread(path)
    dataset.PixelData = encapsulate([pack(np.ascontiguousarray(frame)) for frame in dataset.pixel_array])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.save_as(path, implicit_vr=False, little_endian=True)
    uid = syntax.encode().ljust(len(JPEG2000Lossless), b"\0")  # one of them is younger than pydicom
    path.write_bytes(path.read_bytes().replace(JPEG2000Lossless.encode(), uid))
    assert_masks(read_segmentation(path), DRAWN)


def test_a_deflate_bomb_is_refused_before_it_unpacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medseg.io.dicom_object.LARGEST_BYTES", 100_000)
    dataset = pydicom.dcmread(SEG / "binary.dcm")
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.PixelData = bytes(1_000_000)
    dataset.save_as(tmp_path / "bomb.dcm")
    with pytest.raises(FileReadError, match="larger than any segmentation"):
        read_segmentation(tmp_path / "bomb.dcm")


def test_run_lengths_that_point_outside_their_frame_are_refused(write_seg: WriteSeg) -> None:
    """The codec itself would read beyond the frame and crash."""

    def damage(dataset: Any) -> None:
        dataset.PixelData = encapsulate([struct.pack("<16L", 1, 10**9, *[0] * 14)] * int(dataset.NumberOfFrames))

    path = write_seg({"A": DRAWN["A"]}, "LABELMAP", transfer_syntax_uid=RLELossless, change=damage)
    with pytest.raises(DicomError, match="cannot be read"):
        read_segmentation(path)
