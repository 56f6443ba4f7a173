"""`predict`: exactly the input's grid, the run's labels, and nothing written over by mistake."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import (
    CheckpointError,
    FileReadError,
    InputError,
    LabelError,
    MedsegError,
    OutputExistsError,
    UsageError,
    VoxelError,
)
from medseg.imaging.geometry import Geometry
from medseg.imaging.volume import Volume
from medseg.io import dicom, nifti
from medseg.io.manifest import read_dataset
from medseg.phantom.shapes import rotation
from medseg.workflows import import_, predict, train

SERIES = Path(__file__).parents[1] / "data" / "dicom" / "small"


def write_image(path: Path, affine: np.ndarray, shape: tuple[int, int, int] = (20, 18, 9)) -> Path:
    hu = np.random.default_rng(0).integers(-200, 200, shape).astype(np.int16)
    nib.Nifti1Image(hu, affine).to_filename(path)
    return path


def load(path: Path) -> Any:
    return nib.load(path)


@pytest.fixture
def oblique() -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = rotation((11.3, -7.7, 23.1)) @ np.diag([-11.7, 12.3, 13.9])
    affine[:3, 3] = (101.23456, -77.7, 1234.5678)
    return affine


def test_shape_and_affine_equal_those_of_an_oblique_input_bit_by_bit(
    run_folder: Path, tmp_path: Path, oblique: np.ndarray
) -> None:
    image = load(write_image(tmp_path / "study.nii.gz", oblique))

    (written,) = predict(run_folder, tmp_path / "study.nii.gz", tmp_path / "out", probabilities=True)

    labels, shares = load(written), load(tmp_path / "out" / "probabilities" / "study.nii.gz")
    assert written == tmp_path / "out" / "study.nii.gz"
    for result in (labels, shares):
        assert result.shape[:3] == image.shape
        assert result.affine.tobytes() == image.affine.tobytes()
        assert all(np.array_equal(result.header[key], image.header[key]) for key in ("srow_x", "srow_y", "srow_z"))
    assert shares.shape[3] == 8
    assert np.allclose(shares.get_fdata().sum(axis=-1), 1, atol=1e-3)


def test_the_same_study_gives_the_same_labels_again(run_folder: Path, held_out_image: Path, tmp_path: Path) -> None:
    one, other = (predict(run_folder, [held_out_image], tmp_path / name)[0] for name in "ab")

    assert np.array_equal(load(one).get_fdata(), load(other).get_fdata())


def test_a_data_set_stands_for_its_cases(run_folder: Path, phantoms: Path, tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []

    written = predict(run_folder, phantoms, tmp_path / "out", split="test",
                      progress=lambda what, done, total, note: told.append((what, note)))  # fmt: skip

    assert [path.name for path in written] == ["c005.nii.gz"]
    assert told[-1] == ("Predicting", "c005") and ("Tiles of this study", "c005") in told


def test_a_dicom_series_is_predicted_on_its_own_grid(run_folder: Path, tmp_path: Path) -> None:
    (written,) = predict(run_folder, [SERIES], tmp_path / "out")

    series = dicom.read_series(SERIES).geometry
    assert written.name == f"{dicom.series_id(SERIES)}.nii.gz"
    assert nifti.read_geometry(written).differences(series, tolerance_mm=1e-3) == []


def test_every_series_of_a_dicom_tree_is_predicted(run_folder: Path, tmp_path: Path) -> None:
    for name in ("small", "lidc"):
        shutil.copytree(SERIES.parent / name, tmp_path / "tree" / name)

    written = predict(run_folder, tmp_path / "tree", tmp_path / "out")

    ids = {dicom.series_id(SERIES), dicom.series_id(SERIES.parent / "lidc")}
    assert {nifti.stem(path) for path in written} == ids


def test_a_data_set_of_other_labels_is_refused(run_folder: Path, phantoms: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(phantoms, tmp_path / "other"))
    manifest = other / "dataset.yaml"
    manifest.write_text(manifest.read_text().replace("spleen: 2", "spleen: 12"))

    with pytest.raises(
        LabelError, match=r"other labels than those of the data set; expected .*spleen 2.*got .*spleen 12"
    ):
        predict(run_folder, other, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert predict(run_folder, other / "images" / "c001.nii.gz", tmp_path / "out")  # the image alone may be predicted


def test_a_data_set_of_images_alone_is_predicted(run_folder: Path, tmp_path: Path) -> None:
    data = import_("dicom", SERIES, tmp_path / "data").path

    assert [path.name for path in predict(run_folder, data, tmp_path / "out")] == ["c0001.nii.gz"]


def test_voxels_that_are_no_numbers_are_refused_by_the_study(run_folder: Path, tmp_path: Path) -> None:
    hu = np.zeros((9, 9, 9), dtype=np.float32)
    hu[4, 4, 4] = np.nan
    nib.Nifti1Image(hu, np.eye(4)).to_filename(tmp_path / "bad.nii.gz")

    with pytest.raises(VoxelError, match=r"study bad.*1 of 729 voxels are NaN or infinite"):
        predict(run_folder, tmp_path / "bad.nii.gz", tmp_path / "out")


def test_two_inputs_of_one_name_are_refused(run_folder: Path, held_out_image: Path, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    twin = shutil.copy(held_out_image, tmp_path / "b" / held_out_image.name)

    with pytest.raises(UsageError, match=r"several inputs would be written to one file; got c005"):
        predict(run_folder, [held_out_image, twin], tmp_path / "out")


def test_a_split_that_is_not_there_is_refused(run_folder: Path, phantoms: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no case of split 'tset'"):
        predict(run_folder, phantoms, tmp_path / "out", split="tset")


def test_nothing_to_predict_is_refused(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to predict"):
        predict(run_folder, [], tmp_path / "out")


def test_a_missing_input_is_named_before_anything_is_predicted(
    run_folder: Path, held_out_image: Path, tmp_path: Path
) -> None:
    with pytest.raises(FileReadError, match="gone"):
        predict(run_folder, [held_out_image, tmp_path / "gone.nii.gz"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_checkpoint_is_refused(run_folder: Path, held_out_image: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--checkpoint: no such checkpoint; expected best or last, got frist"):
        predict(run_folder, held_out_image, tmp_path / "out", checkpoint="frist")


def test_what_is_there_is_kept_and_only_the_rest_is_predicted(run_folder: Path, phantoms: Path, tmp_path: Path) -> None:
    predict(run_folder, phantoms, tmp_path / "out", split="test")
    (before,) = (tmp_path / "out").glob("*.nii.gz")
    stamp = before.stat().st_mtime_ns
    outcomes: list[Any] = []

    written = predict(run_folder, phantoms, tmp_path / "out", on_done=outcomes.extend)

    assert len(written) == 5 and before.stat().st_mtime_ns == stamp
    assert {outcome.item.id: outcome.tries for outcome in outcomes} == {
        "c001": 1, "c002": 1, "c003": 1, "c004": 1, "c005": 0
    }  # fmt: skip


def test_results_of_another_model_are_kept_unless_overwrite_and_by_a_broken_run_in_any_case(
    run_folder: Path, held_out_image: Path, tmp_path: Path
) -> None:
    (written,) = predict(run_folder, held_out_image, tmp_path / "out")
    before = written.read_bytes()
    broken = Path(shutil.copytree(run_folder, tmp_path / "broken"))
    (broken / "checkpoints" / "best.safetensors").write_bytes(b"nothing")

    other = Path(shutil.copytree(run_folder, tmp_path / "other"))
    (other / "recipe.yaml").write_text("# another\n" + (other / "recipe.yaml").read_text())

    with pytest.raises(OutputExistsError, match="--overwrite"):
        predict(other, held_out_image, tmp_path / "out")
    with pytest.raises(CheckpointError, match="corrupted"):
        predict(broken, held_out_image, tmp_path / "out", overwrite=True)
    assert written.read_bytes() == before
    assert predict(run_folder, held_out_image, tmp_path / "out", overwrite=True) == [written]


def test_a_folder_of_something_else_is_refused(run_folder: Path, held_out_image: Path, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.txt").write_text("mine")

    with pytest.raises(OutputExistsError, match="not empty"):
        predict(run_folder, held_out_image, tmp_path / "own")
    with pytest.raises(OutputExistsError, match="not empty"):
        predict(run_folder, held_out_image, run_folder)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_study_that_cannot_be_read_is_set_aside_and_the_rest_go_on(
    run_folder: Path, held_out_image: Path, tmp_path: Path, jobs: int
) -> None:
    (tmp_path / "bad.nii.gz").write_bytes(b"nothing")
    twin = Path(shutil.copy(held_out_image, tmp_path / "good.nii.gz"))
    outcomes: list[Any] = []

    with pytest.raises(MedsegError, match="bad"):
        predict(run_folder, [tmp_path / "bad.nii.gz", twin, held_out_image], tmp_path / "out", jobs=jobs,
                on_done=outcomes.extend)  # fmt: skip

    assert [outcome.error is None for outcome in outcomes] == [False, True, True]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.nii.gz")) == ["c005.nii.gz", "good.nii.gz"]


def test_runs_are_averaged_and_say_so_in_their_origin(run_folder: Path, held_out_image: Path, tmp_path: Path) -> None:
    predict([run_folder, run_folder], held_out_image, tmp_path / "two")
    predict(run_folder, held_out_image, tmp_path / "one")

    one, two = (json.loads((tmp_path / name / "c005.json").read_text())["made_by"] for name in ("one", "two"))
    assert one["model_sha256"] != two["model_sha256"]
    assert (tmp_path / "one/c005.nii.gz").read_bytes() == (tmp_path / "two/c005.nii.gz").read_bytes()


def test_a_study_unlike_the_training_cases_is_predicted_with_a_warning(run_folder: Path, tmp_path: Path) -> None:
    geometry = Geometry((40, 30, 40), np.diag([9.0, 9.0, 2.0, 1.0]))
    hu = np.linspace(0, 1, 48000, dtype=np.float32).reshape(40, 30, 40)
    nifti.write_volume(tmp_path / "thin.nii.gz", Volume(hu, geometry))

    notes = notes_of(run_folder, tmp_path / "thin.nii.gz", tmp_path / "out")

    assert "the values are no HU" in notes and "voxels of 9 x 9 x 2 mm, far from the 11." in notes


def notes_of(run: Path, image: Path, out: Path) -> str:
    outcomes: list[Any] = []
    predict(run, image, out, on_done=outcomes.extend)
    return " ".join(outcomes[0].result.notes)


def test_a_coarse_network_does_not_warn_of_the_voxels_that_it_was_trained_on(
    recipe_file: Path, held_out_image: Path, tmp_path: Path
) -> None:
    train(
        recipe_file, ["plan.spacing_mm=[30,30,30]", "training.steps=1", "absent_structures=allow"], out=tmp_path / "run"
    )
    assert notes_of(tmp_path / "run", held_out_image, tmp_path / "out") == ""
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    for low, high in facts["training"]["spacing_mm"]:
        assert 11 < low <= high < 15  # phantoms differ a little in size

    del facts["training"]["spacing_mm"]  # as of a run of an older version, of which only the grid is known
    (tmp_path / "run" / "run.json").write_text(json.dumps(facts))
    assert "far from the 30 x 30 x 30 mm that the network" in notes_of(
        tmp_path / "run", held_out_image, tmp_path / "old"
    )


def test_measurements_have_a_line_for_every_structure_of_every_study(
    run_folder: Path, phantoms: Path, held_out_image: Path, tmp_path: Path
) -> None:
    predict(run_folder, held_out_image, tmp_path / "out", probabilities=True)

    lines = (tmp_path / "out/measurements.csv").read_text().splitlines()
    assert lines[0].startswith("study,structure,value,volume_ml,expected_ml,low_ml,high_ml,members,")
    assert lines[0].endswith(",promised_dice,expected_dice,expected_dice_low,expected_dice_high")
    assert len(lines) == 1 + len(read_dataset(phantoms).labels.foreground)
    assert all(line.startswith("c005,") for line in lines[1:])


def test_a_study_shorter_than_any_that_was_learned_from_is_said(
    run_folder: Path, held_out_image: Path, tmp_path: Path
) -> None:
    whole = nifti.read_volume(held_out_image)
    part = Volume(whole.hu[:, :, :6], whole.geometry.cropped((0, 0, 0), (*whole.hu.shape[:2], 6)))
    nifti.write_volume(tmp_path / "slab.nii.gz", part)
    outcomes: list[Any] = []

    predict(run_folder, [tmp_path / "slab.nii.gz", held_out_image], tmp_path / "out", on_done=outcomes.extend)

    slab, same = (outcome.result.notes for outcome in outcomes)
    assert any("of the patient along Z, and no training case had less than" in note for note in slab)
    assert not any("no training case" in note for note in same)


def test_a_study_cut_off_at_the_side_is_said_though_there_is_air_around_it(
    run_folder: Path, held_out_image: Path, tmp_path: Path
) -> None:
    whole = nifti.read_volume(held_out_image)
    hu = np.full_like(whole.hu, -1000)
    hu[12:20] = whole.hu[12:20]
    nifti.write_volume(tmp_path / "side.nii.gz", Volume(hu, whole.geometry))

    notes = notes_of(run_folder, tmp_path / "side.nii.gz", tmp_path / "out")

    assert "mm of the patient along X, and no training case had less than" in notes and "axial sections of" in notes
