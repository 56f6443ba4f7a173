from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest

from medseg.errors import LabelError, WriteError
from medseg.imaging.labels import LabelSet
from medseg.imaging.prediction import Prediction
from medseg.io.dicom_seg import read_segmentation
from medseg.io.dicom_seg_write import write_segmentation
from medseg.io.dicom_write_source import DicomSource, read_source
from medseg.io.made_by import MadeBy
from tests.support.acquired import (
    EVEN,
    LABELS,
    TILTED,
    UNEVEN,
    empty,
    faults,
    needs_dciodvfy,
    predicted,
    write_slices,
)

DATA = Path(__file__).parents[1] / "data" / "dicom"
MADE_BY = MadeBy("medseg", "0.1.0", model="ab" * 32, recipe="cd" * 32)
KINDS: dict[str, tuple[Any, dict[str, str]]] = {
    "even": (EVEN, {}),
    "upside down": (EVEN[::-1], {}),
    "tilted": (TILTED, {}),
    "tilt kept": (TILTED, {"tilt": "keep"}),
    "uneven": (UNEVEN, {"gaps": "resample"}),
}


def source_of(folder: Path, kind: str = "even", **elements: Any) -> DicomSource:
    positions, options = KINDS[kind]
    return read_source(write_slices(folder, positions, **elements), **options)


def written(folder: Path, source: DicomSource, prediction: Prediction | None = None) -> Any:
    write_segmentation(folder / "seg.dcm", prediction or predicted(source), source, made_by=MADE_BY)
    return pydicom.dcmread(folder / "seg.dcm")


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_written_reads_back_voxel_by_voxel(tmp_path: Path, kind: str) -> None:
    source = source_of(tmp_path / "ct", kind)
    prediction = predicted(source)
    written(tmp_path, source, prediction)
    found = read_segmentation(tmp_path / "seg.dcm", series=source.series, acquisition=source.acquisition)
    assert list(found.masks) == ["kidney_left", "Ring"]
    for name, mask in found.masks.items():
        np.testing.assert_array_equal(mask, prediction.labels == LABELS.values[name], err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_highdicom_finds_the_segments_on_the_slices_that_they_name(tmp_path: Path, kind: str) -> None:
    source = source_of(tmp_path / "ct", kind)
    prediction = predicted(source)
    written(tmp_path, source, prediction)
    uids = [image.facts.sop_uid for image in source.slices]
    found = hd.seg.segread(tmp_path / "seg.dcm").get_pixels_by_source_instance(uids, combine_segments=True)
    np.testing.assert_array_equal(found.T, source.indices_on_slices(prediction))


def test_frames_of_a_multi_frame_ct_are_referred_to_by_number(tmp_path: Path) -> None:
    source = read_source(DATA / "multiframe")
    labels = np.zeros(source.acquisition.geometry.shape, dtype=np.uint8)
    labels[3:9, 4:20, 2] = 2
    dataset = written(tmp_path, source, Prediction(labels, source.acquisition.geometry, LABELS))
    found = read_segmentation(tmp_path / "seg.dcm", series=source.series, acquisition=source.acquisition)
    np.testing.assert_array_equal(found.masks["kidney_left"], labels == 2)
    (frame,) = dataset.PerFrameFunctionalGroupsSequence
    reference = frame.DerivationImageSequence[0].SourceImageSequence[0]
    assert reference.ReferencedFrameNumber == source.slices[2].frame + 1
    assert len(dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 1


@needs_dciodvfy
@pytest.mark.parametrize("kind", KINDS)
def test_dciodvfy_finds_no_error(tmp_path: Path, kind: str) -> None:
    written(tmp_path, source_of(tmp_path / "ct", kind))
    assert faults(tmp_path / "seg.dcm") == []


@needs_dciodvfy
@pytest.mark.parametrize("name", ["ge_tilt", "lidc", "multiframe", "oblique", "tilted", "small"])
def test_dciodvfy_finds_no_error_on_scans_of_patients(tmp_path: Path, name: str) -> None:
    source = read_source(DATA / name, gaps="resample")
    labels = np.zeros(source.acquisition.geometry.shape, dtype=np.uint8)
    labels[5:20, 6:25, 1:] = 2
    written(tmp_path, source, Prediction(labels, source.acquisition.geometry, LABELS))
    assert faults(tmp_path / "seg.dcm") == []
    found = read_segmentation(tmp_path / "seg.dcm", series=source.series, acquisition=source.acquisition)
    on_slices = source.acquisition.to_grid(source.acquisition.to_slices(labels))
    np.testing.assert_array_equal(found.masks["kidney_left"], on_slices == 2)


def test_segments_say_what_they_are_and_who_made_them(tmp_path: Path) -> None:
    dataset = written(tmp_path, source_of(tmp_path / "ct"))
    kidney, ring = dataset.SegmentSequence
    kind = kidney.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("64033007", "SCT")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert ring.SegmentedPropertyTypeCodeSequence[0].CodeValue == "85756007"
    algorithm = kidney.SegmentationAlgorithmIdentificationSequence[0]
    assert kidney.SegmentAlgorithmType == "AUTOMATIC"
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("medseg", "0.1.0")
    assert "ab" * 32 in algorithm.AlgorithmParameters
    assert "cd" * 32 in algorithm.AlgorithmParameters
    assert list(dataset.SoftwareVersions) == ["medseg 0.1.0", "model " + "ab" * 16, "recipe " + "cd" * 16]
    assert dataset.SeriesDescription == "RESEARCH USE ONLY - NOT REVIEWED"


def test_no_more_of_the_patient_is_taken_over_than_the_standard_requires(tmp_path: Path) -> None:
    extra = {"PatientComments": "smoker", "InstitutionName": "St Elsewhere", "PatientAge": "040Y",
             "OperatorsName": "Roe", "StudyDescription": "follow-up", "SeriesDescription": "Doe chest",
             "DeviceSerialNumber": "s1"}  # fmt: skip
    dataset = written(tmp_path, source_of(tmp_path / "ct", **extra))
    assert (dataset.PatientName, dataset.PatientID, dataset.PatientSex) == ("Doe^Jane", "p1", "F")
    text = str(dataset)
    assert not [value for value in extra.values() if value in text]


def test_an_empty_prediction_is_an_empty_frame_a_segment_and_said(tmp_path: Path) -> None:
    source = source_of(tmp_path / "ct")
    notes = write_segmentation(tmp_path / "seg.dcm", empty(source.acquisition.geometry), source)
    assert notes[-1] == "no voxel of any label: the segmentation is empty"
    found = read_segmentation(tmp_path / "seg.dcm", series=source.series, acquisition=source.acquisition)
    assert {name: int(mask.sum()) for name, mask in found.masks.items()} == {"kidney_left": 0, "Ring": 0}
    dataset = pydicom.dcmread(tmp_path / "seg.dcm")
    assert dataset.NumberOfFrames == 2
    assert len(dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 5


@needs_dciodvfy
def test_dciodvfy_finds_no_error_in_an_empty_one(tmp_path: Path) -> None:
    source = source_of(tmp_path / "ct")
    write_segmentation(tmp_path / "seg.dcm", empty(source.acquisition.geometry), source)
    assert faults(tmp_path / "seg.dcm") == []


def test_a_manual_segmentation_names_no_algorithm(tmp_path: Path) -> None:
    source = source_of(tmp_path / "ct")
    write_segmentation(tmp_path / "seg.dcm", predicted(source), source, made_by=MadeBy("ITK-SNAP", "4.2", way="MANUAL"))
    segment = pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence[0]
    assert segment.SegmentAlgorithmType == "MANUAL"
    assert "SegmentationAlgorithmIdentificationSequence" not in segment


def test_hostile_names_and_patients_are_written(tmp_path: Path) -> None:
    labels = LabelSet({"background": 0, "a\\b" + "x" * 80: 1, "A\\B" + "x" * 80: 2})
    source = source_of(tmp_path / "ct", PatientName="a=b=c=d", PatientBirthDate="unknown", PatientSex="?")
    prediction = Prediction(np.minimum(predicted(source).labels, 2), source.acquisition.geometry, labels)
    notes = write_segmentation(tmp_path / "seg.dcm", prediction, source)
    names = [item.SegmentLabel for item in pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence]
    assert len(set(names)) == 2
    assert "left empty" in notes[0]


def test_a_source_without_a_frame_of_reference_gives_a_segmentation_without_one(tmp_path: Path) -> None:
    dataset = written(tmp_path, source_of(tmp_path / "ct", FrameOfReferenceUID=None))
    assert "FrameOfReferenceUID" not in dataset


def test_lost_quality_is_told_on(tmp_path: Path) -> None:
    dataset = written(
        tmp_path, source_of(tmp_path / "ct", LossyImageCompression="01", LossyImageCompressionRatio="9.5")
    )
    assert (dataset.LossyImageCompression, float(dataset.LossyImageCompressionRatio)) == ("01", 9.5)


def test_labels_without_a_name_are_refused(tmp_path: Path) -> None:
    source = source_of(tmp_path / "ct")
    nothing = Prediction(np.zeros(source.acquisition.geometry.shape, dtype=np.uint8), source.acquisition.geometry,
                         LabelSet({"background": 0}))  # fmt: skip
    with pytest.raises(LabelError, match="no label to write"):
        write_segmentation(tmp_path / "seg.dcm", nothing, source)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    source = source_of(tmp_path / "ct")
    folder = tmp_path / "seg.dcm"
    folder.mkdir()
    with pytest.raises(WriteError):
        write_segmentation(folder, predicted(source), source)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    shutil.rmtree(folder)
