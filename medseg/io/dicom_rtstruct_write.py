"""A label map as an RT Structure Set on the slices of its CT (PS3.3 A.19, C.8.8.5, C.8.8.6, C.8.8.8).

Each label is a region of interest with closed planar contours on the acquired slices, along the edges of the pixels;
holes are joined to their outlines (see `imaging.outlines`), because CLOSED_PLANAR knows no others. A label without a
voxel is a region without contours. The file is UNAPPROVED, and says that nobody has reviewed it.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage, generate_uid
from scipy import ndimage

from medseg.errors import LabelError
from medseg.files import atomic_path
from medseg.imaging.labels import Box
from medseg.imaging.outlines import outlines
from medseg.imaging.prediction import Prediction
from medseg.io.dicom_quiet import quiet_pydicom
from medseg.io.dicom_write_names import LONGEST, header_names
from medseg.io.dicom_write_origin import MANUFACTURER, algorithm_identification, software_versions
from medseg.io.dicom_write_source import DicomSource, image_reference, instance_references, made_uid, take_over
from medseg.io.made_by import RESEARCH_ONLY, MadeBy
from medseg.io.segment_codes import CATEGORIES, Code, CodeTable, SegmentCode, segment_codes
from medseg.shapes import FloatArray, IntArray

SHORT_NAME = 16  # letters: what some planning systems show
SERIES_NUMBER = 902
NO_FRAME = "the source has no frame of reference; the structure set bears one of its own"
STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"  # Detached Study Management: what stands here since 1997, retired or not
RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])
CONTOUR_DATA = Tag(0x3006, 0x0050)


def write_structure_set(
    path: str | Path,
    prediction: Prediction,
    source: DicomSource,
    *,
    made_by: MadeBy | None = None,
    codes: CodeTable | None = None,
    short_names: bool = False,
) -> tuple[str, ...]:
    """Writes the labels as an RTSTRUCT and returns sentences for the user.

    Args:
        path, prediction, source, made_by, codes: as in `write_segmentation`.
        short_names: names of regions of at most 16 letters, all different.

    Raises:
        GeometryError: the labels lie on another grid than the series.
        LabelError: no label, or values without a name.
        WriteError: the disk refused; an old file stays.
    """
    label_names = prediction.label_set.foreground
    if not label_names:
        raise LabelError("no label to write", where=source.where, expected="at least one besides the background")
    names, notes = header_names(label_names, SHORT_NAME if short_names else LONGEST)
    coded, unknown = segment_codes(label_names, codes)
    indices = source.indices_on_slices(prediction)
    with quiet_pydicom():
        dataset = _head(source, made_by or MadeBy())
        _add_regions(dataset, list(zip(names, coded, strict=True)), indices, source, made_by or MadeBy())
        with atomic_path(path) as temporary:
            dataset.save_as(temporary, enforce_file_format=True)
    more = [] if source.series.frame_of_reference_uid else [NO_FRAME]
    more += [] if indices.any() else ["no voxel of any label: the structure set holds no contour"]
    return (*source.notes, *notes, *unknown, *more)


def frame_of_reference(source: DicomSource) -> str:
    """The UID of the source's frame of reference; where it has none, one that its series always gives."""
    return source.series.frame_of_reference_uid or made_uid("frame of reference", source.series.uid)


def _head(source: DicomSource, made_by: MadeBy) -> Any:
    """The data set with everything but its regions."""
    dataset: Any = Dataset()
    dataset.file_meta = FileMetaDataset()
    # explicit VR allows 64 KB of points a contour, which keyholes around spongy bone exceed
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    take_over(source, dataset)
    now = datetime.datetime.now()
    day, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(prefix=None)
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = day, time
    dataset.Modality, dataset.SeriesInstanceUID = "RTSTRUCT", generate_uid(prefix=None)
    dataset.SeriesNumber, dataset.InstanceNumber = SERIES_NUMBER, 1
    dataset.SeriesDescription, dataset.OperatorsName = RESEARCH_ONLY, ""
    dataset.Manufacturer, dataset.ManufacturerModelName = MANUFACTURER, made_by.algorithm[:LONGEST]
    dataset.SoftwareVersions = list(software_versions(made_by))
    dataset.StructureSetLabel, dataset.StructureSetName = "NOT REVIEWED", RESEARCH_ONLY
    dataset.StructureSetDate, dataset.StructureSetTime = day, time
    dataset.ApprovalStatus = "UNAPPROVED"
    dataset.FrameOfReferenceUID = frame_of_reference(source)
    dataset.PositionReferenceIndicator = ""
    dataset.ReferencedFrameOfReferenceSequence = [_frame_reference(source)]
    return dataset


def _frame_reference(source: DicomSource) -> Dataset:
    frame, study, series = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = source.series.uid
    series.ContourImageSequence = instance_references(source)
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = STUDY_CLASS, source.study_uid
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = frame_of_reference(source)
    frame.RTReferencedStudySequence = [study]
    return frame


def _add_regions(
    dataset: Any, regions: Sequence[tuple[str, SegmentCode]], indices: IntArray, source: DicomSource, made_by: MadeBy
) -> None:
    dataset.StructureSetROISequence, dataset.ROIContourSequence, dataset.RTROIObservationsSequence = [], [], []
    boxes = ndimage.find_objects(indices.T, max_label=len(regions))
    for number, (name, code) in enumerate(regions, start=1):
        roi, drawn, observation = Dataset(), Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        roi.ReferencedFrameOfReferenceUID = frame_of_reference(source)
        roi.ROIGenerationAlgorithm = made_by.way
        roi.ROIGenerationDescription = software_versions(made_by)[0]
        if made_by.way != "MANUAL":
            roi.ROIDerivationAlgorithmIdentificationSequence = algorithm_identification(made_by)
        drawn.ReferencedROINumber, drawn.ROIDisplayColor = number, list(code.colour)
        if contours := list(_contours(indices, number, boxes[number - 1], source)):
            drawn.ContourSequence = contours
        observation.ObservationNumber = observation.ReferencedROINumber = number
        if code.known:
            observation.RTROIIdentificationCodeSequence = [_coded(code.type)]
        observation.RTROIInterpretedType = "ORGAN" if code.category == CATEGORIES["anatomy"] else ""
        observation.ROIInterpreter = ""
        dataset.StructureSetROISequence.append(roi)
        dataset.ROIContourSequence.append(drawn)
        dataset.RTROIObservationsSequence.append(observation)


def _coded(code: Code) -> Dataset:
    item: Any = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme, code.meaning
    return item


def _contours(indices: IntArray, label: int, box: Box | None, source: DicomSource) -> Iterator[Dataset]:
    """The contours of a class index on the slices, bottom up; `box` (N, Y, X) holds all of its voxels."""
    if box is None:
        return
    number, corner = 0, np.array([box[2].start, box[1].start])
    for k in range(box[0].start, box[0].stop):
        for pixels in outlines(indices[box[2], box[1], k] == label):
            number += 1
            yield _contour(_in_patient(pixels + corner, source.acquisition.affines[k]), number, k, source)


def _in_patient(pixels: FloatArray, affine: FloatArray) -> FloatArray:
    """(N, 3) LPS mm of points (N, 2) in pixels of a slice."""
    return (pixels @ affine[:3, :2].T + affine[:3, 3]) * RAS_TO_LPS


def _contour(points_mm: FloatArray, number: int, index: int, source: DicomSource) -> Dataset:
    contour: Any = Dataset()
    contour.ContourImageSequence = [image_reference(source.slices[index])]
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(points_mm)
    contour.ContourNumber = number
    text = "\\".join(f"{value:.4f}" for value in (points_mm + 0.0).ravel().tolist())
    data = text.encode("ascii") + b" " * (len(text) % 2)
    # as bytes, which implicit VR writes just as DS: pydicom would make an object of each of a million numbers
    contour[CONTOUR_DATA] = DataElement(CONTOUR_DATA, "OB", data)
    return contour
