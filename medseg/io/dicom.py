"""A folder of DICOM slices as a CT volume in HU, or a sentence that says why it is none.

Slices are ordered by ImagePositionPatient along the normal of the image plane, never by name or InstanceNumber.
Localisers, secondary captures and objects without a CT plane (RTSTRUCT, SEG, reports) in the folder are passed over.
Messages name a series by a hash of its UID and a slice by its place, because file names are often UIDs.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.uid import ImplicitVRLittleEndian

from medseg.errors import DicomError, FileReadError
from medseg.imaging.volume import Volume
from medseg.io.dicom_stack import SlicePlane, stack_planes
from medseg.shapes import FloatArray

PADDING_HU = -1024.0  # pixels outside the reconstruction circle become air
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # and its multi-frame relatives, which continue this UID
PASSED_OVER = {"SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "RTIMAGE", "REG", "SR", "PR", "KO", "DOC", "ECG", "OT"}
HEADER_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality", "ImageType",
    "NumberOfFrames", "Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient",
    "SamplesPerPixel", "RescaleSlope", "RescaleIntercept", "RescaleType",
]  # fmt: skip
REQUIRED = (
    "Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope",
    "RescaleIntercept",
)  # fmt: skip
BROKEN = (OSError, EOFError, ValueError, KeyError, AttributeError, TypeError, IndexError, InvalidDicomError)


@dataclass(frozen=True)
class _Header:
    path: Path
    tags: Mapping[str, Any]  # HEADER_TAGS by name, None where absent


def is_series(path: str | Path) -> bool:
    """Whether the path is a folder that holds at least one DICOM file."""
    path = Path(path)
    return path.is_dir() and any(_is_dicom(file) for file in sorted(path.iterdir()) if file.is_file())


def series_id(path: str | Path) -> str:
    """`series_` and 8 hex digits: a name that does not give the UID away.

    They are of the SHA-256 of SeriesInstanceUID; when that is empty, of every slice's other UIDs and its position.

    Raises:
        FileReadError, DicomError: the folder holds no CT slices, or more than one series.
    """
    return _series_id(_one_series(Path(path)))


def read_series(path: str | Path, *, where: str = "") -> Volume:
    """The CT volume in HU (float32, X along pixel rows, Y along pixel columns, Z along the normal) in RAS.

    The affine is rounded to float32, as NIfTI headers are. `where` comes before the series in messages.

    Raises:
        FileReadError: no such folder, or no DICOM file in it.
        DicomError: not one CT series of even, upright slices, something missing in a header, or pixels that cannot
            be decoded. The series is named by its `series_id`.
    """
    headers = _one_series(Path(path))
    where = ", ".join(part for part in (where, _series_id(headers)) if part)
    _check_modality(headers, where)
    with _reading(where, "a header"):
        _check_headers(headers, where)
    stack = stack_planes([_plane(header.tags, where) for header in headers], where=where)
    hu = np.empty(stack.geometry.shape, dtype=np.float32)
    for index, group in enumerate(stack.groups):
        place = f"{where}, slice {index + 1} of {len(stack.groups)}"
        first, *others = (_slice_hu(headers[member].path, place) for member in group)
        if any(not np.array_equal(first, other) for other in others):
            crowded = sum(len(members) > 1 for members in stack.groups)
            raise DicomError("several different images lie at one position", where=where, expected="one image a place",
                             got=f"{len(headers)} images at {len(stack.groups)} places, {crowded} of them crowded",
                             do="Separate the time points or reconstructions into folders.")  # fmt: skip
        hu[:, :, index] = first
    return Volume(hu, stack.geometry)


def _one_series(folder: Path) -> list[_Header]:
    """Headers of the images of the only series in the folder."""
    images, passed_over = _image_headers(folder)
    where = folder.name
    if not images:
        found = ", ".join(f"{count} {name}" for name, count in sorted(passed_over.items()))
        raise DicomError("no image slices in the folder", where=where, got=found or "no DICOM file")
    series = Counter(str(header.tags["SeriesInstanceUID"] or "") for header in images)
    if len(series) > 1:
        counts = ", ".join(str(count) for count in sorted(series.values(), reverse=True)[:8])
        raise DicomError(f"mixed: the folder holds {len(series)} series", where=where, expected="one",
                         got=f"series of {counts} images", do="Give each series its own folder.")  # fmt: skip
    return images


def _image_headers(folder: Path) -> tuple[list[_Header], Counter[str]]:
    if not folder.is_dir():
        kind = "not a folder" if folder.exists() else "no such folder"
        raise FileReadError(kind, where=folder.name, expected="the folder of one DICOM series", do="Check the path.")
    images: list[_Header] = []
    passed_over: Counter[str] = Counter()
    for path in sorted(file for file in folder.iterdir() if file.is_file()):
        if not _is_dicom(path):
            continue
        with _reading(f"{folder.name}, a DICOM file", "its header"):
            dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=HEADER_TAGS, force=True)
            tags = {name: dataset.get(name) for name in HEADER_TAGS}
            if reason := _reason_to_pass_over(tags):
                passed_over[reason] += 1
            else:
                images.append(_Header(path, tags))
    return images, passed_over


def _is_dicom(path: Path) -> bool:
    """By the magic number, or for files without preamble by a first element of group 0002 or 0008."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(132)
    except OSError:
        return False
    return head[128:] == b"DICM" or (len(head) > 8 and head[:2] in (b"\x02\x00", b"\x08\x00") and head[3] == 0)


def _reason_to_pass_over(tags: Mapping[str, Any]) -> str:
    modality = str(tags["Modality"] or "unnamed object")
    image_type = tags["ImageType"] or []
    if tags["Rows"] is None or modality in PASSED_OVER:
        return modality
    if str(tags["SOPClassUID"]).startswith(SECONDARY_CAPTURE):
        return "secondary capture"
    return "localiser" if "LOCALIZER" in ([image_type] if isinstance(image_type, str) else image_type) else ""


def _series_id(headers: Sequence[_Header]) -> str:
    uid = str(headers[0].tags["SeriesInstanceUID"] or "")
    if not uid:  # anonymised too eagerly; two such series must still get two names
        names = ("SOPInstanceUID", "FrameOfReferenceUID", "ImagePositionPatient")
        uid = "\n".join(sorted(str([header.tags[name] for name in names]) for header in headers))
    return f"series_{hashlib.sha256(uid.encode()).hexdigest()[:8]}"


def _check_modality(headers: Sequence[_Header], where: str) -> None:
    modalities = Counter(str(header.tags["Modality"] or "none") for header in headers)
    if set(modalities) == {"CT"}:
        return
    try:
        stack_planes([_plane(header.tags, where) for header in headers], where=where)
        also = ""
    except DicomError as error:
        also = f"; besides, {error.what}"
    got = ", ".join(f"{name} ({count} images)" for name, count in modalities.items())
    raise DicomError("not a CT series", where=where, expected="modality CT", got=got + also)


def _check_headers(headers: Sequence[_Header], where: str) -> None:
    frames = sorted(count for header in headers if (count := int(header.tags["NumberOfFrames"] or 1)) > 1)
    if frames:
        raise DicomError("multi-frame DICOM is not read yet", where=where, expected="one slice a file",
                         got=f"{len(frames)} of {len(headers)} files with up to {frames[-1]} frames",
                         do="Convert it to single frames or NIfTI first.")  # fmt: skip
    for name in REQUIRED:
        if missing := sum(header.tags[name] in (None, "") for header in headers):
            raise DicomError(f"{name} is missing", where=where, got=f"{missing} of {len(headers)} slices without it",
                             do="Export the original CT series again.")  # fmt: skip
    if others := {str(header.tags["RescaleType"] or "HU") for header in headers} - {"HU", "US"}:
        raise DicomError("the values are no HU", where=where, expected="RescaleType HU", got=", ".join(sorted(others)))
    if any(int(header.tags["SamplesPerPixel"] or 1) != 1 for header in headers):
        raise DicomError("colour images", where=where, expected="one sample a pixel")
    if (count := len({str(header.tags["FrameOfReferenceUID"]) for header in headers})) > 1:
        raise DicomError(f"the slices lie in {count} frames of reference", where=where, expected="one",
                         do="Positions of different frames cannot be compared.")  # fmt: skip


def _plane(tags: Mapping[str, Any], where: str) -> SlicePlane:
    with _reading(where, "the position of a slice"):
        position, row_column = _numbers(tags, "ImagePositionPatient", 3), _numbers(tags, "ImageOrientationPatient", 6)
        row, column, spacing = row_column[:3], row_column[3:], _numbers(tags, "PixelSpacing", 2)
        lengths = np.linalg.norm(row), np.linalg.norm(column)
        if np.abs(np.array(lengths) - 1).max() > 0.01 or spacing.min() <= 0:
            raise ValueError("no unit vectors, or a spacing that is not positive")
        return SlicePlane(position, row / lengths[0], column / lengths[1], (float(spacing[0]), float(spacing[1])),
                          (int(tags["Rows"]), int(tags["Columns"])))  # fmt: skip


def _numbers(tags: Mapping[str, Any], name: str, count: int) -> FloatArray:
    value = tags[name]
    numbers = np.array([float(number) for number in (value if isinstance(value, MultiValue) else [value])])
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError(f"{name} does not hold {count} numbers")
    return numbers


def _slice_hu(path: Path, where: str) -> FloatArray:
    """HU (X, Y) of one slice: stored value x slope + intercept of this slice, padding as air."""
    with _reading(where, "the pixels"):
        dataset = pydicom.dcmread(path, force=True)
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian  # PS3.5 10.1: the default
        stored = _decoded(dataset, where)
        if stored.shape != (int(dataset.Rows), int(dataset.Columns)):
            raise ValueError("the pixel array has not the size that the header gives")
        hu = stored.astype(np.float64) * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        hu[_padding(stored, dataset)] = PADDING_HU
        return hu.T.astype(np.float32)


def _decoded(dataset: Any, where: str) -> Any:
    try:
        return dataset.pixel_array
    except (RuntimeError, NotImplementedError) as error:  # pydicom: no installed plugin decodes this syntax
        raise DicomError(f"no decoder for {dataset.file_meta.TransferSyntaxUID.name}", where=where,
                         do="Install python-gdcm, or decompress the series first.") from error  # fmt: skip


def _padding(stored: Any, dataset: Any) -> Any:
    """Where the stored values are padding (PS3.3 C.7.5.1.1.2), the two limits included."""
    low = dataset.get("PixelPaddingValue")
    if low is None:
        return np.zeros(stored.shape, dtype=bool)
    high = dataset.get("PixelPaddingRangeLimit", low)
    # Written as unsigned in files whose pixels are signed, and the other way round: compare as the stored type does
    bytes_ = stored.dtype.itemsize
    wrapped = [np.array(int(v) % 256**bytes_, dtype=f"u{bytes_}").astype(stored.dtype) for v in (low, high)]
    return (stored >= min(wrapped)) & (stored <= max(wrapped))


@contextmanager
def _reading(where: str, what: str) -> Iterator[None]:
    """Turns whatever a damaged file makes pydicom raise into one error; its warnings would show header values."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except BROKEN as error:
        raise DicomError(f"{what} cannot be read ({type(error).__name__})", where=where,
                         do="The file is damaged or truncated: export the series again.") from error  # fmt: skip
