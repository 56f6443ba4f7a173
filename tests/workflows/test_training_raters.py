"""Several experts in a training: every mode from a data set and a store, partial readings, and who may be predicted."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from medseg.data.patches import PatchDataset, PatchSettings, SamplingConfig
from medseg.data.store import RaterMode, StoredCase
from medseg.errors import ConfigError, UsageError
from medseg.imaging.labels import LabelSet
from medseg.io.manifest import Dataset, LabelFile, read_case, read_dataset, write_dataset
from medseg.io.nifti import write_labels
from medseg.models.raters import RATER_NETWORKS
from medseg.preprocessing.plan import Plan, PreprocessingConfig
from medseg.training.checkpoint import read_checkpoint
from medseg.training.logbook import read_log
from medseg.workflows import plan, predict, preprocess, train
from medseg.workflows.preprocessing import open_store
from medseg.workflows.recipe import Recipe
from medseg.workflows.run import load_predictor, open_run
from medseg.workflows.training_data import open_training
from medseg.workflows.training_raters import named_raters, staple_consensus

MODES = get_args(RaterMode)
TWO = ("training.steps=2", "training.validate_every=2")


@pytest.fixture
def own_data(phantoms: Path, tmp_path: Path) -> Path:
    """A copy of the data set that may be changed."""
    return Path(shutil.copytree(phantoms, tmp_path / "data"))


@pytest.fixture(scope="module")
def store(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raters")
    plan(phantoms, out=folder / "plan.yaml", vram="4G")
    preprocess(phantoms, folder / "plan.yaml", out=folder / "store")
    return folder / "store"


def changed(own_data: Path, **readings: LabelFile | None) -> Dataset:
    """The data set with these raters' readings of every case changed; None takes the reading away."""
    dataset = read_dataset(own_data)
    cases = []
    for case in dataset.cases:
        raters = {name: readings.get(name, file) for name, file in case.raters.items()}
        cases.append(replace(case, raters={
            name: file if file is case.raters[name] or file is None else replace(file, path=case.raters[name].path)
            for name, file in raters.items() if file is not None
        }))  # fmt: skip
    return replace(dataset, cases=tuple(cases))


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_log(run / "log.jsonl") if "loss" in row]


@pytest.mark.parametrize("mode", ["staple", "crowd"])  # the others are trained below, and in test_training
def test_every_mode_trains_from_the_data_set(mode: str, recipe_file: Path, tmp_path: Path) -> None:
    training = train(recipe_file, [f"raters={mode}", *TWO], out=tmp_path / "run")

    assert training.finished and training.best_dice is not None
    assert np.isfinite(losses(tmp_path / "run")).all()
    assert open_run(tmp_path / "run").raters == (("A", "B") if mode in RATER_NETWORKS else ())


@pytest.mark.parametrize("mode", MODES)
def test_the_store_serves_a_mode_as_the_data_set_does(mode: RaterMode, store: Path, phantoms: Path) -> None:
    plan = {"file": str(store / "plan.yaml")}
    (_, data), (_, stored) = (
        open_training(Recipe.model_validate({"data": str(folder), "plan": plan, "raters": mode}))
        for folder in (phantoms, store)
    )
    grid = open_store(store).plan

    from_data, from_store = data.read("c001", grid, mode), stored.read("c001", grid, mode)

    assert from_data.raters == from_store.raters == (() if mode in ("majority", "staple") else ("A", "B"))
    assert torch.equal(from_data.labels[:].short(), from_store.labels[:].short())
    places = [{index: voxels.tolist() for index, voxels in case.places.items()} for case in (from_data, from_store)]
    assert places[0] == places[1]
    settings = PatchSettings(grid.patch, classes=8, sampling=SamplingConfig(), seed=0, random_rater=mode == "random")
    first, same = (PatchDataset([case], None, settings)[0] for case in (from_data, from_store))
    assert first["place"] == same["place"] and torch.equal(first["labels"].short(), same["labels"].short())
    assert named_raters(mode, data, ["c001"]) == named_raters(mode, stored, ["c001"])


def test_an_interrupted_run_goes_on_with_the_same_raters(recipe_file: Path, tmp_path: Path) -> None:
    overrides = ["raters=conditioned", "training.steps=4", "training.validate_every=9"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(recipe_file, overrides, out=whole)
    train(recipe_file, overrides, out=parts, progress=_stop_after_two)
    assert read_checkpoint(parts / "checkpoints" / "last.safetensors").facts["step"] == 2

    train(recipe_file, overrides, out=parts, resume=True)

    ends = [read_checkpoint(run / "checkpoints" / "last.safetensors").facts["sha256"] for run in (whole, parts)]
    assert ends[0] == ends[1]


def _stop_after_two(what: str, done: int, total: int, note: str) -> None:
    if what == "Training" and done == 2:
        os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def heads(recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("raters") / "run"
    train(recipe_file, ["raters=heads", *TWO], out=out)
    return out


def test_a_run_predicts_like_each_of_its_raters(heads: Path, held_out_image: Path, tmp_path: Path) -> None:
    for name, rater in (("A", "A"), ("B", "B"), ("all", None)):
        predict(heads, held_out_image, tmp_path / name, as_rater=rater, probabilities=True)

    contents = {path.parent.parent.name: path.read_bytes() for path in tmp_path.glob("*/probabilities/*.nii.gz")}
    assert len(set(contents.values())) == 3


def test_a_rater_whom_the_run_does_not_know_is_refused_with_those_whom_it_does(heads: Path, run_folder: Path) -> None:
    with pytest.raises(UsageError, match=r"--as-rater: no such rater in this run; expected A, B, got C"):
        load_predictor(heads, as_rater="C")
    with pytest.raises(UsageError, match=r"expected a run trained with raters: heads, conditioned or crowd"):
        load_predictor(run_folder, as_rater="A")


@pytest.mark.parametrize("mode", ["heads", "crowd"])
def test_anonymous_raters_cannot_be_told_apart(mode: str, own_data: Path, recipe_file: Path, tmp_path: Path) -> None:
    write_dataset(replace(read_dataset(own_data), anonymous=True))

    with pytest.raises(ConfigError, match=rf"{mode} needs raters who are the same persons.*Use raters: soft or random"):
        train(recipe_file, [f"data={own_data}", f"raters={mode}"], out=tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize("mode", ["heads", "staple"])
def test_a_single_rater_is_no_crowd(mode: str, own_data: Path, recipe_file: Path, tmp_path: Path) -> None:
    write_dataset(changed(own_data, B=None))

    with pytest.raises(ConfigError, match=r"raters: .*needs .*several raters.*Use raters: random"):
        train(recipe_file, [f"data={own_data}", f"raters={mode}"], out=tmp_path / "run")


def test_a_rater_without_a_training_case_is_not_learned(own_data: Path, recipe_file: Path, tmp_path: Path) -> None:
    dataset = read_dataset(own_data)
    third = replace(dataset.cases[-1], raters={**dataset.cases[-1].raters, "C": dataset.cases[-1].raters["A"]})
    write_dataset(replace(dataset, raters=("A", "B", "C"), cases=(*dataset.cases[:-1], third)))  # C read a test case

    train(recipe_file, [f"data={own_data}", "raters=heads", *TWO], out=tmp_path / "run")

    assert open_run(tmp_path / "run").raters == ("A", "B")


@pytest.mark.parametrize("mode", ["soft", "heads"])
def test_partial_readings_are_trained_on(mode: str, own_data: Path, recipe_file: Path, tmp_path: Path) -> None:
    write_dataset(changed(own_data, B=LabelFile(labelled=("liver",), slices_read=(3, 12))))

    train(recipe_file, [f"data={own_data}", f"raters={mode}", *TWO], out=tmp_path / "run")

    assert np.isfinite(losses(tmp_path / "run")).all()


def test_a_structure_that_nobody_looked_for_is_not_validated(own_data: Path, recipe_file: Path, tmp_path: Path) -> None:
    partly = LabelFile(labelled=("liver", "bone"))
    write_dataset(changed(own_data, A=partly, B=partly))

    train(recipe_file, [f"data={own_data}", "absent_structures=allow", *TWO], out=tmp_path / "run")

    (row,) = [row for row in read_log(tmp_path / "run" / "log.jsonl") if "validation_dice" in row]
    assert set(row["validation_dice"]) == {"liver", "bone"}


def test_a_store_keeps_what_raters_looked_for_and_does_a_case_again_when_that_changes(
    own_data: Path, tmp_path: Path
) -> None:
    plan(own_data, out=tmp_path / "plan.yaml", vram="4G")
    preprocess(own_data, tmp_path / "plan.yaml", out=tmp_path / "store")
    write_dataset(changed(own_data, B=LabelFile(labelled=("liver",))))

    case = preprocess(own_data, tmp_path / "plan.yaml", out=tmp_path / "store").read("c001")

    assert case.raters == ("A", "B") and case.known is not None
    assert case.known.tolist() == [[True] * 8, [True, True] + [False] * 6]
    assert json.loads((tmp_path / "store" / "store.json").read_text())["anonymous"] is False


def test_regions_are_preprocessed(own_data: Path, tmp_path: Path) -> None:
    dataset = read_dataset(own_data)
    reading = read_case(dataset, dataset.cases[0]).raters["A"]
    write_labels(own_data / "liver.nii.gz", reading.mask("liver").astype(np.uint8), reading.geometry)
    regions = LabelFile(masks={"liver": own_data / "liver.nii.gz"})
    write_dataset(replace(dataset, cases=(replace(dataset.cases[0], raters={"A": regions}), *dataset.cases[1:])))
    plan(own_data, out=tmp_path / "plan.yaml", vram="4G")

    case = preprocess(own_data, tmp_path / "plan.yaml", out=tmp_path / "store").read("c001")

    assert case.known is not None and case.known[0].tolist() == [True, True] + [False] * 6
    assert case.labels[:].unique().tolist() == [0, 1]


LABELS = LabelSet({"background": 0, "liver": 1, "spleen": 2})
PLAN = Plan(patch=(4, 4, 4), spacing_mm=(4, 4, 4), window_hu=(-160, 240), mean_hu=0, std_hu=1,
            preprocessing=PreprocessingConfig())  # fmt: skip


def bars(*ends: int) -> torch.Tensor:
    """Class 1 from voxel 2 up to each reader's own end, in a row of ten."""
    labels = torch.zeros(len(ends), 10, 4, 4, dtype=torch.int16)
    for reader, end in enumerate(ends):
        labels[reader, 2:end] = 1
    return labels


def consensus(labels: torch.Tensor, known: list[list[bool]] | None = None) -> StoredCase:
    seen = None if known is None else torch.tensor(known)
    raters = tuple("ABCDE"[: len(labels)])
    case = StoredCase("c1", torch.zeros(1, *labels.shape[1:], dtype=torch.int16), labels, {}, raters, seen)
    return staple_consensus(case, LABELS, PLAN)


def test_staple_trusts_readers_who_agree_with_each_other() -> None:
    case = consensus(bars(6, 6, 9))

    assert case.labels[:][0, :, 0, 0].tolist() == [0, 0, 1, 1, 1, 1, 0, 0, 0, 0]
    assert case.raters == () and sorted(case.places) == [1]


def test_staple_marks_no_voxel_that_nobody_marked_however_coarse_the_grid() -> None:
    coarse = PLAN.model_copy(update={"spacing_mm": (15.0, 15.0, 15.0)})
    labels = bars(9, 10)

    case = staple_consensus(StoredCase("c1", labels[:1], labels, {}, ("A", "B")), LABELS, coarse)

    assert case.labels[:][0, :9, 0, 0].tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 1]


def test_staple_asks_only_those_who_looked_and_leaves_unread_voxels_unknown() -> None:
    labels = bars(6, 6, 6)
    labels[2] = 0
    labels[:, 0] = -1

    case = consensus(labels, known=[[True, True, False], [True, True, False], [True, False, False]])

    assert case.labels[:][0, :, 0, 0].tolist() == [-1, 0, 1, 1, 1, 1, 0, 0, 0, 0]
    assert case.known is not None and case.known.tolist() == [[True, True, False]]
