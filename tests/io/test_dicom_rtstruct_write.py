from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from skimage.draw import polygon2mask

from medseg.errors import LabelError
from medseg.imaging.labels import LabelSet
from medseg.imaging.prediction import Prediction
from medseg.io.dicom_rtstruct import read_rtstruct
from medseg.io.dicom_rtstruct_write import write_structure_set
from medseg.io.dicom_write_source import DicomSource, read_source
from medseg.io.made_by import MadeBy
from medseg.io.roi_names import RoiRules
from medseg.shapes import BoolArray
from tests.support.acquired import EVEN, LABELS, TILTED, UNEVEN, empty, faults, needs_dciodvfy, predicted, write_slices

DATA = Path(__file__).parents[1] / "data" / "dicom"
OBLIQUE = [0.8, 0.6, 0, -0.6, 0.8, 0]
KINDS: dict[str, tuple[Any, dict[str, str]]] = {
    "even": (EVEN, {}),
    "tilted": (TILTED, {}),
    "tilt kept": (TILTED, {"tilt": "keep"}),
    "uneven": (UNEVEN, {"gaps": "resample"}),
}
RULES = RoiRules.model_validate(
    {
        "labels": {
            "kidney_left": {"value": 2, "match": "kidney.*", "gaps": "keep"},
            "Ring": {"value": 7, "match": "ring", "gaps": "keep"},
        }
    }
)


def source_of(folder: Path, kind: str = "even", **elements: Any) -> DicomSource:
    positions, options = KINDS[kind]
    return read_source(write_slices(folder, positions, **elements), **options)


def written(folder: Path, source: DicomSource, prediction: Prediction | None = None, **options: Any) -> Any:
    write_structure_set(folder / "rs.dcm", prediction or predicted(source), source, **options)
    return pydicom.dcmread(folder / "rs.dcm")


def filled(item: Any, source: DicomSource) -> BoolArray:
    """(X, Y, N) mask of an ROI by skimage: contours on the slices that they name, combined by XOR."""
    mask = np.zeros((*source.acquisition.shape, source.acquisition.slices), dtype=bool)
    for contour in item.get("ContourSequence", []):
        reference = contour.ContourImageSequence[0]
        k = source.series.frames[
            str(reference.ReferencedSOPInstanceUID), int(reference.get("ReferencedFrameNumber", 1))
        ]
        points = np.array(contour.ContourData, dtype=float).reshape(-1, 3) * [-1, -1, 1]
        affine = source.acquisition.affines[k]
        pixels = np.linalg.solve(affine[:3, :3], (points - affine[:3, 3]).T).T
        assert np.abs(pixels[:, 2]).max() < 1e-3  # on the plane of the slice
        mask[:, :, k] ^= polygon2mask(mask.shape[:2], pixels[:, :2])
    return mask


@pytest.mark.parametrize("orientation", [None, OBLIQUE], ids=["straight", "oblique"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_reader_and_skimage_find_the_very_same_voxels(tmp_path: Path, kind: str, orientation: Any) -> None:
    turned = {"ImageOrientationPatient": orientation} if orientation and kind == "even" else {}
    source = source_of(tmp_path / "ct", kind, **turned)
    prediction = predicted(source)
    dataset = written(tmp_path, source, prediction)
    found = read_rtstruct(tmp_path / "rs.dcm", source.series, source.acquisition, RULES)
    on_slices = source.acquisition.to_slices(prediction.labels)
    for item, name in zip(dataset.ROIContourSequence, ("kidney_left", "Ring"), strict=True):
        np.testing.assert_array_equal(found.masks[name], prediction.labels == LABELS.values[name])
        np.testing.assert_array_equal(filled(item, source), on_slices == LABELS.values[name])


def test_frames_of_a_multi_frame_ct_are_referred_to_by_number(tmp_path: Path) -> None:
    source = read_source(DATA / "multiframe")
    labels = np.zeros(source.acquisition.geometry.shape, dtype=np.uint8)
    labels[3:9, 4:20, 2] = 2
    dataset = written(tmp_path, source, Prediction(labels, source.acquisition.geometry, LABELS))
    np.testing.assert_array_equal(filled(dataset.ROIContourSequence[0], source), labels == 2)
    rules = RULES.model_copy(update={"trust": "all"})
    found = read_rtstruct(tmp_path / "rs.dcm", source.series, source.acquisition, rules)
    np.testing.assert_array_equal(found.masks["kidney_left"], labels == 2)


@needs_dciodvfy
@pytest.mark.parametrize("kind", KINDS)
def test_dciodvfy_finds_no_error(tmp_path: Path, kind: str) -> None:
    written(tmp_path, source_of(tmp_path / "ct", kind), made_by=MadeBy(model="ab" * 32), short_names=True)
    assert faults(tmp_path / "rs.dcm") == []


@needs_dciodvfy
@pytest.mark.parametrize("name", ["ge_tilt", "lidc", "multiframe", "oblique", "tilted", "small"])
def test_dciodvfy_finds_no_error_on_scans_of_patients(tmp_path: Path, name: str) -> None:
    source = read_source(DATA / name, gaps="resample")
    labels = np.zeros(source.acquisition.geometry.shape, dtype=np.uint8)
    labels[5:20, 6:25, 1:] = 2
    dataset = written(tmp_path, source, Prediction(labels, source.acquisition.geometry, LABELS))
    assert faults(tmp_path / "rs.dcm") == []
    on_slices = source.acquisition.to_slices(labels)
    np.testing.assert_array_equal(filled(dataset.ROIContourSequence[0], source), on_slices == 2)


def test_a_single_voxel_keeps_its_place_and_its_area(tmp_path: Path) -> None:
    source = source_of(tmp_path / "ct")
    labels = np.zeros(source.acquisition.geometry.shape, dtype=np.uint8)
    labels[20, 11, 3] = 7
    dataset = written(tmp_path, source, Prediction(labels, source.acquisition.geometry, LABELS))
    np.testing.assert_array_equal(filled(dataset.ROIContourSequence[1], source), labels == 7)
    points = np.array(dataset.ROIContourSequence[1].ContourSequence[0].ContourData, dtype=float).reshape(-1, 3)
    np.testing.assert_allclose(np.ptp(points, axis=0), [0.8, 0.7, 0.0], atol=1e-4)


def test_the_file_is_unapproved_and_says_who_made_it(tmp_path: Path) -> None:
    dataset = written(tmp_path, source_of(tmp_path / "ct"), made_by=MadeBy("medseg", "0.1.0", model="ab" * 32))
    assert dataset.ApprovalStatus == "UNAPPROVED"
    assert dataset.SeriesDescription == dataset.StructureSetName == "RESEARCH USE ONLY - NOT REVIEWED"
    roi = dataset.StructureSetROISequence[0]
    assert roi.ROIGenerationAlgorithm == "AUTOMATIC"
    assert "ab" * 32 in roi.ROIDerivationAlgorithmIdentificationSequence[0].AlgorithmParameters
    assert [item.RTROIInterpretedType for item in dataset.RTROIObservationsSequence] == ["ORGAN", ""]


def test_a_code_that_is_not_known_is_left_out(tmp_path: Path) -> None:
    kidney, ring = written(tmp_path, source_of(tmp_path / "ct")).RTROIObservationsSequence
    assert kidney.RTROIIdentificationCodeSequence[0].CodeMeaning == "Kidney"
    assert "RTROIIdentificationCodeSequence" not in ring


def test_all_slices_stand_in_the_frame_of_reference(tmp_path: Path) -> None:
    source = source_of(tmp_path / "ct")
    frame = written(tmp_path, source).ReferencedFrameOfReferenceSequence[0]
    series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert frame.FrameOfReferenceUID == source.series.frame_of_reference_uid
    assert {item.ReferencedSOPInstanceUID for item in series.ContourImageSequence} == set(source.series.instance_uids)


def test_names_of_at_most_sixteen_letters_stay_different(tmp_path: Path) -> None:
    labels = LabelSet({"background": 0, "lung_upper_lobe_left_a": 2, "lung_upper_lobe_left_b": 7})
    source = source_of(tmp_path / "ct")
    prediction = Prediction(predicted(source).labels, source.acquisition.geometry, labels)
    rois = written(tmp_path, source, prediction, short_names=True).StructureSetROISequence
    names = [roi.ROIName for roi in rois]
    assert len({name.lower() for name in names}) == 2
    assert max(map(len, names)) <= 16


def test_an_empty_prediction_has_regions_without_contours_and_is_said(tmp_path: Path) -> None:
    source = source_of(tmp_path / "ct")
    notes = write_structure_set(tmp_path / "rs.dcm", empty(source.acquisition.geometry), source)
    assert notes[-1] == "no voxel of any label: the structure set holds no contour"
    dataset = pydicom.dcmread(tmp_path / "rs.dcm")
    assert [roi.ROIName for roi in dataset.StructureSetROISequence] == ["kidney_left", "Ring"]
    assert not any("ContourSequence" in item for item in dataset.ROIContourSequence)


@needs_dciodvfy
def test_dciodvfy_finds_no_error_in_an_empty_one(tmp_path: Path) -> None:
    source = source_of(tmp_path / "ct")
    write_structure_set(tmp_path / "rs.dcm", empty(source.acquisition.geometry), source)
    assert faults(tmp_path / "rs.dcm") == []


def test_a_source_without_a_frame_of_reference_gets_one_and_it_is_said(tmp_path: Path) -> None:
    source = source_of(tmp_path / "ct", FrameOfReferenceUID=None)
    notes = write_structure_set(tmp_path / "rs.dcm", predicted(source), source)
    assert any("no frame of reference" in note for note in notes)
    rules = RULES.model_copy(update={"trust": "images"})
    found = read_rtstruct(tmp_path / "rs.dcm", source.series, source.acquisition, rules)
    assert found.masks["Ring"].any()


def test_labels_without_a_name_are_refused(tmp_path: Path) -> None:
    source = source_of(tmp_path / "ct")
    grid = source.acquisition.geometry
    nothing = Prediction(np.zeros(grid.shape, dtype=np.uint8), grid, LabelSet({"background": 0}))
    with pytest.raises(LabelError, match="no label to write"):
        write_structure_set(tmp_path / "rs.dcm", nothing, source)
