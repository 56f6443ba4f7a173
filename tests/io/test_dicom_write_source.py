from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medseg.errors import DicomError, FileReadError, GeometryError, LabelError
from medseg.imaging.geometry import Geometry, reorient
from medseg.imaging.labels import LabelSet
from medseg.imaging.prediction import Prediction
from medseg.io.dicom_write_source import read_source
from tests.support.acquired import LABELS, TILTED, UNEVEN, drawn, predicted, write_slices

DATA = Path(__file__).parents[1] / "data" / "dicom"


def patient_of(folder: Path, **elements: Any) -> Any:
    return read_source(write_slices(folder, **elements))


def test_name_and_id_are_taken_over_and_comments_are_not(tmp_path: Path) -> None:
    source = patient_of(tmp_path, PatientComments="smoker", InstitutionName="Hospital", PatientAge="040Y")
    assert {element.keyword for element in source.patient} == {
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
        "ReferringPhysicianName", "StudyID",
    }  # fmt: skip
    assert (source.patient.PatientName, source.patient.PatientID, source.patient.StudyID) == ("Doe^Jane", "p1", "")
    assert source.notes == ()


def test_letters_of_another_alphabet_survive(tmp_path: Path) -> None:
    source = patient_of(tmp_path, SpecificCharacterSet="ISO_IR 144", PatientName="Люкceмбypг", StudyID="Ж1")
    assert (str(source.patient.PatientName), source.patient.StudyID) == ("Люкceмбypг", "Ж1")


def test_zipped_and_deflated_slices_tell_the_patient_too(tmp_path: Path) -> None:
    folder = write_slices(tmp_path / "ct", PatientName="Müller^Änne", SpecificCharacterSet="ISO_IR 100")
    shutil.make_archive(str(tmp_path / "ct"), "zip", folder)
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.save_as(tmp_path / path.name)
        path.unlink()
        shutil.move(tmp_path / path.name, path)
    for source in (folder, tmp_path / "ct.zip"):
        assert str(read_source(source).patient.PatientName) == "Müller^Änne"


def test_what_dicom_forbids_is_left_empty_and_said_but_not_the_patients_id(tmp_path: Path) -> None:
    source = patient_of(tmp_path, StudyID="a study of seventeen", PatientSex="X", PatientID="p" * 70)
    assert (source.patient.StudyID, source.patient.PatientSex, source.patient.PatientID) == ("", "", "p" * 70)
    assert source.notes == ("PatientSex and StudyID of the source broke DICOM's rules and was left empty",)


@pytest.mark.parametrize("name", ["SeriesInstanceUID", "SOPInstanceUID"])
def test_a_series_to_which_nothing_can_refer_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DicomError, match=f"{name}.*missing.*NIfTI"):
        patient_of(tmp_path, **{name: ""})


def test_a_source_without_a_study_gets_one_that_stays_the_same(tmp_path: Path) -> None:
    one, other = (patient_of(tmp_path / name, StudyInstanceUID=None) for name in "ab")
    assert one.study_uid == other.study_uid
    assert one.study_uid.startswith("2.25.")
    assert one.notes == ("the source has no StudyInstanceUID; the result bears one of its own",)


def test_a_study_that_is_no_dicom_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "c001.nii.gz"
    path.write_bytes(b"no dicom")
    with pytest.raises(FileReadError, match=r"c001.nii.gz: not DICOM; .*dicom-seg and rtstruct need a DICOM input"):
        read_source(path)
    with pytest.raises(FileReadError, match="no such file or folder"):
        read_source(tmp_path / "nowhere")


def test_a_slice_that_cannot_be_read_is_named_by_its_place(tmp_path: Path) -> None:
    folder = write_slices(tmp_path)
    path = folder / "002.dcm"
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(DicomError, match="file 3 of 5"):
        read_source(folder)


@pytest.mark.parametrize(
    ("positions", "options"), [(TILTED, {}), (TILTED, {"tilt": "keep"}), (UNEVEN, {"gaps": "resample"})]
)
def test_labels_go_back_to_the_slices_on_which_they_were_drawn(tmp_path: Path, positions: Any, options: Any) -> None:
    source = read_source(write_slices(tmp_path, positions), **options)
    on_slices = drawn((*source.acquisition.shape, source.acquisition.slices))
    np.testing.assert_array_equal(source.indices_on_slices(predicted(source)), LABELS.to_indices(on_slices))


def test_labels_that_are_turned_or_cropped_are_put_back(tmp_path: Path) -> None:
    source = read_source(write_slices(tmp_path))
    whole = predicted(source)
    turned = whole.geometry.canonical()
    flipped = Prediction(reorient(whole.labels, whole.geometry, turned), turned, LABELS)
    box = (slice(2, 39), slice(1, 36), slice(0, 5))
    cropped = Prediction(whole.labels[box], whole.geometry.cropped((2, 1, 0), (37, 35, 5)), LABELS)
    for each in (flipped, cropped):
        np.testing.assert_array_equal(source.indices_on_slices(each), source.indices_on_slices(whole))


def test_labels_on_another_grid_are_refused(tmp_path: Path) -> None:
    source = read_source(write_slices(tmp_path))
    grid = source.acquisition.geometry
    other = Prediction(
        np.ones((20, 18, 5), dtype=np.uint8), grid.with_spacing((1.6, 1.4, 2.0)), LabelSet({"background": 0, "a": 1})
    )
    with pytest.raises(GeometryError, match=r"series_.*do not lie on the grid of the series.*unchanged"):
        source.indices_on_slices(other)


def test_a_series_that_lost_a_slice_since_is_refused(tmp_path: Path) -> None:
    prediction = predicted(read_source(write_slices(tmp_path)))
    (tmp_path / "004.dcm").unlink()
    with pytest.raises(GeometryError, match="lie outside"):
        read_source(tmp_path).indices_on_slices(prediction)


def test_values_without_a_name_are_refused(tmp_path: Path) -> None:
    source = read_source(write_slices(tmp_path))
    grid: Geometry = source.acquisition.geometry
    with pytest.raises(LabelError, match="got 9"):
        source.indices_on_slices(Prediction(np.full(grid.shape, 9, dtype=np.uint8), grid, LABELS))


def test_voxels_to_be_ignored_are_background(tmp_path: Path) -> None:
    source = read_source(write_slices(tmp_path))
    grid = source.acquisition.geometry
    labels = LabelSet({"background": 0, "a": 1}, ignore=255)
    assert not source.indices_on_slices(Prediction(np.full(grid.shape, 255, dtype=np.uint8), grid, labels)).any()


def test_slices_of_several_studies_belong_to_the_lowest_and_it_is_said() -> None:
    assert read_source(DATA / "oblique").notes == (
        "the slices name 3 studies; the result belongs to that of the lowest slice",
    )
