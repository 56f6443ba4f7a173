"""The plain parser of headers gives what pydicom gives, on every real file and on layouts that writers like."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medseg.io import dicom_elements
from medseg.io.dicom_elements import Elements, is_dicom, parse_with_pydicom, read_elements, text
from medseg.io.dicom_sources import FileItem, files_below

SERIES = Path(__file__).parents[1] / "data" / "dicom"
WriteSeries = Callable[..., Path]


def facts(elements: Elements | None) -> tuple[object, ...]:
    assert elements is not None
    values = {name: text(raw) for name, raw in elements.values.items()}
    return values, elements.little, elements.offset, elements.length, elements.functional_groups


def compare_with_pydicom(paths: Iterable[Path]) -> int:
    """How many files were judged by the plain parser; each gave what pydicom gives."""
    judged = 0
    for path in paths:
        elements = read_elements(FileItem(path))
        if elements is not None and elements.offset is not None and isinstance(elements.item, FileItem):
            assert facts(elements) == facts(parse_with_pydicom(FileItem(path))), path.name
            judged += 1
    return judged


@pytest.fixture
def no_pydicom(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain parser must judge the file itself."""

    def refuse(*_: object) -> None:
        raise AssertionError("pydicom was asked")

    monkeypatch.setattr(dicom_elements, "parse_with_pydicom", refuse)


def test_all_small_real_files_parse_as_by_pydicom() -> None:
    assert compare_with_pydicom(files_below(SERIES)) > 80


def test_all_larger_real_files_parse_as_by_pydicom(shared_data: Path) -> None:
    assert compare_with_pydicom(files_below(shared_data / "dicom")) > 60
    assert compare_with_pydicom(files_below(shared_data / "lidc_0001")) == 16
    assert compare_with_pydicom(files_below(shared_data / "sts_dicom")) == 145


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.usefixtures("no_pydicom")
def test_every_uncompressed_syntax_gives_the_same_values(write_series: WriteSeries, syntax: str) -> None:
    path = write_series([3.5]) / "slice0"
    plain = read_elements(FileItem(path))
    source = pydicom.dcmread(path)
    dataset = Dataset(source)  # one that was never read may be written in any byte order
    dataset.file_meta = source.file_meta
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.save_as(path, enforce_file_format=True)

    again = read_elements(FileItem(path))

    assert plain is not None and again is not None
    assert again.little is (syntax != ExplicitVRBigEndian) and again.length == plain.length
    for name in ("ImagePositionPatient", "SeriesInstanceUID", "RescaleIntercept"):
        assert text(again.values[name]) == text(plain.values[name])


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.usefixtures("no_pydicom")
def test_nested_sequences_are_stepped_over(write_series: WriteSeries, undefined: bool, implicit: bool) -> None:
    path = write_series([3.5]) / "slice0"
    dataset, inner, outer = pydicom.dcmread(path), Dataset(), Dataset()
    inner.Rows = 77  # must not be taken for the image's
    inner.is_undefined_length_sequence_item = undefined
    outer.ReferencedImageSequence = [inner]
    outer["ReferencedImageSequence"].is_undefined_length = undefined
    outer.is_undefined_length_sequence_item = undefined
    dataset.SourceImageSequence = [outer, Dataset()]
    dataset["SourceImageSequence"].is_undefined_length = undefined
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    dataset.save_as(path)

    elements = read_elements(FileItem(path))

    assert elements is not None
    assert elements.values["Rows"] == b"\x04\x00" and elements.offset == path.stat().st_size - 48


@pytest.mark.usefixtures("no_pydicom")
def test_a_header_longer_than_the_first_read_is_read_on(write_series: WriteSeries) -> None:
    path = write_series([0], ImageComments="x" * 9000) / "slice0"
    dataset = pydicom.dcmread(path)
    dataset.add_new(0x00091001, "OB", b"\0" * 300_000)
    dataset.save_as(path)

    elements = read_elements(FileItem(path))

    assert elements is not None and elements.length == 48 and elements.offset == path.stat().st_size - 48


def test_a_file_that_lies_about_its_syntax_is_left_to_pydicom(write_series: WriteSeries) -> None:
    path = write_series([3.5]) / "slice0"
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian  # the data set stays explicit
    content = io.BytesIO()
    pydicom.dcmwrite(
        content, dataset, enforce_file_format=False, implicit_vr=False, little_endian=True, force_encoding=True
    )
    path.write_bytes(content.getvalue())

    elements = read_elements(FileItem(path))

    assert elements is not None and text(elements.values["ImagePositionPatient"]).split("\\")[2] == "3.5"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (bytes(128) + b"DICM", True),
        (bytes(128) + b"DXCM" + b"\x02\x00\x00\x00UL\x04\x00", True),  # a damaged magic number before a file meta group
        (b"\x08\x00\x05\x00CS\x0a\x00ISO_IR", True),
        (b"\x08\x00\x05\x00\x0a\x00\x00\x00ISO_IR", True),
        (b"\x00\x08\x00\x05CS\x00\x0aISO_IR", True),  # big endian
        (b"\x08\x00\x05\x00\xff\xff\xff\x7fxxxxxx", False),
        (b"PK\x03\x04", False),
        (b"", False),
    ],
)
def test_dicom_is_known_by_its_first_bytes(head: bytes, expected: bool) -> None:
    assert is_dicom(head) is expected
