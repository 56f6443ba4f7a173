"""Files that refer to images: what they are, and what is refused before pydicom sees them."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, SegmentationStorage

from medseg.errors import FileReadError
from medseg.io.dicom_elements import open_with_pydicom
from medseg.io.dicom_object import object_class, read_object
from medseg.io.dicom_sources import CHUNK, Sipped

SEG = Path(__file__).parents[1] / "data" / "dicom" / "seg" / "binary.dcm"


class Greedless(BytesIO):
    """A stream that does not stand for a large read."""

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None and 0 <= size <= CHUNK
        return super().read(size)


def test_the_class_is_told_by_the_meta_header(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no DICOM")

    assert object_class(SEG) == SegmentationStorage
    assert [object_class(path) for path in (tmp_path / "text", tmp_path, tmp_path / "absent")] == ["", "", ""]


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no DICOM")
    for name, reason in (("text", "not a DICOM file; expected a plan"), ("", "a folder, not a"), ("x", "no such file")):
        with pytest.raises(FileReadError, match=reason):
            read_object(tmp_path / name, "plan", "case c1")


def test_an_element_that_the_end_cuts_off_is_not_taken_for_whole(tmp_path: Path) -> None:
    (tmp_path / "cut.dcm").write_bytes(SEG.read_bytes()[:-1])

    with pytest.raises(FileReadError, match="case c1: the file is truncated"):
        read_object(tmp_path / "cut.dcm", "segmentation", "case c1")


def test_a_length_that_claims_gigabytes_takes_no_more_memory_than_is_there() -> None:
    element = struct.pack("<HH2s2xL", 0x0009, 0x0010, b"OB", 0x7FFFFFFF) + bytes(3 * CHUNK)
    content = bytes(128) + b"DICM" + struct.pack("<HH2sHL", 2, 0, b"UL", 4, 0) + element

    dataset = open_with_pydicom(Greedless(content), [0x00090010])

    assert Sipped(BytesIO(content)).read() == content and len(dataset[0x00090010].value) == 3 * CHUNK


def test_pydicom_inflates_nothing_without_a_bound() -> None:
    stream, dataset = BytesIO(), pydicom.dcmread(SEG)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(stream)
    stream.seek(0)

    with pytest.raises(ValueError, match="the header of a deflated file is unusual"):
        open_with_pydicom(stream, [0x00080060])
