from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.errors import FileReadError, GeometryError, OutputExistsError, UsageError
from medseg.io.dicom import read_series
from medseg.io.label_files import read_label_values
from medseg.io.made_by import MadeBy
from medseg.io.nifti import write_volume
from medseg.io.segment_codes import CodeEntry, CodeTable
from medseg.workflows.prediction_files import (
    FORMATS,
    Outputs,
    StudySource,
    kept_files,
    origin_of,
    write_prediction,
)
from medseg.workflows.prediction_record import check_model, read_measurements
from medseg.workflows.readings_soft import FORMAT_FOLDERS
from tests.support.acquired import LABELS, TILTED, empty, predicted, write_slices

ALL = Outputs(tuple(FORMATS))
MADE_BY = MadeBy("medseg", "0.1.0", model="ab" * 32)


@pytest.fixture
def study(tmp_path: Path) -> StudySource:
    folder = write_slices(tmp_path / "ct", TILTED)
    return StudySource(folder, {"tilt": "resample"}, read_series(folder))


def test_every_format_is_written_and_no_other_file(tmp_path: Path, study: StudySource) -> None:
    found = write_prediction(tmp_path / "out", "c001", predicted(study.dicom), study, outputs=ALL, made_by=MADE_BY)
    assert {str(path.relative_to(tmp_path / "out")) for path in found.paths} == {
        "c001.nii.gz", "c001.json", "nrrd/c001.seg.nrrd", "dicom-seg/c001.dcm", "rtstruct/c001.dcm", "png/c001.png",
        "viewer/c001.html",
    }  # fmt: skip
    assert {path for path in (tmp_path / "out").rglob("*") if path.is_file()} == set(found.paths)
    assert found.kept == ()


def test_a_folder_of_predictions_is_read_without_the_other_formats() -> None:
    assert {each.folder for each in FORMATS.values()} - {""} == set(FORMAT_FOLDERS)


def test_label_files_hold_the_very_values(tmp_path: Path, study: StudySource) -> None:
    prediction = predicted(study.dicom)
    write_prediction(tmp_path, "c001", prediction, study, outputs=Outputs(("nifti", "nrrd")))
    for name in ("c001.nii.gz", "nrrd/c001.seg.nrrd"):
        labels, geometry = read_label_values(tmp_path / name)
        np.testing.assert_array_equal(labels, prediction.labels)
        assert not geometry.differences(prediction.geometry)


def test_no_file_but_the_dicom_ones_names_the_patient(tmp_path: Path, study: StudySource) -> None:
    found = write_prediction(tmp_path / "out", "c001", predicted(study.dicom), study, outputs=ALL)
    uid = study.dicom.series.uid.encode()
    for path in found.paths:
        content = path.read_bytes()
        dicom = path.suffix == ".dcm"
        assert (b"Jane" in content) == dicom
        assert (uid in content) == dicom
        assert str(tmp_path).encode() not in content


def test_the_record_says_where_the_files_come_from(tmp_path: Path, study: StudySource) -> None:
    write_prediction(tmp_path, "c001", predicted(study.dicom), study, made_by=MADE_BY)
    record = json.loads((tmp_path / "c001.json").read_text())
    assert record["made_by"] == {"algorithm": "medseg", "version": "0.1.0", "model_sha256": "ab" * 32}
    assert record["status"] == "RESEARCH USE ONLY - NOT REVIEWED"
    assert record["labels"] == dict(LABELS.values)


def test_what_is_there_is_kept_and_what_is_missing_is_added(tmp_path: Path, study: StudySource) -> None:
    prediction = predicted(study.dicom)
    write_prediction(tmp_path, "c001", prediction, study)
    before = (tmp_path / "c001.nii.gz").stat().st_mtime_ns
    found = write_prediction(tmp_path, "c001", prediction, study, outputs=Outputs(("nifti", "nrrd")))
    assert found.kept == (tmp_path / "c001.nii.gz",)
    assert (tmp_path / "c001.nii.gz").stat().st_mtime_ns == before
    assert (tmp_path / "nrrd" / "c001.seg.nrrd").exists()


@pytest.mark.parametrize(
    "made_by, said",
    [
        (
            MadeBy("medseg", "1", model="cd", recipe="ab"),
            r"got the same recipe with other weights .* another --as-rater",
        ),
        (MadeBy("medseg", "1", model="cd", recipe="ef"), r"got another run"),
        (MadeBy("medseg", "2", model="aa", recipe="ab"), r"got another version of the program"),
        (MadeBy("medseg", "1", model="aa", recipe="ab", postprocessing="ab"), r"got other steps after the prediction"),
    ],
)
def test_in_what_another_model_differs_is_said(made_by: MadeBy, said: str) -> None:
    record = {"made_by": dict(MadeBy("medseg", "1", model="aa", recipe="ab").facts)}

    with pytest.raises(OutputExistsError, match=said):
        check_model(record, made_by, "c001")


def test_files_of_another_model_are_neither_kept_nor_replaced_unasked(tmp_path: Path, study: StudySource) -> None:
    prediction = predicted(study.dicom)
    write_prediction(tmp_path, "c001", prediction, study, outputs=Outputs(("nifti", "nrrd")), made_by=MADE_BY)
    other = MadeBy("medseg", "0.1.0", model="cd" * 32)
    with pytest.raises(OutputExistsError, match=r"another model.*got "):
        write_prediction(tmp_path, "c001", prediction, study, made_by=other)
    (tmp_path / "probabilities").mkdir()
    (tmp_path / "probabilities" / "c001.nii.gz").touch()
    write_prediction(tmp_path, "c001", prediction, study, outputs=Outputs(overwrite=True), made_by=other)
    assert json.loads((tmp_path / "c001.json").read_text())["made_by"]["model_sha256"] == "cd" * 32
    assert not (tmp_path / "nrrd" / "c001.seg.nrrd").exists()
    assert not (tmp_path / "probabilities" / "c001.nii.gz").exists()


def test_probabilities_that_come_later_are_measured_too(tmp_path: Path, study: StudySource) -> None:
    prediction = predicted(study.dicom)
    write_prediction(tmp_path, "c001", prediction, study)
    assert all(each.expected_ml is None for each in read_measurements(tmp_path, "c001"))
    indices = prediction.label_set.to_indices(prediction.labels)
    certain = np.eye(len(prediction.label_set.names), dtype=np.float32)[indices]
    write_prediction(tmp_path, "c001", replace(prediction, probabilities=certain), study)
    assert all(each.expected_ml == pytest.approx(each.volume_ml) for each in read_measurements(tmp_path, "c001"))


def test_a_series_that_was_read_is_not_read_again(study: StudySource) -> None:
    read = study.dicom
    assert study.volume is not None
    assert study.showing(study.volume).dicom is read


def test_a_run_that_was_killed_is_taken_up(tmp_path: Path, study: StudySource, monkeypatch: pytest.MonkeyPatch) -> None:
    prediction = predicted(study.dicom)

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("medseg.workflows.prediction_files.write_segmentation_nrrd", killed)
        patch.setattr("medseg.workflows.prediction_files.structures_picture", killed)
        with pytest.raises(KeyboardInterrupt):
            write_prediction(tmp_path, "c001", prediction, study, outputs=Outputs(("nifti", "png")), made_by=MADE_BY)
    found = write_prediction(tmp_path, "c001", prediction, study, outputs=Outputs(("nifti", "png")), made_by=MADE_BY)
    assert found.kept == (tmp_path / "c001.nii.gz",)
    assert all(path.exists() for path in found.paths)


def test_a_prediction_without_a_voxel_is_written_and_said(tmp_path: Path, study: StudySource) -> None:
    found = write_prediction(tmp_path / "out", "c001", empty(study.dicom.acquisition.geometry), study, outputs=ALL)
    assert "no voxel of any label was found" in found.notes
    assert all(path.exists() for path in found.paths)
    assert "no voxel of any label was found" in json.loads((tmp_path / "out" / "c001.json").read_text())["notes"]


def test_dicom_of_a_nifti_study_is_refused_before_anything_is_written(tmp_path: Path, study: StudySource) -> None:
    prediction = predicted(study.dicom)
    assert study.volume is not None
    write_volume(tmp_path / "ct.nii.gz", study.volume)
    source = StudySource(tmp_path / "ct.nii.gz", where="study ct")
    with pytest.raises(FileReadError, match=r"^study ct: not DICOM; .*need a DICOM input"):
        write_prediction(tmp_path / "out", "ct", prediction, source, outputs=ALL)
    assert not (tmp_path / "out").exists()


def test_a_series_that_changed_since_is_refused_before_anything_is_written(tmp_path: Path, study: StudySource) -> None:
    prediction = predicted(study.dicom)
    (Path(study.path) / "005.dcm").unlink()
    fresh = StudySource(study.path, study.reading)
    with pytest.raises(GeometryError, match="do not lie on the grid of the series"):
        write_prediction(tmp_path / "out", "c001", prediction, fresh, outputs=ALL)
    assert not (tmp_path / "out").exists()


def test_images_can_be_left_out(tmp_path: Path, study: StudySource) -> None:
    prediction = predicted(study.dicom)
    write_prediction(tmp_path, "c001", prediction, study, outputs=Outputs(("viewer",), images=False))
    assert "no images (outlines only)" in (tmp_path / "viewer" / "c001.html").read_text()


def test_a_page_with_the_ct_is_not_taken_for_one_without(tmp_path: Path, study: StudySource) -> None:
    prediction, without = predicted(study.dicom), Outputs(("viewer",), images=False)
    write_prediction(tmp_path, "c001", prediction, study, outputs=Outputs(("viewer",)))
    said = "the viewer file that is there shows the CT and is kept; --overwrite writes it as asked for now"

    again, kept = (
        write_prediction(tmp_path, "c001", prediction, study, outputs=without),
        kept_files(tmp_path, "c001", without),
    )
    assert kept is not None and said in again.notes and said in kept.notes
    assert said not in json.loads((tmp_path / "c001.json").read_text())["notes"]  # it is of this call alone

    write_prediction(tmp_path, "c001", prediction, study, outputs=replace(without, overwrite=True))
    assert (found := kept_files(tmp_path, "c001", without)) is not None and found.notes == ()


@pytest.mark.parametrize("asked, said", [
    ({"short_names": True}, "the rtstruct file that is there has whole names and is kept"),
    ({"codes": CodeTable(labels={"Ring": CodeEntry(type="SCT 10200004 Liver")})}, "has other codes and is kept"),
])  # fmt: skip
def test_names_and_codes_of_kept_files_are_told_also_when_another_format_is_added(
    tmp_path: Path, study: StudySource, asked: dict[str, Any], said: str
) -> None:
    prediction = predicted(study.dicom)
    write_prediction(tmp_path, "c001", prediction, study, outputs=Outputs(("rtstruct",)))

    found = write_prediction(tmp_path, "c001", prediction, study, outputs=Outputs(("rtstruct", "nrrd"), **asked))

    assert any(said in note for note in found.notes) and not any("nrrd" in note for note in found.notes)
    assert "rtstruct" in json.loads((tmp_path / "c001.json").read_text())["written_with"]


@pytest.mark.parametrize("formats", [(), ("nifty",)])
def test_no_format_and_an_unknown_one_are_refused(formats: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="--format"):
        Outputs(formats)


def test_the_origin_of_a_run_is_the_hash_of_its_weights(tmp_path: Path) -> None:
    import hashlib

    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.safetensors").write_bytes(b"weights")
    (tmp_path / "recipe.yaml").write_bytes(b"recipe")
    made_by = origin_of(tmp_path)
    assert made_by.model == hashlib.sha256(b"weights").hexdigest()
    assert made_by.recipe == hashlib.sha256(b"recipe").hexdigest()


@pytest.mark.parametrize("changed", ["checkpoints/best.safetensors", "recipe.yaml"])
def test_the_origin_of_a_cascade_counts_its_coarser_run(tmp_path: Path, changed: str) -> None:
    for folder in (tmp_path, tmp_path / "low" / "fold_0"):
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "run.json").write_text("{}")
        (folder / "recipe.yaml").write_text("recipe")
        (folder / "checkpoints" / "best.safetensors").write_text("weights")
    before = origin_of(tmp_path)
    (tmp_path / "low" / "fold_0" / changed).write_text("other")
    assert origin_of(tmp_path) != before


def test_the_origin_of_folds_counts_all_of_them(tmp_path: Path) -> None:
    for fold in "01":
        (tmp_path / f"fold_{fold}" / "checkpoints").mkdir(parents=True)
        (tmp_path / f"fold_{fold}" / "run.json").write_text("{}")
        (tmp_path / f"fold_{fold}" / "recipe.yaml").write_text("recipe")
        (tmp_path / f"fold_{fold}" / "checkpoints" / "best.safetensors").write_text(fold)
    first = origin_of(tmp_path).model
    (tmp_path / "fold_1" / "checkpoints" / "best.safetensors").write_text("2")
    assert origin_of(tmp_path).model != first
