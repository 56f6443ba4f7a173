"""What an RT Structure Set says: regions of interest, their contours in the patient, and the images it refers to.

PS3.3 A.19 and C.8.8.5, C.8.8.6. Coordinates stay DICOM's (LPS, mm) here. Operators, physicians and dates are not read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.uid import RTStructureSetStorage

from medseg.errors import DicomError
from medseg.io.dicom_damage import DamageError, reading
from medseg.io.dicom_object import object_class, read_object
from medseg.io.dicom_quiet import quiet_pydicom
from medseg.io.roi_suggestions import shown_name
from medseg.shapes import FloatArray

DEFAULT_WHERE = "a DICOM structure set"
CONTOUR_DATA = 0x30060050
MAX_CONTOURS = 500_000
MAX_POINTS = 100_000  # in one contour: one for each pixel of a 512 x 512 slice would be 262,144
MAX_COORDINATE_MM = 1e4


@dataclass(frozen=True, eq=False)
class Contour:
    """One outline.

    Args:
        points_mm: (N, 3), at least one point, LPS.
        kind: ContourGeometricType, such as CLOSED_PLANAR.
        instance_uids: SOPInstanceUIDs of the images that it says it was drawn on; often empty.
    """

    points_mm: FloatArray
    kind: str
    instance_uids: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Roi:
    """A region of interest: its number and name, its frame of reference, and its contours (none when not drawn)."""

    number: int
    name: str
    frame_of_reference_uid: str = ""
    contours: tuple[Contour, ...] = ()


@dataclass(frozen=True, eq=False)
class StructureSet:
    """One file.

    Args:
        label, name: StructureSetLabel and StructureSetName, empty when not given.
        series_uids: the image series that it says it was drawn on.
        frame_of_reference_uids: the frames of reference that it lists.
        rois: in the order of the file.
    """

    label: str
    name: str
    series_uids: frozenset[str]
    frame_of_reference_uids: frozenset[str]
    rois: tuple[Roi, ...]

    @property
    def instance_uids(self) -> frozenset[str]:
        """All images that contours say they were drawn on."""
        return frozenset(uid for roi in self.rois for contour in roi.contours for uid in contour.instance_uids)


def is_structure_set(path: str | Path) -> bool:
    """Whether the path is a DICOM file whose meta header says that it is an RT Structure Set."""
    return object_class(path) == RTStructureSetStorage


def read_structure_set(path: str | Path, *, where: str = "") -> StructureSet:
    """Everything that medseg uses of an RTSTRUCT.

    Args:
        where: stands first in messages, which never give the file's name: it is often a UID.

    Raises:
        FileReadError: no such file, or no DICOM.
        DicomError: another kind of object, damaged, without any contour, or with numbers that are no positions.
    """
    where = where or DEFAULT_WHERE
    dataset = _read(Path(path), where)
    with reading(where, "the structure set"), quiet_pydicom():
        structures = StructureSet(
            _text(dataset, "StructureSetLabel"),
            _text(dataset, "StructureSetName"),
            frozenset(_referenced_series(dataset)),
            frozenset(filter(None, (_text(item, "FrameOfReferenceUID")
                                    for item in _items(dataset, "ReferencedFrameOfReferenceSequence")))),
            _rois(dataset, where),
        )  # fmt: skip
    if not any(roi.contours for roi in structures.rois):
        raise DicomError("the structure set holds no contour", where=where,
                         got=f"{_counted(len(structures.rois), 'ROI')}, none of them outlined",
                         do="Check that the whole structure set was exported.")  # fmt: skip
    return structures


def _read(path: Path, where: str) -> Any:
    """The data set of a file that is a structure set."""
    with reading(where, "the structure set"), quiet_pydicom():
        dataset = read_object(path, "structure set", where)
        sop_class, modality = _text(dataset, "SOPClassUID"), _text(dataset, "Modality")
        if sop_class != RTStructureSetStorage and (sop_class or modality != "RTSTRUCT"):
            known = modality.isalnum() and len(modality) <= 16 and modality != "RTSTRUCT"
            raise DicomError("no DICOM structure set", where=where, expected="an RTSTRUCT file",
                             got=modality if known else "an unnamed object", do="Check the path.")  # fmt: skip
    return dataset


def _referenced_series(dataset: Any) -> Iterator[str]:
    for frame in _items(dataset, "ReferencedFrameOfReferenceSequence"):
        for study in _items(frame, "RTReferencedStudySequence"):
            for series in _items(study, "RTReferencedSeriesSequence"):
                if uid := _text(series, "SeriesInstanceUID"):
                    yield uid


def _rois(dataset: Any, where: str) -> tuple[Roi, ...]:
    listed = _items(dataset, "StructureSetROISequence")
    outlined = _items(dataset, "ROIContourSequence")
    numbers = [int(item.ROINumber) for item in listed]
    _check_numbers(numbers, [int(item.ReferencedROINumber) for item in outlined], where)
    if (count := sum(len(_items(item, "ContourSequence")) for item in outlined)) > MAX_CONTOURS:
        raise DicomError("more contours than any structure set holds", where=where, expected=f"at most {MAX_CONTOURS}",
                         got=str(count))  # fmt: skip
    contours = {int(item.ReferencedROINumber): _items(item, "ContourSequence") for item in outlined}
    return tuple(_roi(item, contours.get(number, ()), where) for number, item in zip(numbers, listed, strict=True))


def _check_numbers(listed: Sequence[int], outlined: Sequence[int], where: str) -> None:
    for what, numbers in (("ROI number", listed), ("number of an outlined ROI", outlined)):
        if double := [number for number, count in Counter(numbers).items() if count > 1]:
            raise DicomError(f"a {what} is used twice", where=where, got=str(double[0]), do="Export it again.")
    if unknown := sorted(set(outlined) - set(listed)):
        raise DicomError("contours of an ROI that the structure set does not list", where=where,
                         got=f"ROI number {unknown[0]}", do="Export it again.")  # fmt: skip


def _roi(item: Any, contours: Sequence[Any], where: str) -> Roi:
    name = _text(item, "ROIName")
    found = []
    for index, contour in enumerate(contours):
        images = (_text(image, "ReferencedSOPInstanceUID") for image in _items(contour, "ContourImageSequence"))
        place = f"{where}: ROI {shown_name(name)}, contour {index + 1} of {len(contours)}"
        points = _points(contour, place)
        found.append(Contour(points, _text(contour, "ContourGeometricType").upper(), tuple(filter(None, images))))
    return Roi(int(item.ROINumber), name, _text(item, "ReferencedFrameOfReferenceUID"), tuple(found))


def _points(contour: Any, where: str) -> FloatArray:
    """(N, 3) positions; parsed from the raw text, 20 times as fast as through pydicom's decimal strings."""
    element = contour.get_item(CONTOUR_DATA)
    if element is None or not element.value:
        raise DicomError("a contour without points", where=where, do="Export the structure set again.")
    raw = isinstance(element, RawDataElement)
    texts = bytes(element.value or b"").split(b"\\") if raw else np.ravel(element.value).tolist()
    try:
        numbers = np.array(texts).astype(np.float64)
    except ValueError:
        raise DicomError("coordinates that are no numbers", where=where, do="Export it again.") from None
    told = int(contour.get("NumberOfContourPoints") or numbers.size // 3)
    if numbers.size % 3 or told != numbers.size // 3:
        raise DicomError("a contour with a wrong count of coordinates", where=where, expected=f"3 for each of {told} "
                         "points", got=str(numbers.size), do="The file is damaged: export it again.")  # fmt: skip
    if numbers.size > 3 * MAX_POINTS:
        raise DicomError("more points than any contour has", where=where, expected=f"at most {MAX_POINTS}",
                         got=str(numbers.size // 3))  # fmt: skip
    if not np.isfinite(numbers).all() or np.abs(numbers).max() > MAX_COORDINATE_MM:
        raise DicomError("coordinates that are no positions in a scanner", where=where, do="Export it again.",
                         expected=f"numbers of at most {MAX_COORDINATE_MM:g} mm")  # fmt: skip
    return numbers.reshape(-1, 3)


def _items(dataset: Any, name: str) -> Sequence[Any]:
    """The items of a sequence; empty when it is not there."""
    value = dataset.get(name)
    if value is not None and not isinstance(value, pydicom.Sequence):
        raise DamageError(f"{name} is no sequence")
    return () if value is None else value


def _text(dataset: Any, name: str) -> str:
    value = dataset.get(name)
    return "" if value is None else str(value).strip(" \0")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
