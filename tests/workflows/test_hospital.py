"""The whole path of a hospital, without a network: DICOM CTs and three doctors' structure sets in, agreement out."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from medseg import workflows
from medseg.imaging.geometry import reorient
from medseg.imaging.labels import LabelMap
from medseg.imaging.volume import Volume
from medseg.io.manifest import Dataset, read_dataset, read_image, read_reading
from tests.support.rtstruct_writer import write_ct, write_rtstruct

PATIENT = "Doe^Jane"
ROIS = """\
labels:
  liver: {value: 10, match: ["Liver.*"]}
  spleen: {value: 20, match: [Spleen]}
  kidney_left: {value: 30, match: ["Kidney_L", "Lt kidney"]}
  kidney_right: {value: 40, match: ["Kidney_R", "Rt kidney"]}
  lesion: {value: 50, match: ["GTV.*"], gaps: keep}
mirror_pairs: [[kidney_left, kidney_right]]
ignore: [BODY]
empty: absent
rater: {from: file, pattern: "by_(.*)"}
"""
NAMES = {"liver": "Liver (MM)", "spleen": "SPLEEN", "kidney_left": "Lt Kidney", "kidney_right": "Kidney_R",
         "lesion": "GTVp"}  # fmt: skip
RECIPE = """\
data: {data}
raters: random
plan: {{spacing_mm: [12, 12, 14], patch: [16, 16, 16], window_hu: [-160, 240]}}
folds: {{count: 2, fold: 0}}
transforms: {{preset: none}}
model: {{name: unet, channels: [4, 4, 8], deep_supervision: 1}}
training: {{steps: 4, batch: 1, validate_every: 4, checkpoint_every: 4, log_every: 1, device: cpu}}
inference: {{overlap: 0.25}}
"""


@pytest.fixture(autouse=True, scope="module")
def no_network() -> Iterator[None]:
    """Every attempt to open a connection fails the test."""

    def refuse(*_: object) -> None:
        raise AssertionError("a connection was attempted")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, refuse)
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """What the doctors saw and drew: five patients, three doctors, some readings missing."""
    folder = tmp_path_factory.mktemp("study") / "data"
    return read_dataset(workflows.phantom(folder, cases=5, experts=3, test=1, seed=3, spacing_mm=12.0, missing=0.3))


@pytest.fixture(scope="module")
def archive(study: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a hospital keeps it: a folder a patient, DICOM without file extensions, a structure set a doctor."""
    root = tmp_path_factory.mktemp("hospital")
    (root / "rois.yaml").write_text(ROIS, encoding="utf-8")
    for entry in study.cases:
        volume = read_image(study, entry)
        upright = Volume(np.rint(canonical(volume.hu, volume)), volume.geometry.canonical())
        series = write_ct(root / "archive" / entry.id / "ct", upright, name=entry.id, patient=f"{PATIENT}{entry.id}")
        for doctor in entry.raters:
            reading = read_reading(study, entry, doctor)
            masks = {NAMES[name]: canonical(reading.mask(name), reading) for name in NAMES}
            write_rtstruct(root / "archive" / entry.id / f"RS_by_{doctor}", series, masks, label="plan 1")
    return root


def canonical(array, grid: Volume | LabelMap):
    return reorient(array, grid.geometry, grid.geometry.canonical())


@pytest.fixture(scope="module")
def imported(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("imported") / "data"
    options = workflows.ImportOptions(rois=archive / "rois.yaml")
    workflows.import_("dicom", archive / "archive", out, copy=True, options=options)
    return out


@pytest.fixture(scope="module")
def judged(imported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a model was trained on the imported data, predicted them and was compared."""
    work = tmp_path_factory.mktemp("work")
    (work / "recipe.yaml").write_text(RECIPE.format(data=imported.as_posix()), encoding="utf-8")
    workflows.train(work / "recipe.yaml", out=work / "run")
    workflows.predict(work / "run", imported, work / "predictions")
    workflows.agree(imported, work / "predictions", out=work / "agreement", margin=0.05)
    return work


def test_every_doctor_s_outlines_become_the_labels_that_were_drawn(study: Dataset, imported: Path) -> None:
    data = read_dataset(imported)

    assert data.raters == study.raters
    for found, entry in zip(data.cases, study.cases, strict=True):
        assert set(found.raters) == set(entry.raters)
        for doctor in entry.raters:
            drawn, read = read_reading(study, entry, doctor), read_reading(data, found, doctor)
            for name in NAMES:
                assert np.array_equal(read.mask(name), canonical(drawn.mask(name), drawn)), (found.id, doctor, name)


def test_some_doctors_are_missing_on_some_patients(imported: Path) -> None:
    data = read_dataset(imported)

    assert sum(len(case.raters) for case in data.cases) < len(data.cases) * len(data.raters)
    assert all(reading.labelled is None for case in data.cases for reading in case.raters.values())


def test_the_images_are_those_of_the_archive(study: Dataset, imported: Path) -> None:
    data = read_dataset(imported)

    for found, entry in zip(data.cases, study.cases, strict=True):
        volume, original = read_image(data, found), read_image(study, entry)
        assert np.array_equal(volume.hu, np.rint(canonical(original.hu, original)))
        assert not volume.geometry.differences(original.geometry.canonical())


def test_the_imported_data_set_passes_the_check(imported: Path) -> None:
    report = workflows.check(imported, deep=True)

    assert report.ok, report.problems


def test_a_model_is_trained_on_it_and_compared_with_the_doctors(judged: Path) -> None:
    assert (judged / "agreement" / "report.html").is_file()
    assert len(list((judged / "predictions").glob("c000*.nii.gz"))) == 5


def test_nothing_of_the_patients_is_in_any_file_that_was_written(judged: Path, imported: Path, study: Dataset) -> None:
    written = [path for folder in (judged, imported) for path in folder.rglob("*") if path.is_file()]

    assert len(written) > 20
    for path in written:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        assert PATIENT.encode() not in content, path.name
        assert b"1.2.826.0.1." not in content, path.name  # how the UIDs of the archive begin
        assert str(imported.parents[1]).encode() not in content or path.name in ("recipe.yaml", "run.json"), path.name


def test_without_copy_the_data_set_leads_to_the_archive(archive: Path, tmp_path: Path) -> None:
    options = workflows.ImportOptions(rois=archive / "rois.yaml")

    made = workflows.import_("dicom", archive / "archive", tmp_path / "data", options=options)

    data = read_dataset(made.path)
    assert [case.image for case in data.cases] == sorted((archive / "archive").glob("*/ct"))
    assert len({case.patient for case in data.cases}) == 5
    assert not (tmp_path / "data" / "images").exists()
