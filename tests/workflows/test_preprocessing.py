"""`preprocess`: finished cases are kept, changed ones done again, and training reads the store as it reads the data."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from medseg.config import write_config
from medseg.errors import ConfigError, FileReadError, InputError, UsageError
from medseg.imaging.labels import LabelSet
from medseg.io.manifest import CaseEntry, Dataset, read_dataset, write_dataset
from medseg.models.unet import UNetConfig
from medseg.workflows import phantom, plan, preprocess, train
from medseg.workflows.plan_file import read_plan
from medseg.workflows.preprocessing import Standardise, Store, open_store
from medseg.workflows.recipe import Recipe
from medseg.workflows.run import open_run
from medseg.workflows.run_lock import locked_folder
from medseg.workflows.training_data import open_training

SERIES = Path(__file__).parents[1] / "data" / "dicom" / "ge_tilt"
TINY: Any = {"name": "unet", "channels": [4, 8, 8], "deep_supervision": 0}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preprocessing")
    path = phantom(folder / "ph", cases=4, experts=2, test=1, spacing_mm=10.0)
    plan(path, out=folder / "plan.yaml", vram="4G")
    preprocess(path, folder / "plan.yaml", out=folder / "store")
    return folder


def written(store: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in store.glob("cases/*/case.json")}


def trained(data: Path, out: Path, **changed: object) -> Path:
    settings = {"data": str(data), "model": TINY, "folds": {"fold": "all"}, "raters": "soft",
                "training": {"steps": 2, "batch": 1, "device": "cpu"}} | changed  # fmt: skip
    train(Recipe.model_validate(settings), out=out)
    return out


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in map(json.loads, (run / "log.jsonl").read_text().splitlines()) if "loss" in row]


def test_every_case_is_stored_with_every_rater(dataset: Path) -> None:
    store = open_store(dataset / "store")
    assert [entry.split for entry in store.cases] == ["train", "train", "train", "test"]
    case = store.read("c001")
    assert len(case.labels) == 2 and case.hu.shape[1:] == case.labels.shape[1:]


def test_a_second_call_does_nothing_and_a_damaged_case_is_done_again(dataset: Path, tmp_path: Path) -> None:
    preprocess(dataset / "ph", dataset / "plan.yaml", out=tmp_path / "s", layout="memmap")
    before = written(tmp_path / "s")
    preprocess(dataset / "ph", dataset / "plan.yaml", out=tmp_path / "s", layout="memmap")
    assert written(tmp_path / "s") == before
    (tmp_path / "s" / "cases" / "c002" / "hu.npy").write_bytes(b"damaged")
    preprocess(dataset / "ph", dataset / "plan.yaml", out=tmp_path / "s", layout="memmap")
    after = written(tmp_path / "s")
    assert [case for case in before if after[case] != before[case]] == ["c002"]


def test_a_changed_label_file_is_read_again(dataset: Path, tmp_path: Path) -> None:
    source = phantom(tmp_path / "ph", cases=2, experts=1, test=0, spacing_mm=10.0)
    plan(source, out=tmp_path / "plan.yaml", vram="4G")
    preprocess(source, tmp_path / "plan.yaml", out=tmp_path / "s")
    before = written(tmp_path / "s")
    (label,) = (tmp_path / "ph").glob("labels/*/c002.nii.gz")
    os.utime(label, ns=(1, 1))
    preprocess(source, tmp_path / "plan.yaml", out=tmp_path / "s")
    after = written(tmp_path / "s")
    assert [case for case in before if after[case] != before[case]] == ["c002"]


def test_training_from_the_store_equals_training_from_the_data(dataset: Path, tmp_path: Path) -> None:
    from_data = trained(dataset / "ph", tmp_path / "a", plan=str(dataset / "plan.yaml"))
    from_store = trained(dataset / "store", tmp_path / "b")
    assert losses(from_store) == pytest.approx(losses(from_data), rel=1e-3)
    assert losses(from_store)


def test_the_plan_fills_in_what_the_recipe_leaves_out(dataset: Path, tmp_path: Path) -> None:
    run = trained(dataset / "ph", tmp_path / "a", plan={"file": str(dataset / "plan.yaml"), "patch": [16, 16, 16]})
    facts = json.loads((run / "run.json").read_text())
    assert facts["plan"]["patch"] == [16, 16, 16]
    assert facts["plan"]["spacing_mm"] == list(open_store(dataset / "store").plan.spacing_mm)
    assert str(dataset) not in (run / "run.json").read_text()


@pytest.mark.parametrize("mode", ["random", "majority", "soft"])
def test_every_rater_mode_reads_the_store(mode: str, dataset: Path, tmp_path: Path) -> None:
    assert all(map(torch.isfinite, map(torch.tensor, losses(trained(dataset / "store", tmp_path / "r", raters=mode)))))


def test_a_store_of_another_plan_is_refused(dataset: Path, tmp_path: Path) -> None:
    text = (dataset / "plan.yaml").read_text()
    (tmp_path / "other.yaml").write_text(text.replace("std_hu: ", "std_hu: 1"))
    with pytest.raises(UsageError, match="another plan"):
        preprocess(dataset / "ph", tmp_path / "other.yaml", out=dataset / "store")
    with pytest.raises(ConfigError, match="another plan"):
        trained(dataset / "store", tmp_path / "r", plan=str(tmp_path / "other.yaml"))


def test_another_grid_than_the_stores_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="spacing_mm is not the store's"):
        trained(dataset / "store", tmp_path / "r", plan={"spacing_mm": [3, 3, 3]})


def test_the_crop_that_a_recipe_names_itself_counts_and_is_refused_where_the_store_has_another(
    dataset: Path, tmp_path: Path
) -> None:
    run = trained(dataset / "ph", tmp_path / "a", plan=str(dataset / "plan.yaml"), preprocessing={"margin_mm": 30})
    assert open_run(run).plan.preprocessing.margin_mm == 30
    with pytest.raises(ConfigError, match=r"preprocessing.margin_mm: margin_mm is not the store's; expected 10"):
        trained(dataset / "store", tmp_path / "r", preprocessing={"margin_mm": 30})


def test_a_patient_in_the_test_set_is_not_learned_from_too(dataset: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(dataset / "ph", tmp_path / "ph"))
    listed = read_dataset(source)
    first, last = listed.cases[0], replace(listed.cases[-1], patient=listed.cases[0].patient)
    write_dataset(replace(listed, cases=(*listed.cases[:-1], last)))
    told = r"a patient is both in the test set .*got hash [0-9a-f]{8}: c004 in the split test, c001 to learn from"
    assert (first.split, last.split) == ("train", "test")
    for call in (
        lambda: plan(source, out=tmp_path / "plan.yaml"),
        lambda: preprocess(source, dataset / "plan.yaml", out=tmp_path / "s"),
        lambda: trained(source, tmp_path / "r"),
    ):
        with pytest.raises(InputError, match=told):
            call()


def test_a_plan_of_another_data_set_is_refused(dataset: Path, tmp_path: Path) -> None:
    text = (dataset / "plan.yaml").read_text()
    (tmp_path / "other.yaml").write_text(text.replace("spleen: 2", "spleen: 9", 1))
    with pytest.raises(ConfigError, match="a plan of another data set"):
        preprocess(dataset / "ph", tmp_path / "other.yaml", out=tmp_path / "s")
    with pytest.raises(ConfigError, match="a plan of another data set"):
        trained(dataset / "ph", tmp_path / "r", plan=str(tmp_path / "other.yaml"))


def of_another_data_set(dataset: Path, folder: Path) -> Path:
    """A data set of the same labels and ids whose images are others."""
    return phantom(folder / "other", cases=3, experts=2, test=0, seed=9, spacing_mm=11.0)


def test_a_plan_made_for_other_images_is_refused_unless_that_is_wanted(dataset: Path, tmp_path: Path) -> None:
    other = of_another_data_set(dataset, tmp_path)
    told: list[str] = []
    with pytest.raises(ConfigError, match=r"another data set; got 0 of its 3 cases are among the 3 .*--other-data"):
        preprocess(other, dataset / "plan.yaml", out=tmp_path / "s")
    with pytest.raises(ConfigError, match=r"a plan of another data set.*plan\.other_data=true"):
        trained(other, tmp_path / "r", plan=str(dataset / "plan.yaml"))
    assert not (tmp_path / "s").exists() and not (tmp_path / "r").exists()

    run = trained(other, tmp_path / "r", plan={"file": str(dataset / "plan.yaml"), "other_data": True})
    preprocess(other, dataset / "plan.yaml", out=tmp_path / "s", other_data=True, say=told.append)

    assert open_run(run).plan.spacing_mm == read_plan(dataset / "plan.yaml").stage.spacing_mm
    assert len(told) == 1 and "The plan is of another data set (0 of its 3 cases are among the 3 here)" in told[0]
    with pytest.raises(UsageError, match=r"this is a store of another data set; got 0 of its 4 cases"):
        preprocess(other, dataset / "plan.yaml", out=dataset / "store", other_data=True)


def test_a_plan_outlives_cases_that_come_and_go_and_gives_no_id_away(dataset: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(dataset / "ph", tmp_path / "ph"))
    listed = read_dataset(source)
    write_dataset(replace(listed, cases=listed.cases[1:]))

    assert len(preprocess(source, dataset / "plan.yaml", out=tmp_path / "s").cases) == 3
    codes = read_plan(dataset / "plan.yaml").data
    assert codes is not None and [len(code) for code in codes.split()] == [4, 4, 4]
    assert "c001" not in (dataset / "plan.yaml").read_text()


def test_an_older_plan_is_taken_with_a_sentence(dataset: Path, tmp_path: Path) -> None:
    write_config(tmp_path / "old.yaml", read_plan(dataset / "plan.yaml").model_copy(update={"data": None}))
    told: list[str] = []
    preprocess(dataset / "ph", tmp_path / "old.yaml", out=tmp_path / "s", say=told.append)
    assert len(told) == 1 and "An older version wrote the plan" in told[0]


def test_a_store_that_somebody_writes_to_is_refused(dataset: Path, tmp_path: Path) -> None:
    with (
        locked_folder(tmp_path / "s"),
        pytest.raises(UsageError, match="s: another preprocessing is writing into this folder"),
    ):
        preprocess(dataset / "ph", dataset / "plan.yaml", out=tmp_path / "s")


def test_what_a_killed_write_left_at_the_top_does_not_keep_the_next_call_out(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / ".plan-0123abcd.yaml").write_text("half")
    preprocess(dataset / "ph", dataset / "plan.yaml", out=tmp_path / "s")
    assert not (tmp_path / "s" / ".plan-0123abcd.yaml").exists()


def test_auto_keeps_the_layout_that_is_there_and_another_one_leaves_nothing_behind(
    dataset: Path, tmp_path: Path
) -> None:
    preprocess(dataset / "ph", dataset / "plan.yaml", out=tmp_path / "s", layout="blosc2")
    (tmp_path / "s" / "store.json").unlink()  # as a kill leaves it
    before = written(tmp_path / "s")

    assert preprocess(dataset / "ph", dataset / "plan.yaml", out=tmp_path / "s").layout == "blosc2"
    assert written(tmp_path / "s") == before
    preprocess(dataset / "ph", dataset / "plan.yaml", out=tmp_path / "s", layout="memmap")
    assert list(tmp_path.glob("s/cases/*/hu.npy")) and not list(tmp_path.glob("s/cases/*/*.b2nd"))


def test_an_image_that_is_gone_costs_its_own_case_alone(dataset: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(dataset / "ph", tmp_path / "ph"))
    preprocess(source, dataset / "plan.yaml", out=tmp_path / "s")
    read_dataset(source).cases[1].image.unlink()
    with pytest.raises(InputError, match=r"c002: 1 of 4 cases could not be preprocessed; the others are stored"):
        preprocess(source, dataset / "plan.yaml", out=tmp_path / "s")


def test_a_rater_who_is_renamed_is_read_again(dataset: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(dataset / "ph", tmp_path / "ph"))
    preprocess(source, dataset / "plan.yaml", out=tmp_path / "s")
    listed = read_dataset(source)
    renamed = tuple(replace(case, raters=dict(zip("XY", case.raters.values(), strict=True))) for case in listed.cases)
    write_dataset(replace(listed, raters=("X", "Y"), cases=renamed))

    assert preprocess(source, dataset / "plan.yaml", out=tmp_path / "s").readers("c001") == ("X", "Y")


def test_a_slice_that_is_replaced_in_place_makes_a_series_another_source(tmp_path: Path) -> None:
    series = Path(shutil.copytree(SERIES, tmp_path / "series"))
    entry = CaseEntry("c1", series, {})
    work = Standardise(Dataset(tmp_path, LabelSet({"background": 0, "liver": 1}), (), (entry,)), tmp_path,
                       cast(Any, None), "memmap", "digest", {"c1": entry})  # fmt: skip
    before = work.source("c1")
    os.utime(sorted(path for path in series.rglob("*") if path.is_file())[0], ns=(1, 1))
    assert work.source("c1") != before


def test_a_fold_is_normalised_by_its_own_training_cases_from_either_source(dataset: Path) -> None:
    plans = []
    for folder, wish in ((dataset / "ph", {"file": str(dataset / "plan.yaml")}), (dataset / "store", {})):
        recipe, data = open_training(Recipe.model_validate({"data": str(folder), "plan": wish}))
        plans.append(data.fit(["c001", "c003"], recipe, lambda done, total: None))

    assert plans[1].mean_hu == pytest.approx(plans[0].mean_hu, abs=0.002)
    assert plans[1].std_hu == pytest.approx(plans[0].std_hu, abs=0.002)
    assert abs(plans[1].mean_hu - read_plan(dataset / "plan.yaml").mean_hu) > 0.01


def test_a_store_of_an_older_version_still_serves_and_says_what_it_does_not_know(dataset: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(dataset / "store", tmp_path / "s"))
    for file in store.glob("cases/*/case.json"):
        facts = json.loads(file.read_text())
        del facts["code"], facts["labelled_hu"], facts["sha256"]["voted.npz"]
        file.write_text(json.dumps(facts))
    before, told = written(store), list[str]()

    preprocess(dataset / "ph", dataset / "plan.yaml", out=store, say=told.append)
    recipe, data = open_training(Recipe.model_validate({"data": str(store), "raters": "majority"}))

    assert written(store) == before and "An older version wrote the store" in told[0]
    assert data.fit(["c001"], recipe, lambda done, total: None).mean_hu == read_plan(dataset / "plan.yaml").mean_hu
    places = []
    for folder in (store, dataset / "store"):
        _, source = open_training(Recipe.model_validate({"data": str(folder)}))
        case = source.read("c001", cast(Any, None), "majority")
        places.append({index: voxels.tolist() for index, voxels in case.places.items()})
    assert places[0] == places[1]


def test_a_folder_with_other_things_is_left_alone(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="something else"):
        preprocess(dataset / "ph", dataset / "plan.yaml", out=tmp_path)


def test_two_processes_store_what_one_does(dataset: Path, tmp_path: Path) -> None:
    store: Store = preprocess(dataset / "ph", dataset / "plan.yaml", out=tmp_path / "s", jobs=2)
    alone = open_store(dataset / "store")
    assert all(torch.equal(store.read(e.id).hu[:], alone.read(e.id).hu[:]) for e in store.cases)


def test_a_store_that_was_cut_off_is_no_store_yet(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "cases").mkdir()
    with pytest.raises(FileReadError, match="no store here"):
        open_store(tmp_path)


@pytest.fixture(scope="module")
def two_stages(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set's plan with a coarser stage, and a store of it."""
    folder = tmp_path_factory.mktemp("stages")
    found = read_plan(dataset / "plan.yaml")
    x, y, z = (round(1.5 * mm, 3) for mm in found.stage.spacing_mm)
    coarse = found.stage.model_copy(update={"spacing_mm": (x, y, z), "patch": (16, 16, 16), "batch": 3,
                                            "model": UNetConfig(**TINY)})  # fmt: skip
    write_config(folder / "plan.yaml", found.model_copy(update={"low_resolution": coarse}))
    preprocess(dataset / "ph", folder / "plan.yaml", out=folder / "low", stage="low")
    return folder


def test_the_coarser_stage_is_stored_on_its_own_grid(dataset: Path, two_stages: Path) -> None:
    full, low = open_store(dataset / "store"), open_store(two_stages / "low")
    assert (full.stage, low.stage) == ("full", "low")
    shapes = [store.read("c001").hu.shape[1:] for store in (full, low)]
    assert [a / b for a, b in zip(*shapes, strict=True)] == pytest.approx([1.5] * 3, rel=0.05)


@pytest.mark.parametrize("source", ["data", "store"])
def test_the_coarser_stage_trains_as_it_was_planned(
    source: str, dataset: Path, two_stages: Path, tmp_path: Path
) -> None:
    plan_file = {"file": str(two_stages / "plan.yaml"), "stage": "low"}
    where = dataset / "ph" if source == "data" else two_stages / "low"
    recipe = Recipe.model_validate({"data": str(where), "plan": plan_file if source == "data" else {},
                                    "folds": {"fold": "all"}, "training": {"steps": 1, "device": "cpu"}})  # fmt: skip
    train(recipe, out=tmp_path / "r")
    run = open_run(tmp_path / "r")
    coarse = read_plan(two_stages / "plan.yaml").low_resolution
    assert coarse is not None
    assert (run.plan.spacing_mm, run.plan.patch) == (coarse.spacing_mm, coarse.patch)
    assert run.recipe.training.batch == 3
    assert run.recipe.model == coarse.model


def test_a_stage_that_is_not_there_is_refused(dataset: Path, two_stages: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the plan has no low-resolution stage"):
        preprocess(dataset / "ph", dataset / "plan.yaml", out=tmp_path / "s", stage="low")
    with pytest.raises(UsageError, match="--stage: unknown stage; expected full or low"):
        preprocess(dataset / "ph", dataset / "plan.yaml", out=tmp_path / "s", stage="middle")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="a store of another stage; expected low, got full"):
        trained(two_stages / "low", tmp_path / "r", plan={"stage": "full"})
    with pytest.raises(ConfigError, match="a stage of no plan"):
        trained(dataset / "ph", tmp_path / "r", plan={"stage": "low"})
    assert not (tmp_path / "r").exists() and not (tmp_path / "s").exists()
