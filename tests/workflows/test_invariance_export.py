"""Inputs for other tools, and their predictions back."""

import json
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import FileReadError, GeometryError, LabelError, OutputExistsError, UsageError
from medseg.io.nifti import read_label_values, read_volume, write_labels
from medseg.workflows.dose_response import invariance
from medseg.workflows.invariance_export import export_inputs
from medseg.workflows.readings_labels import ModelLabels
from tests.support.sided_blocks import by_side, make_dataset

TESTED = {"transforms": "rotation_z,flip_x,hu_shift,slice_thickness",
          "doses": ["rotation_z=30", "hu_shift=-60", "slice_thickness=8"]}  # fmt: skip


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("blocks"), cases=2)


@pytest.fixture(scope="module")
def inputs(dataset, tmp_path_factory) -> Path:
    return export_inputs(dataset, out=tmp_path_factory.mktemp("layout") / "inputs", **TESTED)


@pytest.fixture(autouse=True)
def no_page(monkeypatch):
    monkeypatch.setattr("medseg.workflows.invariance_files.invariance_page", lambda result, pictures: "")
    monkeypatch.setattr("medseg.workflows.invariance_files.save", lambda figure, path: None)


def predict_all(inputs: Path, out: Path, left_out=()) -> Path:
    for path in inputs.rglob("*.nii.gz"):
        name = path.relative_to(inputs).as_posix()
        if name not in left_out:
            volume = read_volume(path)
            write_labels(out / name, by_side(volume), volume.geometry)
    return out


def test_the_layout_has_a_folder_for_each_dose_and_one_for_the_unchanged_inputs(inputs):
    names = {path.relative_to(inputs).as_posix() for path in inputs.rglob("*.nii.gz")}
    folders = ("identity", "rotation_z/30", "flip_x/1", "hu_shift/-60", "slice_thickness/8")
    assert names == {f"{folder}/c{case}.nii.gz" for folder in folders for case in range(2)}


def test_the_index_says_what_was_done_and_nothing_of_a_path(inputs, dataset):
    text = (inputs / "invariance_inputs.json").read_text()
    index = json.loads(text)
    assert index["transforms"]["rotation_z"]["doses"] == [0, 30]
    assert index["files"]["slice_thickness/8/c0.nii.gz"]["canvas"]["shape"] == [20, 14, 5]
    assert index["files"]["flip_x/1/c0.nii.gz"]["mirrored"] is True
    assert str(dataset.parent) not in text


def test_predictions_of_the_files_score_as_the_model_itself(dataset, inputs, tmp_path):
    folder = predict_all(inputs, tmp_path / "by_side")
    files = invariance(None, dataset, predictions=folder, out=tmp_path / "files", images=False)
    model = invariance(by_side, dataset, out=tmp_path / "model", images=False, **TESTED)
    assert files["results"] == model["results"]


def test_without_options_the_doses_are_those_that_have_a_folder(dataset, inputs, tmp_path):
    folder = predict_all(inputs, tmp_path / "tool")
    result = invariance(None, dataset, predictions=folder, out=tmp_path / "out", images=False)
    doses = {name: facts["doses"] for name, facts in result["config"]["transforms"].items()}
    assert doses == {"rotation_z": [0, 30], "flip_x": [0, 1], "hu_shift": [-60, 0], "slice_thickness": [0, 8]}


def test_missing_predictions_are_listed_and_refused(dataset, inputs, tmp_path):
    folder = predict_all(inputs, tmp_path / "tool", left_out=("rotation_z/30/c1.nii.gz",))
    with pytest.raises(FileReadError, match=r"1 of 10 predictions are missing; got no rotation_z/30/c1.nii.gz"):
        invariance(None, dataset, predictions=folder, out=tmp_path / "out", images=False)


def test_missing_predictions_are_left_out_on_request(dataset, inputs, tmp_path):
    folder = predict_all(inputs, tmp_path / "tool", left_out=("rotation_z/30/c1.nii.gz", "identity/c0.nii.gz"))
    result = invariance(None, dataset, predictions=folder, out=tmp_path / "out", images=False, allow_missing=True)
    curve = result["results"]["tool"]["curves"]["hu_shift"]["left"]["truth"]
    assert [point["n"] for point in curve] == [1, 1]  # c0 has no prediction to compare with, so all of it is left out
    assert "rotation_z" in result["config"]["transforms"]
    assert [point["dose"] for point in result["results"]["tool"]["curves"]["rotation_z"]["left"]["truth"]] == [0]
    assert result["design"]["cases_without_untransformed"] == {"tool": ["c0"]}
    assert any("2 predictions of tool are missing" in note for note in result["notes"])


def test_predictions_on_another_grid_than_their_input_are_refused(dataset, inputs, tmp_path):
    folder = predict_all(inputs, tmp_path / "tool")
    volume = read_volume(inputs / "identity/c0.nii.gz")
    write_labels(folder / "rotation_z/30/c0.nii.gz", by_side(volume), volume.geometry)
    with pytest.raises(GeometryError, match=r"rotation_z/30/c0.nii.gz: the label map lies on another grid"):
        invariance(None, dataset, predictions=folder, out=tmp_path / "out", images=False)


@pytest.mark.parametrize(("folder", "message"), [
    ("rotate_z/30", "unknown transform 'rotate_z'"),
    ("rotation_z/half", "the folder's name is no dose"),
    ("rotation_z/0", "a dose that changes nothing"),
    ("rotation_z/400", "a dose of rotation_z is out of range"),
    ("identity", "no folder of a transform"),
])  # fmt: skip
def test_a_folder_that_means_nothing_is_named(dataset, tmp_path, folder, message):
    (tmp_path / "tool" / folder).mkdir(parents=True)
    with pytest.raises(UsageError, match=message):
        invariance(None, dataset, predictions=tmp_path / "tool", out=tmp_path / "out")


def test_a_folder_that_is_not_there_is_named(dataset, tmp_path):
    with pytest.raises(FileReadError, match="nowhere: no such folder"):
        invariance(None, dataset, predictions=tmp_path / "nowhere", out=tmp_path / "out")


def test_inputs_are_not_written_over_something_else(dataset, inputs):
    with pytest.raises(OutputExistsError):
        export_inputs(dataset, out=inputs, transforms="blur")


def test_the_same_seed_writes_the_same_bytes(dataset, tmp_path):
    for name in ("a", "b"):
        export_inputs(dataset, out=tmp_path / name, transforms="noise", doses=["noise=0.1"], cases=1, seed=4)
    first, second = (tmp_path / name / "noise/0.1/c0.nii.gz" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_two_folders_are_compared(dataset, inputs, tmp_path):
    ours, theirs = (predict_all(inputs, tmp_path / name) for name in ("ours", "theirs"))
    path = theirs / "flip_x/1/c0.nii.gz"
    volume = read_volume(inputs / "flip_x/1/c0.nii.gz")
    write_labels(path, np.zeros(volume.hu.shape, dtype=np.uint8), volume.geometry)
    result = invariance(None, dataset, predictions=ours, versus=[theirs], out=tmp_path / "out", images=False)
    points = result["versus"]["theirs"]["flip_x"]["all structures"]["truth"]["doses"]
    assert [point["difference"] for point in points] == [0, 0.5]


def test_a_map_says_what_another_tools_values_mean(dataset, inputs, tmp_path):
    folder = predict_all(inputs, tmp_path / "tool")
    for path in folder.rglob("*.nii.gz"):
        labels, geometry = read_label_values(path)
        write_labels(path, labels * 10 + 5 * (labels > 0), geometry)  # left 15, right 25
    mapped = invariance(None, dataset, predictions=folder, out=tmp_path / "mapped", images=False,
                        model_labels=ModelLabels(labels={"15": "left", "25": "right"}))  # fmt: skip
    own = invariance(by_side, dataset, out=tmp_path / "model", images=False, **TESTED)
    assert mapped["results"]["tool"] == own["results"]["by_side"]


def test_a_structure_that_nothing_becomes_was_not_looked_for(dataset, inputs, tmp_path):
    folder = predict_all(inputs, tmp_path / "tool")
    result = invariance(None, dataset, predictions=folder, out=tmp_path / "out", images=False,
                        model_labels=ModelLabels(labels={"1": "left"}, ignore="rest"))  # fmt: skip
    assert list(result["results"]["tool"]["curves"]["rotation_z"]) == ["all structures", "left"]


def test_a_value_that_the_map_does_not_know_is_refused(dataset, inputs, tmp_path):
    folder = predict_all(inputs, tmp_path / "tool")
    with pytest.raises(
        LabelError, match=r"identity/c0\.nii\.gz: structures or values that the map of the model's labels"
    ):
        invariance(None, dataset, predictions=folder, out=tmp_path / "out", images=False,
                   model_labels=ModelLabels(labels={"1": "left"}))  # fmt: skip


def test_a_map_of_labels_is_refused_for_a_function(dataset, tmp_path):
    with pytest.raises(UsageError, match="a map of labels is for --predictions only"):
        invariance(by_side, dataset, out=tmp_path / "out", model_labels=ModelLabels(labels={"1": "left"}))
