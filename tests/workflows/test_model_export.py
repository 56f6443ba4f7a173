"""A run's network for programs that have no medseg."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from medseg.errors import FileReadError, UsageError
from medseg.workflows import export, predict
from medseg.workflows.model_export import MODEL_FORMATS, export_model

pytest.importorskip("onnxscript", reason="ONNX is in the extra [onnx]")


@pytest.fixture(scope="module")
def run_folder(learned_run: Path) -> Path:
    return learned_run


@pytest.fixture(scope="module")
def exported(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    for format in MODEL_FORMATS:
        export_model(run_folder, folder / format, format=format)
    return folder


def without_medseg(code: str, *arguments: object) -> None:
    """Runs code in a Python that has no medseg."""
    head = "import runpy, sys; sys.modules['medseg'] = None; "
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", head + code, *map(str, arguments)],
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.fixture(params=["phantom", "real CT"])
def image(request: pytest.FixtureRequest) -> Path:
    if request.param == "phantom":
        return request.getfixturevalue("held_out_image")
    return request.getfixturevalue("shared_data") / "totalseg/example_ct_sm.nii.gz"


@pytest.mark.parametrize("format", ["onnx", "torch-export"])
def test_the_example_predicts_what_medseg_predicts(
    exported: Path, run_folder: Path, image: Path, tmp_path: Path, format: str
) -> None:
    (own,) = predict(run_folder, image, tmp_path / "own")
    (network,) = (exported / format).glob("model.*")

    without_medseg("del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')",
                   exported / format / "predict_without_medseg.py", network, image,
                   tmp_path / "labels.nii.gz")  # fmt: skip

    ours, theirs = nibabel.load(own), nibabel.load(tmp_path / "labels.nii.gz")
    assert np.allclose(ours.affine, theirs.affine, atol=1e-3)
    assert np.mean(np.asarray(ours.dataobj) != np.asarray(theirs.dataobj)) < 1e-3


def test_a_bundle_predicts_the_same_structures(exported: Path, run_folder: Path, image: Path, tmp_path: Path) -> None:
    (own,) = predict(run_folder, image, tmp_path / "own")
    code = """from monai.bundle import run
_, bundle, image, out = sys.argv
run(config_file=bundle + "/configs/inference.json", bundle_root=bundle, images=[image], output_dir=out)"""

    without_medseg(code, exported / "monai-bundle", image, tmp_path / "bundle")

    ours = np.asarray(nibabel.load(own).dataobj)
    theirs = np.asarray(nibabel.load(next((tmp_path / "bundle").glob("*.nii.gz"))).dataobj)
    limit = 0.05 if "example_ct" in image.name else 0.02  # MONAI places patches by another rule, the grid is coarse
    assert np.mean(ours != theirs) < limit


def test_a_file_tells_labels_spacing_and_normalisation(exported: Path) -> None:
    import onnx

    properties = onnx.load(exported / "onnx/model.onnx").metadata_props
    told = json.loads(next(each.value for each in properties if each.key == "medseg"))

    assert told == json.loads((exported / "onnx/metadata.json").read_text())
    assert told["labels"]["background"] == 0 and list(told["labels"]) == told["classes"]
    assert {"spacing_mm", "normalisation", "patch", "overlap", "checkpoint_sha256"} <= set(told)


def test_no_export_names_folders_or_cases(exported: Path, run_folder: Path) -> None:
    texts = [path.read_text() for path in exported.rglob("*.json")]

    assert not any(run_folder.parent.name in text or "c001" in text for text in texts)


def test_folds_become_one_network(run_folder: Path, held_out_image: Path, tmp_path: Path) -> None:
    import shutil

    for fold in (0, 1):
        shutil.copytree(run_folder, tmp_path / f"run/fold_{fold}")

    made = export_model(tmp_path / "run", tmp_path / "out", format="torch-export")

    one = torch.export.load(next((tmp_path / "out").glob("*.pt2"))).module()
    alone = export_model(run_folder, tmp_path / "alone", format="torch-export")
    other = torch.export.load(next((tmp_path / "alone").glob("*.pt2"))).module()
    hu = torch.randn(1, 1, *json.loads((tmp_path / "out/metadata.json").read_text())["patch"]) * 300
    assert made.difference < 1e-3 and alone.difference < 1e-3
    assert torch.allclose(torch.softmax(one(hu), 1), torch.softmax(other(hu), 1), atol=1e-5)


def test_export_is_one_verb_for_runs_and_data_sets(run_folder: Path, tmp_path: Path) -> None:
    made = export("torch-export", run_folder, tmp_path / "out")

    assert made.path == tmp_path / "out" and (tmp_path / "out/model.pt2").is_file()


def test_an_unknown_format_lists_the_known_ones(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="onnx, torch-export, monai-bundle"):
        export_model(run_folder, tmp_path / "out", format="tflite")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileReadError, match="not a run folder"):
        export_model(tmp_path, tmp_path / "out", format="onnx")


def test_an_export_says_that_the_postprocessing_is_not_inside(run_folder: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(run_folder, tmp_path / "run"))
    (run / "postprocessing.yaml").write_text("steps: [{name: drop_small, of: [liver], below_ml: 2}]")
    told: list[str] = []

    export_model(run, tmp_path / "out", format="torch-export", say=told.append)

    metadata = json.loads((tmp_path / "out" / "metadata.json").read_text())
    assert metadata["postprocessing"]["inside"] is False
    assert metadata["postprocessing"]["steps"][0]["below_ml"] == 2
    assert any("postprocessing.yaml" in text and "not inside" in text for text in told)
