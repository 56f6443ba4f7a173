"""`train --fold`: folds of a run under one folder, drawn once; wrong folds and a busy folder are refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from medseg.cli import main
from medseg.data.folds import read_folds
from medseg.errors import ConfigError, InputError, LabelError, OutputExistsError, UsageError
from medseg.io.manifest import Dataset, read_dataset, write_dataset
from medseg.training.checkpoint import read_checkpoint
from medseg.workflows import predict, train, train_folds
from medseg.workflows.run import load_predictor
from medseg.workflows.run_lock import locked_folder

SHORT = ["training.steps=1"]
FREE = "plan={patch: [16, 16, 16], window_hu: [-160, 240]}"  # the grid is fitted


@pytest.fixture(scope="module")
def run_of_folds(recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both folds of a run, on a grid that was fitted."""
    out = tmp_path_factory.mktemp("of-folds") / "run"
    train_folds(recipe_file, [*SHORT, FREE], out=out)
    return out


@pytest.fixture
def own_data(phantoms: Path, tmp_path: Path) -> Dataset:
    return read_dataset(shutil.copytree(phantoms, tmp_path / "data"))


def data_override(dataset: Dataset) -> str:
    return f"data={dataset.root.as_posix()}"


def test_each_fold_is_a_run_that_validates_on_its_own_cases(run_of_folds: Path) -> None:
    folds = read_folds(run_of_folds / "folds.json")

    for number in (0, 1):
        folder = run_of_folds / f"fold_{number}"
        rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        (validated,) = [row["cases"] for row in rows if "cases" in row]
        assert sorted(validated) == folds[number]
        assert read_folds(folder / "folds.json") == folds


def test_folds_share_a_grid_and_predict_together(run_of_folds: Path) -> None:
    predictor = load_predictor(run_of_folds)

    assert len(predictor.models) == 2


def test_a_run_of_folds_predicts_files(run_of_folds: Path, phantoms: Path, tmp_path: Path) -> None:
    (written,) = predict(run_of_folds, phantoms / "images" / "c001.nii.gz", tmp_path / "predictions")

    assert written.is_file()


def test_a_later_fold_keeps_the_folds_whatever_its_seed(run_of_folds: Path, recipe_file: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(run_of_folds, tmp_path / "run"))

    for seed in (3, 4, 5):
        train(recipe_file, [*SHORT, FREE, f"training.seed={seed}"], out=out, fold=1, overwrite=True)

    assert read_folds(out / "fold_1" / "folds.json") == read_folds(run_of_folds / "folds.json")


def test_overwriting_a_fold_leaves_the_others(run_of_folds: Path, recipe_file: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(run_of_folds, tmp_path / "run"))

    train(recipe_file, [FREE, "training.steps=2"], out=out, fold=0, overwrite=True)

    steps = [read_checkpoint(out / f"fold_{k}" / "checkpoints" / "last.safetensors").facts["step"] for k in (0, 1)]
    assert steps == [2, 1]


def test_all_is_written_in_the_folder_itself_without_validation(recipe_file: Path, tmp_path: Path) -> None:
    training = train(recipe_file, SHORT, out=tmp_path / "run", fold="all")

    assert training.run.folder == tmp_path / "run" and training.best_dice is None
    assert read_folds(tmp_path / "run" / "folds.json") == [["c001", "c002", "c003", "c004"]]


def test_resuming_all_folds_trains_those_that_are_missing(
    run_of_folds: Path, recipe_file: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(run_of_folds, tmp_path / "run"))
    shutil.rmtree(out / "fold_1")

    trainings = train_folds(recipe_file, [*SHORT, FREE], out=out, resume=True)

    assert [training.run.folder.name for training in trainings] == ["fold_0", "fold_1"]
    assert all(training.finished for training in trainings)


def test_folds_of_a_file_are_taken(recipe_file: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('[["c004"], ["c001", "c002", "c003"]]')

    training = train(recipe_file, [*SHORT, f"folds.file={(tmp_path / 'mine.json').as_posix()}"], out=tmp_path / "run")

    assert read_folds(training.run.folds_file) == [["c004"], ["c001", "c002", "c003"]]


# ---- refused


@pytest.mark.parametrize("change", ["lost", "gained"])
def test_a_fold_of_other_cases_is_refused(
    run_of_folds: Path, recipe_file: Path, own_data: Dataset, tmp_path: Path, change: str
) -> None:
    out = Path(shutil.copytree(run_of_folds, tmp_path / "run"))
    shutil.rmtree(out / "fold_1")
    new = replace(own_data.entry("c001"), id="c050", patient="c050")
    cases = own_data.cases[1:] if change == "lost" else (*own_data.cases, new)
    write_dataset(replace(own_data, cases=cases))
    told = {"lost": r"got 3, without c001\.", "gained": r"got 5, and besides c050\."}

    with pytest.raises(
        InputError, match=r"run/folds\.json: .*other training cases.*" + told[change] + ".*split: later"
    ):
        train(recipe_file, [*SHORT, FREE, data_override(own_data)], out=out, fold=1)
    assert not (out / "fold_1").exists()


def test_going_on_says_which_cases_are_new_and_refuses_a_patient_in_two_folds(
    recipe_file: Path, own_data: Dataset, tmp_path: Path
) -> None:
    train(recipe_file, [*SHORT, data_override(own_data)], out=tmp_path / "run")
    new = replace(own_data.entry("c001"), id="c050", patient="c050")
    write_dataset(replace(own_data, cases=(*own_data.cases, new)))
    said: list[str] = []

    train(recipe_file, [*SHORT, data_override(own_data)], out=tmp_path / "run", resume=True, say=said.append)

    assert "New in the data set and no part of this run: c050." in said
    one, other = (fold[0] for fold in read_folds(tmp_path / "run" / "folds.json"))
    cases = [replace(case, patient="x") if case.id in (one, other) else case for case in own_data.cases]
    write_dataset(replace(own_data, cases=tuple(cases)))
    with pytest.raises(InputError, match=r"a patient or group is in several folds"):
        train(recipe_file, [*SHORT, data_override(own_data)], out=tmp_path / "run", resume=True)


def test_a_patient_in_two_folds_is_refused_without_a_name(recipe_file: Path, own_data: Dataset, tmp_path: Path) -> None:
    cases = [replace(case, patient="Miller") if case.id in ("c001", "c004") else case for case in own_data.cases]
    write_dataset(replace(own_data, cases=tuple(cases)))
    (tmp_path / "mine.json").write_text('[["c001", "c002"], ["c003", "c004"]]')
    mine = f"folds.file={(tmp_path / 'mine.json').as_posix()}"

    with pytest.raises(InputError, match=r"hash [0-9a-f]{8}: c001 in fold 0 and c004 in fold 1") as refused:
        train(recipe_file, [*SHORT, mine, data_override(own_data)], out=tmp_path / "run", fold=0)
    assert "Miller" not in str(refused.value) and not (tmp_path / "run").exists()


def test_other_folds_than_those_of_the_run_are_refused(run_of_folds: Path, recipe_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"other folds than those of this run; expected 2 folds.*got count 3"):
        train(recipe_file, [*SHORT, FREE, "folds.count=3"], out=run_of_folds, fold=1, overwrite=True)
    with pytest.raises(ConfigError, match=r"plan\.spacing_mm: the folds of this run are on another grid"):
        train(recipe_file, SHORT, out=run_of_folds, fold=1, overwrite=True)


def test_a_run_of_its_own_takes_no_folds_and_a_run_of_folds_is_not_overwritten(
    run_of_folds: Path, run_folder: Path, recipe_file: Path
) -> None:
    with pytest.raises(OutputExistsError, match=r"run: this folder holds a run of its own"):
        train(recipe_file, out=run_folder, fold=0)
    with pytest.raises(OutputExistsError, match=r"expected a run folder, got a run of folds folder"):
        train(recipe_file, out=run_of_folds, overwrite=True)


@pytest.mark.parametrize("fold", ["7", "-1", "one"])
def test_a_fold_that_is_not_there_is_one_line(
    recipe_file: Path, tmp_path: Path, fold: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["train", str(recipe_file), "--out", str(tmp_path / "run"), "--fold", fold])

    assert end.value.code == 2 and "no such fold" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_folder_that_another_training_writes_to_is_refused(recipe_file: Path, tmp_path: Path) -> None:
    with (
        locked_folder(tmp_path / "run"),
        pytest.raises(UsageError, match=r"run: another training is writing into this folder"),
    ):
        train(recipe_file, out=tmp_path / "run")


# ---- what never occurs, and what a run says of itself


def test_a_structure_that_no_case_has_is_refused_and_leaves_no_run(
    recipe_file: Path, own_data: Dataset, tmp_path: Path
) -> None:
    manifest = own_data.root / "dataset.yaml"
    manifest.write_text(manifest.read_text().replace("bone: 7", "bone: 7, pancreas: 9"))
    said: list[str] = []

    with pytest.raises(LabelError, match=r"occurs in no case; got pancreas.*absent_structures=allow"):
        train(recipe_file, [*SHORT, data_override(own_data)], out=tmp_path / "run")
    train(recipe_file, [*SHORT, data_override(own_data), "absent_structures=allow"], out=tmp_path / "run",
          say=said.append)  # fmt: skip

    assert "No training case of this fold has pancreas: the network will not learn to mark it." in said


def test_a_run_tells_its_state_steps_and_seconds_and_nothing_of_the_machine(run_folder: Path) -> None:
    text = (run_folder / "run.json").read_text()

    told = json.loads(text)["training"]
    assert (told["state"], told["step"], told["steps"], told["fold"]) == ("finished", 4, 4, 0)
    assert told["seconds"] > 0 and told["started_utc"] <= told["ended_utc"]
    assert str(run_folder.parent) not in text
