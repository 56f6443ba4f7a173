"""A label map as a DICOM segmentation (SEG, BINARY) on the slices of its CT (PS3.3 A.51, C.8.20), by highdicom.

One segment for each label, also for one of which there is no voxel; frames only where a segment has voxels. When no
label has any, one empty frame for each segment on the first slice says so, because a SEG without frames is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as DicomCode
from pydicom.uid import CTImageStorage
from pydicom.valuerep import DSfloat

from medseg.errors import LabelError
from medseg.files import atomic_path
from medseg.imaging.prediction import Prediction
from medseg.io.dicom_quiet import quiet_pydicom
from medseg.io.dicom_seg_pixels import present_labels, write_frames
from medseg.io.dicom_write_names import header_names
from medseg.io.dicom_write_origin import MANUFACTURER, algorithm_identification, software_versions
from medseg.io.dicom_write_source import DicomSource, image_reference, instance_references, take_over
from medseg.io.made_by import RESEARCH_ONLY, MadeBy
from medseg.io.segment_codes import Code, CodeTable, SegmentCode, segment_codes
from medseg.shapes import BoolArray

SERIES_NUMBER = 901
STAND_IN_UID = "2.25.1"  # highdicom wants a frame of reference, which old scans lack


def write_segmentation(
    path: str | Path,
    prediction: Prediction,
    source: DicomSource,
    *,
    made_by: MadeBy | None = None,
    codes: CodeTable | None = None,
) -> tuple[str, ...]:
    """Writes the labels as a DICOM SEG and returns sentences for the user.

    Args:
        path: of the file, replaced when it is there.
        prediction: labels on the grid of the source's volume, or on the same lattice (see `indices_on_slices`).
        source: the CT series.
        made_by: the origin; by default medseg without a model.
        codes: the user's own table of codes.

    Raises:
        GeometryError: the labels lie on another grid than the series.
        LabelError: no label, or values without a name.
        WriteError: the disk refused; an old file stays.
    """
    names = prediction.label_set.foreground
    if not names:
        raise LabelError("no label to write", where=source.where, expected="at least one besides the background")
    shown, notes = header_names(names)
    coded, unknown = segment_codes(names, codes)
    indices = source.indices_on_slices(prediction)
    made_by = made_by or MadeBy()
    with quiet_pydicom():
        described = [_description(number, name, code, made_by)
                     for number, (name, code) in enumerate(zip(shown, coded, strict=True), start=1)]  # fmt: skip
        found = present_labels(indices, len(names))
        dataset: Any = _build(found, described, source, made_by)
        frames = _frames(dataset, bool(found.any()))
        take_over(source, dataset)
        _refer(dataset, source)
        dataset.Columns, dataset.Rows = indices.shape[:2]
        with atomic_path(path) as temporary, TemporaryFile(dir=temporary.parent) as pixels:
            write_frames(pixels, indices, frames)
            dataset.PixelData = pixels  # pydicom copies it piece by piece; as bytes it would hold it three times
            dataset.save_as(temporary, enforce_file_format=True)
    empty = () if found.any() else ("no voxel of any label: the segmentation is empty",)
    return (*source.notes, *notes, *unknown, *empty)


def _description(number: int, name: str, code: SegmentCode, made_by: MadeBy) -> hd.seg.SegmentDescription:
    identification = None if made_by.way == "MANUAL" else algorithm_identification(made_by)
    found = hd.seg.SegmentDescription(
        number, name, _concept(code.category), _concept(code.type), made_by.way, identification,
        display_color=hd.color.CIELabColor.from_rgb(*code.colour),
    )  # fmt: skip
    if code.modifier:
        found.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
            hd.sr.CodedConcept(*_concept(code.modifier)[:3])
        ]
    return found


def _concept(code: Code) -> DicomCode:
    return DicomCode(code.value, code.scheme, code.meaning)


def _build(
    found: BoolArray, described: Sequence[hd.seg.SegmentDescription], source: DicomSource, made_by: MadeBy
) -> hd.seg.Segmentation:
    """The object with all its frames; where a slice would stand there is a pixel for each segment found in it.

    highdicom asks of pixels no more than which segments each slice has; whole slices it would copy five times.
    """
    slices = _stand_ins(source, found.shape[1])
    if empty := not found.any():
        slices, found = slices[:1], found[:1]
    numbers = np.where(found, np.arange(1, found.shape[1] + 1), 0)
    return hd.seg.Segmentation(
        source_images=slices,
        pixel_array=numbers[:, np.newaxis].astype(np.uint16 if found.shape[1] > 255 else np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=described,
        series_instance_uid=hd.UID(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=made_by.algorithm,
        software_versions=software_versions(made_by),  # type: ignore[arg-type]  # of any length
        device_serial_number=made_by.model or "none",
        content_description=RESEARCH_ONLY,
        content_label="SEGMENTATION",
        series_description=RESEARCH_ONLY,
        omit_empty_frames=not empty,
    )


def _frames(dataset: Any, any_found: bool) -> list[tuple[int, int]]:
    """Slice and segment number of every frame; of an empty result slice -1."""
    places = {str(item.ReferencedSOPInstanceUID): k for k, item in enumerate(dataset.SourceImageSequence)}
    shared = dataset.SharedFunctionalGroupsSequence[0]  # has the segment's number where there is one segment
    found = []
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        holder = frame if "SegmentIdentificationSequence" in frame else shared
        number = int(holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        uids = [str(item.ReferencedSOPInstanceUID) for derivation in frame.get("DerivationImageSequence", ())
                for item in derivation.SourceImageSequence]  # fmt: skip
        found.append((places[uids[0]] if any_found else -1, number))
    return found


def _stand_ins(source: DicomSource, segments: int) -> list[Dataset]:
    """A data set for each slice with no more than highdicom needs; the patient's elements are put in afterwards.

    A frame of a multi-frame file stands as a slice of its own, which `_refer` puts right.
    """
    found = []
    for image in source.slices:
        stand_in: Any = Dataset()
        stand_in.SOPClassUID, stand_in.SOPInstanceUID = CTImageStorage, hd.UID()
        stand_in.StudyInstanceUID, stand_in.SeriesInstanceUID = source.study_uid, source.series.uid
        stand_in.FrameOfReferenceUID, stand_in.Modality = source.series.frame_of_reference_uid or STAND_IN_UID, "CT"
        stand_in.PatientName = stand_in.PatientID = stand_in.PatientSex = stand_in.AccessionNumber = ""
        stand_in.StudyID, stand_in.PatientBirthDate, stand_in.StudyDate, stand_in.StudyTime = "", None, None, None
        stand_in.Rows, stand_in.Columns = 1, segments
        stand_in.ImagePositionPatient = _decimals(image.position)
        stand_in.ImageOrientationPatient = _decimals(source.slices[0].orientation)
        stand_in.PixelSpacing = _decimals(source.slices[0].pixel_mm)
        for name, value in source.compression.items():
            setattr(stand_in, name, value)
        stand_in.SliceThickness = _decimals([source.slices[0].thickness_mm or source.spacing_mm])[0]
        found.append(stand_in)
    return found


def _decimals(numbers: Sequence[float] | None) -> list[Any]:
    assert numbers is not None  # the series would have been refused
    return [DSfloat(number, auto_format=True) for number in numbers]


def _refer(dataset: Any, source: DicomSource) -> None:
    """Replaces the stand-ins by what they stand for: every frame refers to its slice, the whole to all files."""
    references = instance_references(source)
    stand_ins = [str(item.ReferencedSOPInstanceUID) for item in dataset.SourceImageSequence]
    images = dict(zip(stand_ins, source.slices, strict=False))  # an empty result has a single stand-in
    items = (item for frame in dataset.PerFrameFunctionalGroupsSequence
             for derivation in frame.DerivationImageSequence for item in derivation.SourceImageSequence)  # fmt: skip
    for item in {id(item): item for item in items}.values():  # the frames of one slice share an item
        item.update(image_reference(images[str(item.ReferencedSOPInstanceUID)]))
    dataset.SourceImageSequence = references
    dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence = references
