"""A cascade from the recipe to the prediction: folds of a coarser run, then a network that is told what they found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from medseg.data.store import StoredCase
from medseg.errors import CheckpointError, ConfigError, FileReadError, UsageError
from medseg.io.manifest import read_dataset
from medseg.io.readers import find_reader
from medseg.models.cascade import Cascade
from medseg.training.checkpoint import read_checkpoint
from medseg.workflows import predict, train
from medseg.workflows.cascading import with_low
from medseg.workflows.cascading_answers import FOLDER
from medseg.workflows.model_export import export_model
from medseg.workflows.recipe import read_recipe
from medseg.workflows.run import LOW, Predictor, Run, open_run
from medseg.workflows.training_data import open_training

COARSE = ["plan.spacing_mm=[18,18,21]", "training.steps=2"]


@pytest.fixture(scope="module")
def low(recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A coarser run of two folds."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("cascade") / "coarse"
    for fold in (0, 1):
        train(recipe_file, COARSE, out=out, fold=fold)
    return out


@pytest.fixture(scope="module")
def told(recipe_file: Path, low: Path) -> tuple[Path, list[str]]:
    """A run on the finer grid that is told what the coarser one finds, and what was said."""
    said: list[str] = []
    train(recipe_file, [f"cascade={low.as_posix()}"], out=low.parent / "full", say=said.append)
    return low.parent / "full", said


def test_each_case_is_predicted_by_the_fold_that_held_it_out(
    told: tuple[Path, list[str]], low: Path, monkeypatch: pytest.MonkeyPatch, recipe_file: Path, tmp_path: Path
) -> None:
    assert not [line for line in told[1] if "has learned from" in line]
    asked: dict[str, set[str]] = {}
    original = Predictor.from_run.__func__  # type: ignore[attr-defined]

    def noted(cls: Any, run: Path, **options: Any) -> Any:
        asked.setdefault(Path(run).name, set())
        return original(cls, run, **options)

    monkeypatch.setattr(Predictor, "from_run", classmethod(noted))
    train(recipe_file, [f"cascade={low.as_posix()}", "training.steps=1"], out=tmp_path / "run")

    assert set(asked) == {"fold_0", "fold_1"}  # never both together


def test_the_run_holds_the_coarser_one_and_predicts_without_it(
    told: tuple[Path, list[str]], low: Path, held_out_image: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(told[0], tmp_path / "moved"))
    assert {path.name for path in (moved / LOW).iterdir()} == {"folds.json", "fold_0", "fold_1"}
    assert isinstance(open_run(moved).build_model(), Cascade)

    (file,) = predict(moved, held_out_image, tmp_path / "p")

    found: Any = nib.load(file)
    original: Any = nib.load(held_out_image)
    assert found.shape == original.shape
    assert np.array_equal(found.affine, original.affine)


def test_what_the_coarser_run_finds_changes_the_answer(told: tuple[Path, list[str]], held_out_image: Path) -> None:
    predictor = Predictor.from_run(told[0], device="cpu")
    study = predictor.standardise(find_reader(held_out_image).read(held_out_image))
    assert study.coarse is not None and study.coarse.shape == study.hu.shape
    assert predictor.low is not None and len(predictor.low.models) == 2

    first: Any = predictor.models[0]
    tile = torch.zeros(1, 2, 16, 16, 16)
    other = tile.clone()
    other[:, 1] = 3
    with torch.no_grad():
        assert not torch.equal(first.eval()(tile), first(other))


def test_an_interrupted_cascade_goes_on_to_the_same_weights(
    told: tuple[Path, list[str]], recipe_file: Path, low: Path, tmp_path: Path
) -> None:
    overrides = [f"cascade={low.as_posix()}"]
    run = Path(shutil.copytree(told[0], tmp_path / "run"))
    for name in ("best", "last"):
        for suffix in ("safetensors", "json"):
            (run / "checkpoints" / f"{name}.{suffix}").unlink()

    train(recipe_file, overrides, out=run, resume=True)

    digests = [read_checkpoint(each / "checkpoints" / "last.safetensors").facts["sha256"] for each in (run, told[0])]
    assert digests[0] == digests[1]


def test_the_coarser_run_is_asked_once_and_again_where_its_answer_is_damaged(
    told: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe_file: Path
) -> None:
    run = open_run(shutil.copytree(told[0], tmp_path / "run"))
    cases = _stored(run, recipe_file)
    said: list[str] = []
    first = with_low(run, cases, said.append, lambda *done: None)
    asked = _counted(monkeypatch)

    again = with_low(run, cases, said.append, lambda *done: None)
    assert (asked, said) == ([], [])
    assert all(torch.equal(a.coarse, b.coarse) for a, b in zip(first, again, strict=True))  # type: ignore[arg-type]

    next((run.folder / FOLDER).iterdir()).write_bytes(b"PK")
    with_low(run, cases, said.append, lambda *done: None)
    assert len(asked) == 1 and "damaged" in said[0]


def test_other_weights_of_the_coarser_run_are_asked_anew(
    told: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe_file: Path
) -> None:
    run = open_run(shutil.copytree(told[0], tmp_path / "run"))
    case = _stored(run, recipe_file)[0]
    asked = _counted(monkeypatch)
    with (run.folder / LOW / "fold_0" / "recipe.yaml").open("a") as stream:
        stream.write("# changed\n")
    with (run.folder / LOW / "fold_1" / "recipe.yaml").open("a") as stream:
        stream.write("# changed\n")

    with_low(run, [case], lambda text: None, lambda *done: None)

    assert len(asked) == 1


def _stored(run: Run, recipe_file: Path) -> list[StoredCase]:
    """The run's training cases on its grid."""
    _, data = open_training(read_recipe(recipe_file))
    return [data.read(case_id, run.plan, "majority") for case_id in data.entries]


def _counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every case that a predictor is asked about."""
    asked: list[int] = []
    original = Predictor.classes

    def classes(self: Predictor, hu: Any, geometry: Any) -> Any:
        asked.append(1)
        return original(self, hu, geometry)

    monkeypatch.setattr(Predictor, "classes", classes)
    return asked


def test_on_the_device_the_same_patches_are_told_the_same(
    told: tuple[Path, list[str]], recipe_file: Path, low: Path, tmp_path: Path
) -> None:
    train(recipe_file, [f"cascade={low.as_posix()}", "training.augment_on=device"], out=tmp_path / "run")

    digests = [read_checkpoint(each / "checkpoints" / "last.safetensors").facts["sha256"]
               for each in (tmp_path / "run", told[0])]  # fmt: skip
    assert digests[0] == digests[1]


def test_a_coarser_run_that_learned_from_all_cases_is_said(recipe_file: Path, tmp_path: Path) -> None:
    said: list[str] = []
    train(recipe_file, [*COARSE, "folds.fold=all"], out=tmp_path / "low")

    train(recipe_file, [f"cascade={(tmp_path / 'low').as_posix()}", "training.steps=1"], out=tmp_path / "run",
          say=said.append)  # fmt: skip

    assert [line for line in said if "has learned from 2 of the 2 cases" in line]


def test_wrong_coarser_runs_are_refused_before_anything_is_written(
    recipe_file: Path, told: tuple[Path, list[str]], low: Path, tmp_path: Path
) -> None:
    with pytest.raises(FileReadError, match="nowhere: not a run folder"):
        train(recipe_file, [f"cascade={(tmp_path / 'nowhere').as_posix()}"], out=tmp_path / "run")
    with pytest.raises(ConfigError, match="a cascade of a cascade"):
        train(recipe_file, [f"cascade={told[0].as_posix()}"], out=tmp_path / "run")
    other = Path(shutil.copytree(low, tmp_path / "other"))
    facts = json.loads((other / "fold_0" / "run.json").read_text())
    facts["labels"] = {"background": 0, "heart": 1}
    facts["mirror_pairs"] = []
    (other / "fold_0" / "run.json").write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match="a low-resolution run of other labels"):
        train(recipe_file, [f"cascade={other.as_posix()}"], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_cascades_of_different_coarser_runs_do_not_predict_together(
    told: tuple[Path, list[str]], tmp_path: Path
) -> None:
    other = Path(shutil.copytree(told[0], tmp_path / "other"))
    recipe = other / "low" / "fold_0" / "recipe.yaml"
    recipe.write_text("# another\n" + recipe.read_text())

    assert len(Predictor.from_run([told[0], told[0]]).models) == 2
    with pytest.raises(CheckpointError, match="differ in the coarser run of their cascades"):
        Predictor.from_run([told[0], other])


def test_a_cascade_is_not_exported_and_the_way_out_is_told(told: tuple[Path, list[str]], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a cascade is two networks .* Export its coarser run, which predicts alone"):
        export_model(told[0], tmp_path / "out", format="torch-export")
    assert export_model(told[0] / LOW, tmp_path / "out", format="torch-export").difference < 1e-3


def test_the_data_set_of_these_tests_has_a_case_held_out(phantoms: Path) -> None:
    assert [entry.split for entry in read_dataset(phantoms).cases].count("test") == 1
