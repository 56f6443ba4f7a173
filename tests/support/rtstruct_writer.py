"""Volumes written as DICOM CT slices and masks as RTSTRUCT, for tests that go the way of a hospital."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid
from skimage.measure import find_contours

from medseg.imaging.acquisition import Acquisition
from medseg.imaging.geometry import Geometry
from medseg.imaging.volume import Volume
from medseg.shapes import BoolArray, FloatArray

RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])
Outline = tuple[str, FloatArray, str]  # ContourGeometricType, (N, 3) points in LPS mm, SOPInstanceUID or ""


@dataclass(frozen=True, eq=False)
class WrittenSeries:
    """The identity of a written CT series; enough of it to stand in for one that was read."""

    geometry: Geometry
    name: str = "ct"
    id: str = "series_0123abcd"

    @property
    def uid(self) -> str:
        return made_uid(self.name, "series")

    @property
    def study_uid(self) -> str:
        return made_uid(self.name, "study")

    @property
    def frame_of_reference_uid(self) -> str:
        return made_uid(self.name, "frame")

    @property
    def instance_uids(self) -> Mapping[str, int]:
        return {made_uid(self.name, "image", str(index)): index for index in range(self.geometry.shape[2])}

    @property
    def acquisition(self) -> Acquisition:
        return Acquisition.of_planes(self.geometry)


def made_uid(*words: str) -> UID:
    """A UID that the same words always give."""
    return generate_uid(entropy_srcs=list(words))


def write_ct(folder: Path, volume: Volume, *, name: str = "ct", patient: str = "Doe^Jane") -> WrittenSeries:
    """Writes one file per plane along Z, in HU rounded to whole numbers.

    The grid's axes must be perpendicular and right-handed, so that Z is the order in which slices are read back.

    Args:
        name: what all UIDs are made of; two series of one name are the same series.
        patient: PatientName and PatientID.
    """
    series = WrittenSeries(volume.geometry, name)
    folder.mkdir(parents=True, exist_ok=True)
    for uid, index in series.instance_uids.items():
        dataset = _dataset(CTImageStorage, uid, series, patient)
        dataset.Modality, dataset.SeriesInstanceUID, dataset.InstanceNumber = "CT", series.uid, str(index + 1)
        _set_plane(dataset, volume.geometry, index)
        _set_pixels(dataset, volume.hu[:, :, index])
        dataset.save_as(folder / f"slice{index:04d}.dcm", enforce_file_format=True)
    return series


def write_rtstruct(
    path: Path, series: WrittenSeries, masks: Mapping[str, BoolArray], *, label: str = "", patient: str = "Doe^Jane"
) -> None:
    """Writes masks (X, Y, Z) on the grid of a series as closed planar contours, holes as contours of their own.

    Contours run halfway between the centres inside and outside, so that reading them gives the very same masks.

    Args:
        masks: ROI name to mask; an empty mask becomes an ROI without contours.
        label: StructureSetLabel.
    """
    outlines = {name: list(outlines_of(mask, series)) for name, mask in masks.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    structure_set(series, outlines, label=label, patient=patient).save_as(path, enforce_file_format=True)


def outlines_of(mask: BoolArray, series: WrittenSeries) -> Iterator[Outline]:
    """The contours of a mask, each with the image on which it lies."""
    for uid, index in series.instance_uids.items():
        for points in find_contours(np.pad(mask[:, :, index], 1).astype(np.float64), 0.5):
            yield "CLOSED_PLANAR", in_patient(points[:-1] - 1, index, series.geometry), uid


def in_patient(pixels: FloatArray, index: float, geometry: Geometry) -> FloatArray:
    """(N, 3) LPS positions in mm of points (N, 2) in pixels on plane `index`."""
    return geometry.world(np.column_stack([pixels, np.full(len(pixels), index)])) * RAS_TO_LPS


def structure_set(
    series: WrittenSeries, rois: Mapping[str, Sequence[Outline]], *, label: str = "", patient: str = "Doe^Jane"
) -> Dataset:
    """The data set of an RTSTRUCT that was drawn on a series, ready to be saved or damaged."""
    dataset = _dataset(RTStructureSetStorage, made_uid(series.name, "structures", label, *rois), series, patient)
    dataset.Modality, dataset.SeriesInstanceUID = "RTSTRUCT", made_uid(series.name, "structures", label)
    dataset.StructureSetLabel = label
    dataset.ReferencedFrameOfReferenceSequence = [_frame_reference(series)]
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, (name, outlines) in enumerate(rois.items(), start=1):
        roi, contours = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = number, name, "MANUAL"
        roi.ReferencedFrameOfReferenceUID = series.frame_of_reference_uid
        contours.ReferencedROINumber = number
        contours.ContourSequence = [_contour(*outline) for outline in outlines]
        dataset.StructureSetROISequence.append(roi)
        dataset.ROIContourSequence.append(contours)
    return dataset


def _contour(kind: str, points_mm: FloatArray, uid: str) -> Dataset:
    contour = Dataset()
    contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(points_mm)
    contour.ContourData = [f"{value:.4f}" for value in points_mm.ravel()]
    if uid:
        contour.ContourImageSequence = [_image_reference(uid)]
    return contour


def _image_reference(uid: str) -> Dataset:
    image = Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = CTImageStorage, uid
    return image


def _frame_reference(series: WrittenSeries) -> Dataset:
    frame, study, referenced = Dataset(), Dataset(), Dataset()
    referenced.SeriesInstanceUID = series.uid
    referenced.ContourImageSequence = [_image_reference(uid) for uid in series.instance_uids]
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
    study.ReferencedSOPInstanceUID = series.study_uid
    study.RTReferencedSeriesSequence = [referenced]
    frame.FrameOfReferenceUID = series.frame_of_reference_uid
    frame.RTReferencedStudySequence = [study]
    return frame


def _dataset(sop_class: str, uid: str, series: WrittenSeries, patient: str) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    dataset.PatientName, dataset.PatientID = patient, patient
    dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = series.study_uid, series.frame_of_reference_uid
    return dataset


def _set_plane(dataset: Dataset, geometry: Geometry, index: int) -> None:
    x_mm, y_mm, _ = geometry.spacing_mm
    row, column = (geometry.direction[:, axis] * RAS_TO_LPS for axis in (0, 1))
    position = in_patient(np.zeros((1, 2)), index, geometry)[0]
    dataset.PixelSpacing = [f"{y_mm:.10g}", f"{x_mm:.10g}"]
    dataset.ImagePositionPatient = [f"{value:.10g}" for value in position]
    dataset.ImageOrientationPatient = [f"{value:.10g}" for value in (*row, *column)]
    dataset.Columns, dataset.Rows, _ = geometry.shape


def _set_pixels(dataset: Dataset, hu: FloatArray) -> None:
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, 0, "HU"
    dataset.PixelData = np.ascontiguousarray(np.rint(hu).T.astype("<i2")).tobytes()
