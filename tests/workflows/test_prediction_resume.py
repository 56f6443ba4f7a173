"""`predict` given again: what was read in another way, or has changed since, is not taken for what is there."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.errors import OutputExistsError
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.imaging.volume import Volume
from medseg.io import nifti
from medseg.io.dicom import list_series
from medseg.workflows import list_studies, predict

DICOM = Path(__file__).parents[1] / "data" / "dicom"
LABELS = LabelSet({"background": 0, "liver": 1})


@pytest.fixture
def image(held_out_image: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(held_out_image, tmp_path / "study.nii.gz"))


def tries(run: Path, inputs: Any, out: Path, **options: Any) -> list[int]:
    """How often each study was begun: 0 when it was finished before; 1 also when only its bytes were looked at."""
    outcomes: list[Any] = []
    predict(run, inputs, out, on_done=outcomes.extend, **options)
    return [outcome.tries for outcome in outcomes]


def change(image: Path) -> None:
    volume = nifti.read_volume(image)
    nifti.write_volume(image, Volume(volume.hu + np.float32(20), volume.geometry))


def test_a_study_that_has_changed_is_set_aside_until_overwrite(run_folder: Path, image: Path, tmp_path: Path) -> None:
    other = Path(shutil.copy(image, tmp_path / "other.nii.gz"))
    (written, _) = predict(run_folder, [image, other], tmp_path / "out")
    before = written.read_bytes()
    change(image)
    outcomes: list[Any] = []

    with pytest.raises(OutputExistsError, match=r"study: the study has changed since .* --overwrite"):
        predict(run_folder, [image, other], tmp_path / "out", on_done=outcomes.extend)

    assert written.read_bytes() == before
    assert [outcome.error is None for outcome in outcomes] == [False, True]  # the others go on
    assert tries(run_folder, [image, other], tmp_path / "out", overwrite=True) == [1, 1]


def test_a_study_with_results_of_another_model_is_set_aside_and_the_rest_go_on(
    run_folder: Path, image: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copy(image, tmp_path / "other.nii.gz"))
    (written,) = predict(run_folder, image, tmp_path / "out")
    facts = json.loads((tmp_path / "out/study.json").read_text())
    facts["made_by"]["model_sha256"] = "0" * 64
    (tmp_path / "out/study.json").write_text(json.dumps(facts))
    before, outcomes = written.read_bytes(), list[Any]()

    with pytest.raises(OutputExistsError, match=r"^study: results of another model"):
        predict(run_folder, [image, other], tmp_path / "out", on_done=outcomes.extend)

    assert [outcome.error is None for outcome in outcomes] == [False, True]
    assert (tmp_path / "out/other.nii.gz").exists() and written.read_bytes() == before


def test_what_was_worth_knowing_is_said_again_of_a_study_that_is_kept(run_folder: Path, tmp_path: Path) -> None:
    geometry = Geometry((24, 24, 24), np.diag([12.0, 12.0, 14.0, 1.0]))
    nifti.write_volume(tmp_path / "air.nii.gz", Volume(np.full(geometry.shape, -1000, np.float32), geometry))
    first, second = list[Any](), list[Any]()
    predict(run_folder, tmp_path / "air.nii.gz", tmp_path / "out", on_done=first.extend)
    predict(run_folder, tmp_path / "air.nii.gz", tmp_path / "out", on_done=second.extend)

    assert second[0].tries == 0 and second[0].result.notes == first[0].result.notes
    assert "no voxel of any label was found" in second[0].result.notes


def test_a_copy_of_the_same_study_keeps_its_results(run_folder: Path, image: Path, tmp_path: Path) -> None:
    (written,) = predict(run_folder, image, tmp_path / "out")
    stamp = written.stat().st_mtime_ns
    os.utime(image, ns=(1, 1))  # as a copy without times

    assert tries(run_folder, image, tmp_path / "out") == [1]  # its bytes are read,
    assert tries(run_folder, image, tmp_path / "out") == [0]  # once
    assert written.stat().st_mtime_ns == stamp


def test_a_study_read_in_another_way_is_refused_until_overwrite(run_folder: Path, tmp_path: Path) -> None:
    series = DICOM / "tilted"
    predict(run_folder, series, tmp_path / "out")

    with pytest.raises(
        OutputExistsError, match="read in another way, are there; expected tilt keep, got as by default"
    ):
        predict(run_folder, series, tmp_path / "out", tilt="keep")
    assert tries(run_folder, series, tmp_path / "out", tilt="resample") == [0]  # which is the default


def test_a_slice_that_is_gone_is_a_change(run_folder: Path, tmp_path: Path) -> None:
    series = Path(shutil.copytree(DICOM / "small", tmp_path / "series"))
    predict(run_folder, series, tmp_path / "out")
    next(iter(sorted(path for path in series.rglob("*") if path.is_file()))).unlink()

    with pytest.raises(OutputExistsError, match="the study has changed"):
        predict(run_folder, series, tmp_path / "out")


def test_another_file_beside_the_series_is_no_change(run_folder: Path, tmp_path: Path) -> None:
    series = Path(shutil.copytree(DICOM / "small", tmp_path / "series"))
    predict(run_folder, series, tmp_path / "out")
    (series / "notes.txt").write_text("seen")

    assert tries(run_folder, series, tmp_path / "out") == [0]


def test_the_record_of_a_study_names_no_path_or_identifier(run_folder: Path, tmp_path: Path) -> None:
    predict(run_folder, DICOM / "tilted", tmp_path / "out", tilt="keep")

    (path,) = (tmp_path / "out").glob("*.json")
    facts = json.loads(path.read_text())["input"]
    assert facts["reading"] == {"tilt": "keep"}
    assert set(facts) == {"reading", "content_sha256", "stamp"} and len(facts["content_sha256"]) == 64


def test_each_series_of_an_archive_is_looked_for_in_its_own_folder(tmp_path: Path) -> None:
    for name in ("small", "lidc"):
        shutil.copytree(DICOM / name, tmp_path / "archive" / "year" / name)

    studies = list_studies([tmp_path / "archive"], LABELS)

    assert {study.id: study.path.name for study in studies} == {
        list_series(DICOM / name)[0].id: name for name in ("small", "lidc")
    }


def test_series_whose_files_lie_mixed_stay_where_they_are(tmp_path: Path) -> None:
    for number, path in enumerate(path for name in ("small", "lidc") for path in sorted((DICOM / name).iterdir())):
        (tmp_path / "flat").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "flat" / f"{number:03}")

    assert {study.path for study in list_studies([tmp_path / "flat"], LABELS)} == {tmp_path / "flat"}
