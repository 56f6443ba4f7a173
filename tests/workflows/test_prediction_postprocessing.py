"""`predict` in a run that has a `postprocessing.yaml`: applied, recorded, part of the origin, left out on request."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from medseg.errors import ConfigError, OutputExistsError
from medseg.io.nifti import read_volume
from medseg.workflows import Predictor, predict
from medseg.workflows.invariance_models import open_model
from medseg.workflows.postprocessing_file import FILE


@pytest.fixture(scope="module")
def run(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of four steps, whose labels are in many pieces; only the largest piece of each label is to stay."""
    folder = tmp_path_factory.mktemp("postprocessed") / "run"
    shutil.copytree(run_folder, folder)
    labels = json.loads((folder / "run.json").read_text())["labels"]
    names = [name for name in labels if name != "background"]
    steps = "".join(f"- {{name: keep_largest, of: [{name}]}}\n" for name in names)
    (folder / FILE).write_text(f"steps:\n{steps}")
    return folder


def _labels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)  # type: ignore[attr-defined]


def _record(folder: Path) -> dict:
    (path,) = folder.glob("*.json")
    return json.loads(path.read_text())


def test_of_every_label_one_piece_is_left_and_the_record_says_so(run: Path, held_out_image: Path, tmp_path: Path):
    (after,) = predict(run, held_out_image, tmp_path / "after")
    (before,) = predict(run, held_out_image, tmp_path / "before", postprocessing=False)

    for value in np.unique(_labels(before))[1:]:
        assert ndimage.label(_labels(after) == value, np.ones((3, 3, 3)))[1] <= 1
    told = _record(tmp_path / "after")["postprocessing"]
    assert told[0]["step"] == "only the largest piece"
    assert sum(step["voxels"] for step in told) >= np.count_nonzero(_labels(after) != _labels(before)) > 0
    assert _record(tmp_path / "before")["postprocessing"] == []


def test_results_without_postprocessing_are_of_another_origin(run: Path, held_out_image: Path, tmp_path: Path):
    predict(run, held_out_image, tmp_path / "out")
    with pytest.raises(OutputExistsError):
        predict(run, held_out_image, tmp_path / "out", postprocessing=False)
    assert len(_record(tmp_path / "out")["made_by"]["postprocessing_sha256"]) == 64


def test_the_predictor_in_python_postprocesses_too(run: Path, held_out_image: Path, tmp_path: Path):
    (written,) = predict(run, held_out_image, tmp_path / "out")
    prediction = Predictor.from_run(run)(read_volume(held_out_image))
    np.testing.assert_array_equal(prediction.labels, _labels(written))
    assert Predictor.from_run(run, postprocessing=False).steps == ()


def test_runs_that_disagree_are_not_postprocessed_and_it_is_noted(
    run: Path, run_folder: Path, held_out_image: Path, tmp_path: Path
):
    predict([run, run_folder], held_out_image, tmp_path / "out")
    assert "nothing was postprocessed, because the runs do not agree on it" in _record(tmp_path / "out")["notes"]
    assert "postprocessing_sha256" not in _record(tmp_path / "out")["made_by"]


def test_a_mistake_in_the_file_ends_the_prediction_before_anything_is_written(
    run: Path, held_out_image: Path, tmp_path: Path
):
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    (folder / FILE).write_text("steps: [{name: keep_larger, of: [liver]}]")
    with pytest.raises(ConfigError, match="keep_larger"):
        predict(folder, held_out_image, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_for_other_weights_is_noted(run: Path, held_out_image: Path, tmp_path: Path):
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    (folder / FILE).write_text("model_sha256: abc\n" + (run / FILE).read_text())
    predict(folder, held_out_image, tmp_path / "out")
    assert any("another checkpoint" in note for note in _record(tmp_path / "out")["notes"])


def test_scores_that_were_kept_are_of_the_run_with_its_postprocessing(run: Path, run_folder: Path):
    digests = [open_model(folder, checkpoint="best", device="cpu").digest for folder in (run, run_folder)]
    assert None not in digests and digests[0] != digests[1]
