"""`validate`: every case by the fold that does not know it, files that predict uses, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from medseg.data.folds import read_folds
from medseg.errors import ConfigError, FileReadError, InputError, OutputExistsError, UsageError
from medseg.evaluation.expected_dice import read_calibrations
from medseg.workflows import predict, train, train_folds, validate
from medseg.workflows.postprocessing_file import FILE, Postprocessing, read_postprocessing
from medseg.workflows.prediction_files import origin_of
from medseg.workflows.run import open_run


@pytest.fixture(scope="module")
def trained(recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both folds of four cases, trained for four steps."""
    out = tmp_path_factory.mktemp("validated") / "run"
    train_folds(recipe_file, out=out)
    return out


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_every_case_of_the_folds_is_validated_once(run: Path) -> None:
    (found,) = validate(run)

    scores = json.loads((run / "validation.json").read_text())
    folds = read_folds(run / "folds.json")
    assert found.cases == 4
    assert sorted(scores["dice_by_case"]) == sorted(case for fold in folds for case in fold)
    assert read_calibrations(run / "expected_dice.json")[1]["model_sha256"] == origin_of(run).model


def test_before_postprocessing_the_dice_is_that_of_the_trainings_own_validation(run: Path) -> None:
    fold = run / "fold_0"
    (found,) = validate(fold)

    lines = [json.loads(line) for line in (fold / "log.jsonl").read_text().splitlines()]
    (told,) = [line["validation_dice"] for line in lines if "validation_dice" in line]
    assert {name: pytest.approx(dice, abs=0.005) for name, dice in told.items()} == {
        name: score.dice for name, score in found.before.items() if score.cases
    }


def test_four_cases_choose_nothing_and_the_file_says_so(run: Path) -> None:
    (found,) = validate(run)

    assert found.chosen == ()
    assert read_postprocessing(run, open_run(run / "fold_0").labels) == Postprocessing(
        model_sha256=origin_of(run).model
    )


def test_what_was_written_is_what_predict_reads(run: Path, held_out_image: Path, tmp_path: Path) -> None:
    validate(run)
    (run / FILE).write_text("steps: [{name: keep_largest, of: [liver]}]")
    (found,) = validate(run, keep_postprocessing=True)

    predict(run, held_out_image, tmp_path / "out")

    record = json.loads(next((tmp_path / "out").glob("*.json")).read_text())
    facts = read_calibrations(run / "expected_dice.json")[1]
    assert record["made_by"]["postprocessing_sha256"] == facts["postprocessing_sha256"] == found.postprocessing.digest
    assert record["made_by"]["model_sha256"] == facts["model_sha256"]


def test_a_kept_postprocessing_is_measured(run: Path) -> None:
    (run / FILE).write_text("steps: [{name: drop_small, of: [lungs], below_ml: 1000000}]")

    (found,) = validate(run, keep_postprocessing=True)

    assert found.before["lungs"].dice > 0 == found.after["lungs"].dice
    assert "1000000" in (run / FILE).read_text()


def test_a_postprocessing_that_is_there_is_not_replaced_unasked(run: Path) -> None:
    (run / FILE).write_text("steps: []")

    with pytest.raises(OutputExistsError, match="has its postprocessing already"):
        validate(run)
    assert (run / FILE).read_text() == "steps: []"
    assert validate(run, overwrite=True)


def test_data_that_has_moved_is_named_by_the_call(run: Path, phantoms: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(phantoms, tmp_path / "moved"))
    recipe = run / "fold_0" / "recipe.yaml"
    for fold in run.glob("fold_*"):
        recipe = fold / "recipe.yaml"
        recipe.write_text(recipe.read_text().replace(str(phantoms), "nowhere"))

    with pytest.raises((InputError, ConfigError)):
        validate(run)
    assert validate(run, data=moved)[0].cases == 4


def test_a_run_of_all_cases_has_none_to_validate_on(recipe_file: Path, tmp_path: Path) -> None:
    train(recipe_file, ["training.steps=1", "training.validate_every=1"], out=tmp_path / "run", fold="all")

    with pytest.raises(UsageError, match="no case was held out"):
        validate(tmp_path / "run")
    assert not (tmp_path / "run" / FILE).exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"checkpoint": "newest"}, "best or last"),
        ({"keep_postprocessing": True, "overwrite": True}, "exclude each other"),
    ],
    ids=["checkpoint", "both"],
)
def test_a_wrong_call_is_refused(run: Path, options: dict, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        validate(run, **options)


def test_nothing_to_keep_is_refused(run: Path) -> None:
    with pytest.raises(FileReadError, match=r"run/postprocessing\.yaml"):
        validate(run, keep_postprocessing=True)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileReadError, match="not a run folder"):
        validate(tmp_path)
