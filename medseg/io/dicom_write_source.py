"""The CT series on which a result is written back to DICOM: its slices, and what a result takes over from them.

Taken over are the attributes of patient and study that every object must hold (PS3.3 C.7.1.1 and C.7.2.1, types 1 and
2), nothing else: no comments, addresses, institutions or private elements.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.valuerep import PersonName, validate_value

from medseg.errors import DicomError, FileReadError, GeometryError, LabelError
from medseg.imaging.acquisition import Acquisition
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import count_values
from medseg.imaging.lattice import transfer
from medseg.imaging.prediction import Prediction
from medseg.io.dicom import choose_series, grid_of, is_series
from medseg.io.dicom_damage import reading
from medseg.io.dicom_elements import open_with_pydicom
from medseg.io.dicom_headers import CT_STORAGE, Image
from medseg.io.dicom_quiet import quiet_pydicom
from medseg.io.dicom_series import Series
from medseg.io.dicom_sources import Inflated, Sipped
from medseg.io.dicom_stack import Gaps, Tilt
from medseg.shapes import IntArray

TAKEN_OVER = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID",
)  # fmt: skip
SPECIFIC_CHARACTER_SET = 0x00080005
COMPRESSION = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
LAST_TAG = 0x00282114  # LossyImageCompressionMethod
UTF_8 = "ISO_IR 192"
IDENTITY = {"PatientName", "PatientID"}
SEXES = {"", "M", "F", "O"}


@dataclass(frozen=True, eq=False)
class DicomSource:
    """A CT series to write results on.

    Args:
        series: the series.
        acquisition: its slices and the volume's grid.
        slices: one image for each acquired slice, bottom up.
        patient: the elements of patient and study to be taken over; never to be shown.
        notes: sentences for the user about them.
        compression: whether and how the slices lost something to compression, which a result must repeat.
        where: stands first in messages.
    """

    series: Series
    acquisition: Acquisition
    slices: tuple[Image, ...]
    patient: Dataset
    where: str
    notes: tuple[str, ...] = ()
    compression: Mapping[str, Any] = field(default_factory=dict)

    def check_grid(self, prediction: Prediction) -> None:
        """Raises the GeometryError that `indices_on_slices` would raise."""
        self._on_grid(prediction)

    def indices_on_slices(self, prediction: Prediction) -> IntArray:
        """Class indices (X, Y, N) on the acquired slices, 0 outside; ignored voxels become background.

        Another axis order, flips and crops of the series' grid are undone; nothing is interpolated.

        Raises:
            GeometryError: the labels lie on another grid.
            LabelError: a value that the label set does not know.
        """
        labels = self._on_grid(prediction)
        present = np.array(count_values(labels)[0], dtype=labels.dtype)
        try:
            known = np.maximum(prediction.label_set.to_indices(present), 0)
        except LabelError as error:
            raise LabelError(error.what, where=self.where, expected=error.expected, got=error.got,
                             do="Give the names of all labels.") from None  # fmt: skip
        known = known.astype(np.uint8 if len(prediction.label_set.names) <= 256 else np.uint16)
        indices = np.empty(labels.shape, dtype=known.dtype, order="F")
        for z in range(labels.shape[2]):  # all at once would need six times the memory of the labels
            indices[:, :, z] = known[np.searchsorted(present, labels[:, :, z])]
        return indices if self.acquisition.plain else self.acquisition.to_slices(indices)

    def _on_grid(self, prediction: Prediction) -> IntArray:
        target = self.acquisition.geometry
        if not prediction.geometry.differences(target):
            return prediction.labels
        try:
            return transfer(prediction.labels, prediction.geometry, target)
        except GeometryError as error:
            raise GeometryError(
                f"the labels do not lie on the grid of the series: {error.what}", where=self.where, got=error.got,
                expected=error.expected or f"{_told(target)}, or a part of them",
                do="Give the series that was segmented, unchanged and read with the same options (tilt, gaps).",
            ) from None  # fmt: skip

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID; where the source has none, one that its series always gives."""
        return self.series.study_uid or made_uid("study", self.series.uid)

    @property
    def spacing_mm(self) -> float:
        """The middle distance between neighbouring slices."""
        return float(np.median(np.diff(self.acquisition.heights_mm)))


def read_source(
    path: str | Path, *, series: str | None = None, tilt: Tilt = "resample", gaps: Gaps = "refuse", where: str = ""
) -> DicomSource:
    """The series at a path by its headers; the arguments are those with which the volume was read.

    Raises:
        FileReadError: nothing there, or no DICOM.
        DicomError: as `dicom.read_series`, or slices without the UIDs by which a result must refer to them.
    """
    where = where or Path(path).name
    if not is_series(path):
        what = "not DICOM" if Path(path).exists() else "no such file or folder"
        raise FileReadError(what, where=where, expected="the DICOM series that was segmented", do="The formats "
                            "dicom-seg and rtstruct need a DICOM input; choose nifti or nrrd.")  # fmt: skip
    chosen = choose_series(path, series=series, where=where)
    where = where if where.endswith(chosen.id) else f"{where}, {chosen.id}"
    acquisition = grid_of(chosen, tilt=tilt, gaps=gaps, where=where)
    slices = _slices(chosen)
    _check_uids(chosen, slices, where)
    header = _read_header(slices[0], where)
    patient, left_empty = _patient(header)
    notes = [f"{' and '.join(left_empty)} of the source broke DICOM's rules and was left empty"] if left_empty else []
    if not chosen.study_uid:
        notes.append("the source has no StudyInstanceUID; the result bears one of its own")
    elif (studies := len({image.facts.study_uid for image in slices})) > 1:
        notes.append(f"the slices name {studies} studies; the result belongs to that of the lowest slice")
    return DicomSource(chosen, acquisition, slices, patient, where, tuple(notes), _compression(header))


def take_over(source: DicomSource, dataset: Dataset) -> None:
    """Puts the elements of patient and study into `dataset` as they stand in the source, texts in UTF-8."""
    dataset.SpecificCharacterSet = UTF_8
    for element in source.patient:
        dataset[element.tag] = element
    dataset.StudyInstanceUID = source.study_uid
    for name, value in (
        ("FrameOfReferenceUID", source.series.frame_of_reference_uid),
        ("PositionReferenceIndicator", ""),
    ):
        dataset.pop(name, None)
        if source.series.frame_of_reference_uid:
            setattr(dataset, name, value)


def made_uid(*words: str) -> str:
    """A UID that the same words always give (PS3.5 B.2)."""
    return f"2.25.{int.from_bytes(hashlib.sha256(chr(10).join(words).encode()).digest()[:16], 'big')}"


def image_reference(image: Image) -> Dataset:
    """The item that refers to a slice, or to a frame of a multi-frame file (PS3.3 10.3)."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class(image), image.facts.sop_uid
    if image.pixels.frames > 1:
        item.ReferencedFrameNumber = image.frame + 1
    return item


def instance_references(source: DicomSource) -> list[Dataset]:
    """An item for each file of the series."""
    images = {image.facts.sop_uid: image for image in source.slices}
    found = [image_reference(image) for image in images.values()]
    for item in found:
        item.pop("ReferencedFrameNumber", None)
    return found


def sop_class(image: Image) -> str:
    """The SOP class of a slice; CT Image Storage where the file does not say."""
    return image.facts.sop_class or CT_STORAGE


def _slices(series: Series) -> tuple[Image, ...]:
    """The first image of each place."""
    first: dict[int, Image] = {}
    for place, image in zip(series.places, series.images, strict=True):
        first.setdefault(place, image)
    return tuple(first.values())


def _check_uids(series: Series, slices: Sequence[Image], where: str) -> None:
    given = {
        "SeriesInstanceUID": [series.uid],
        "SOPInstanceUID": [image.facts.sop_uid for image in slices],
    }  # fmt: skip
    if missing := [name for name, uids in given.items() if not all(uids)]:
        raise DicomError(f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing, by which a DICOM "
                         "result must refer to the series", where=where,
                         do="Export the original series again; NIfTI and NRRD can be written without.")  # fmt: skip
    if len({(image.facts.sop_uid, image.frame) for image in slices}) < len(slices):
        raise DicomError("two slices bear one SOPInstanceUID", where=where, do="Export the original series again.")


def _read_header(image: Image, where: str) -> Any:
    """The elements of `TAKEN_OVER` and `COMPRESSION` of a slice, decoded."""
    tags = [tag for name in (*TAKEN_OVER, *COMPRESSION) if (tag := tag_for_keyword(name))]
    with reading(where, "the header of a slice"), quiet_pydicom(), image.item.open() as stream:
        header = _open(image, stream, [SPECIFIC_CHARACTER_SET, *tags])
        header.decode()
    return header


def _open(image: Image, stream: BinaryIO, tags: list[int]) -> Any:
    if isinstance(image.item, Inflated):  # a deflated file (PS3.5 A.5): what is left is its data set alone
        sipped: Any = Sipped(stream)
        return read_dataset(sipped, False, True, stop_when=lambda tag, vr, length: tag > LAST_TAG, specific_tags=tags)
    return open_with_pydicom(stream, tags)


def _compression(header: Any) -> Mapping[str, Any]:
    return {name: header[name].value for name in COMPRESSION if name in header and header[name].value not in (None, "")}


def _patient(header: Any) -> tuple[Dataset, list[str]]:
    """The elements of `TAKEN_OVER` in UTF-8, and the names of those that no file may hold as they are.

    They are left empty, which their type 2 allows; but name and id of the patient stay as they are in any case.
    """
    found: Any = Dataset()
    left_empty: list[str] = []
    for name in TAKEN_OVER:
        tag, text = tag_for_keyword(name), _text(header.get(name))
        assert tag is not None
        if name not in IDENTITY and not _allowed(name, tag, text):
            left_empty.append(name)
            text = ""
        found.add(DataElement(tag, dictionary_VR(tag), text, validation_mode=config.IGNORE))
    return found, left_empty


def _text(value: Any) -> str:
    parts = [value] if isinstance(value, str | PersonName) or value is None else list(value)
    return "\\".join(str(part) for part in parts if part is not None)


def _allowed(name: str, tag: int, text: str) -> bool:
    if name == "PatientSex":
        return text in SEXES
    try:
        validate_value(dictionary_VR(tag), text, config.RAISE)
    except ValueError:
        return False
    return True


def _told(geometry: Geometry) -> str:
    spacing = " x ".join(f"{mm:.4g}" for mm in geometry.spacing_mm)
    return f"{' x '.join(map(str, geometry.shape))} voxels of {spacing} mm"
