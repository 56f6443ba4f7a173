"""The data set of a file that is no image but refers to images (RTSTRUCT, SEG), by pydicom and within bounds."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medseg.errors import FileReadError
from medseg.io.dicom_damage import BROKEN
from medseg.io.dicom_elements import UNDEFINED, file_meta, is_dicom
from medseg.io.dicom_quiet import quiet_pydicom
from medseg.io.dicom_sources import HEAD, Sipped

LARGEST_BYTES = 2**31  # as it lies there, and unpacked; 100 structures of a whole body take some 50 MB


def object_class(path: str | Path) -> str:
    """The SOP class UID in the meta header of a DICOM file; empty where there is none, or no DICOM file.

    >>> object_class("no such file")
    ''
    """
    if not Path(path).is_file():
        return ""
    try:
        with quiet_pydicom(), open(path, "rb") as stream:
            return str(file_meta(Sipped(stream)).get("MediaStorageSOPClassUID", ""))
    except BROKEN:
        return ""


def read_object(path: Path, noun: str, where: str, *, pixels: bool = True) -> Any:
    """The whole data set, to be used within `quiet_pydicom`; without what lies behind the header unless `pixels`.

    Args:
        noun: what it should be, for messages.

    Raises:
        FileReadError: no such file, no DICOM, truncated, or larger than `LARGEST_BYTES` before or after inflation.
        BROKEN: damaged in some other way.
    """
    if not path.is_file():
        what = "a folder, not a file" if path.is_dir() else "no such file"
        raise FileReadError(what, where=where, expected=f"one DICOM file with a {noun}", do="Check the path.")
    if (size := path.stat().st_size) > LARGEST_BYTES:
        raise FileReadError(f"larger than any {noun}", where=where, got=f"{size >> 20} MB",
                            expected=f"at most {LARGEST_BYTES >> 20} MB")  # fmt: skip
    with quiet_pydicom(), open(path, "rb") as stream:
        dataset = _dataset(stream, noun, where, pixels)
    _check_whole(dataset, where)
    return dataset


def _dataset(stream: BinaryIO, noun: str, where: str, pixels: bool) -> Any:
    if not is_dicom(stream.read(HEAD)):
        raise FileReadError("not a DICOM file", where=where, expected=f"a {noun}", do="Check the path.")
    sipped: Any = Sipped(stream)
    meta = file_meta(sipped)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        dataset = read_dataset(io.BytesIO(_inflated(stream.read(), noun, where)), False, True)
        dataset.file_meta = FileMetaDataset(meta)
        return dataset
    stream.seek(0)
    return pydicom.dcmread(sipped, stop_before_pixels=not pixels, force=True)


def _inflated(content: bytes, noun: str, where: str) -> bytes:
    """A deflated data set (PS3.5 A.5), unpacked up to a limit: pydicom would unpack a bomb until memory is full."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    body = inflate.decompress(content, LARGEST_BYTES)
    if not inflate.eof:
        what = f"larger than any {noun} when it is unpacked" if inflate.unconsumed_tail else "truncated"
        raise FileReadError(f"the deflated file is {what}", where=where, do="Export it again, without deflation.")
    return body


def _check_whole(dataset: Any, where: str) -> None:
    """pydicom keeps what there is of an element that the end of the file cuts off, and says nothing."""
    for tag in dataset.keys():  # noqa: SIM118 - iterating over a data set would parse its elements
        raw = dataset.get_item(tag)
        if isinstance(raw, RawDataElement) and raw.length != UNDEFINED and len(raw.value or b"") < raw.length:
            raise FileReadError("the file is truncated", where=where, do="Copy or export it again.")
