"""Answers beyond labels: maps, volumes that are left open, members, expected Dice; asked now or later."""

from __future__ import annotations

import csv
import json
import shutil
from math import log
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from medseg.errors import FileReadError, UsageError
from medseg.evaluation.expected_dice import DiceCalibration, write_calibrations
from medseg.evaluation.measurements import Measurement
from medseg.io.nifti import read_volume
from medseg.workflows import Predictor, predict, train
from medseg.workflows.prediction_files import origin_of
from medseg.workflows.prediction_record import read_measurements

CASE = "c005"


@pytest.fixture(scope="module")
def pair(run_folder: Path, recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of one recipe with other weights."""
    other = tmp_path_factory.mktemp("pair") / "other"
    train(recipe_file, ["training.seed=5", "training.steps=2", "training.validate_every=2"], out=other)
    return [run_folder, other]


def load(path: Path) -> Any:
    return nib.load(path).get_fdata()  # type: ignore[attr-defined]


def measured(folder: Path) -> dict[str, Measurement]:
    return {each.structure: each for each in read_measurements(folder, CASE)}


def test_entropy_is_that_of_the_written_probabilities(run_folder: Path, held_out_image: Path, tmp_path: Path) -> None:
    predict(run_folder, held_out_image, tmp_path, probabilities=True, maps=["entropy"])

    p = load(tmp_path / "probabilities" / f"{CASE}.nii.gz")
    expected = -(p * np.log(np.maximum(p, 1e-30))).sum(axis=-1)
    written = nib.load(tmp_path / "entropy" / f"{CASE}.nii.gz")
    assert np.abs(written.get_fdata() - expected).max() < 1e-3  # type: ignore[attr-defined]
    assert np.array_equal(written.affine, nib.load(held_out_image).affine)  # type: ignore[attr-defined]
    assert 0.1 < expected.max() < log(8) + 1e-6


def test_answers_change_no_label(run_folder: Path, held_out_image: Path, tmp_path: Path) -> None:
    plain = predict(run_folder, held_out_image, tmp_path / "a")[0]
    asked = predict(run_folder, held_out_image, tmp_path / "b", maps=["entropy"], uncertainty=True)[0]

    assert plain.read_bytes() == asked.read_bytes()


def test_without_a_question_nothing_is_summed(run_folder: Path, held_out_image: Path, tmp_path: Path) -> None:
    predict(run_folder, held_out_image, tmp_path)

    assert all(each.expected_ml is None and each.members is None for each in measured(tmp_path).values())


def test_volumes_are_the_sums_of_the_written_probabilities(
    run_folder: Path, held_out_image: Path, tmp_path: Path
) -> None:
    predict(run_folder, held_out_image, tmp_path, probabilities=True)

    p, labels = load(tmp_path / "probabilities" / f"{CASE}.nii.gz"), load(tmp_path / f"{CASE}.nii.gz")
    voxel_ml = abs(np.linalg.det(nib.load(held_out_image).affine[:3, :3])) / 1000  # type: ignore[attr-defined]
    for each in measured(tmp_path).values():
        own = p[..., list(measured(tmp_path)).index(each.structure) + 1]
        assert each.expected_ml == pytest.approx(own.sum() * voxel_ml, rel=1e-3, abs=1e-3)
        assert each.volume_ml == pytest.approx((labels == each.value).sum() * voxel_ml, abs=1e-3)


def test_the_disagreement_of_two_runs_is_written_and_their_volumes_are_spread(
    pair: list[Path], held_out_image: Path, tmp_path: Path
) -> None:
    predict(pair, held_out_image, tmp_path / "out", maps=["entropy", "disagreement"])

    entropy, disagreement = (load(tmp_path / "out" / name / f"{CASE}.nii.gz") for name in ("entropy", "disagreement"))
    assert disagreement.shape == entropy.shape and disagreement.min() >= 0
    assert 0 < disagreement.max() <= log(2) + 1e-3  # two members
    assert {each.members for each in measured(tmp_path / "out").values()} == {2}


def test_runs_that_are_the_same_do_not_disagree(run_folder: Path, held_out_image: Path, tmp_path: Path) -> None:
    predict([run_folder, run_folder], held_out_image, tmp_path, maps=["disagreement"])

    assert load(tmp_path / "disagreement" / f"{CASE}.nii.gz").max() < 1e-3
    assert all(each.members_sd_ml == 0 for each in measured(tmp_path).values())


@pytest.mark.parametrize("rater", [None, "A"])
def test_one_network_alone_cannot_disagree(
    heads: Path, run_folder: Path, held_out_image: Path, tmp_path: Path, rater: str | None
) -> None:
    run = heads if rater else run_folder
    with pytest.raises(UsageError, match=r"--maps: one network alone cannot disagree; expected several folds or runs"):
        predict(run, held_out_image, tmp_path / "out", maps=["disagreement"], as_rater=rater)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def heads(recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("answers") / "run"
    train(recipe_file, ["raters=heads", "training.steps=2", "training.validate_every=2"], out=out)
    return out


def test_experts_who_differ_disagree(heads: Path, held_out_image: Path) -> None:
    predictor = Predictor.from_run(heads)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in predictor.models[0].parameters():  # after two steps the heads are still nearly alike
            weight += 0.2 * torch.randn(weight.shape, generator=generator)

    found = predictor(read_volume(held_out_image), maps=["disagreement"]).maps["disagreement"].values

    assert 0.01 < found.max() <= log(2) + 1e-3
    assert Predictor.from_run(heads, as_rater="A").count_members == 1


def test_asking_the_experts_of_a_run_one_by_one_changes_no_label(
    heads: Path, held_out_image: Path, tmp_path: Path
) -> None:
    plain = predict(heads, held_out_image, tmp_path / "plain")[0]
    asked = predict(heads, held_out_image, tmp_path / "asked", maps=["disagreement"])[0]

    assert {each.members for each in measured(tmp_path / "asked").values()} == {2}
    assert np.array_equal(load(plain), load(asked))


def test_an_unknown_map_is_refused(run_folder: Path, held_out_image: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--maps: no such map; expected entropy or disagreement, got variance"):
        predict(run_folder, held_out_image, tmp_path / "out", maps=["variance"])


def test_what_is_asked_for_later_is_added_and_what_was_measured_stays(
    run_folder: Path, held_out_image: Path, tmp_path: Path
) -> None:
    predict(run_folder, held_out_image, tmp_path, uncertainty=True)
    first, stamp = measured(tmp_path), (tmp_path / f"{CASE}.nii.gz").stat().st_mtime_ns

    predict(run_folder, held_out_image, tmp_path, formats=["nifti", "png"])
    predict(run_folder, held_out_image, tmp_path, maps=["entropy"])

    assert measured(tmp_path) == first and next(iter(first.values())).expected_ml is not None
    assert (tmp_path / f"{CASE}.nii.gz").stat().st_mtime_ns == stamp
    assert (tmp_path / "png" / f"{CASE}.png").exists() and (tmp_path / "entropy" / f"{CASE}.nii.gz").exists()
    formats = json.loads((tmp_path / f"{CASE}.json").read_text())["formats"]
    assert formats == ["nifti", "png", "entropy"]


def test_a_question_that_was_answered_is_not_asked_again(
    run_folder: Path, held_out_image: Path, tmp_path: Path
) -> None:
    outcomes: list[Any] = []
    predict(run_folder, held_out_image, tmp_path)
    for _ in range(2):
        predict(run_folder, held_out_image, tmp_path, uncertainty=True, maps=["entropy"], on_done=outcomes.extend)

    assert [outcome.tries for outcome in outcomes] == [1, 0]  # the first call was not asked for it


def test_the_promise_of_memory_holds_for_maps_and_changes_none(
    pair: list[Path], held_out_image: Path, tmp_path: Path
) -> None:
    for name, ram in (("free", None), ("kept", "16G")):
        predict(pair, held_out_image, tmp_path / name, maps=["entropy", "disagreement"], ram=ram)

    for name in ("entropy", "disagreement"):
        free, kept = (tmp_path / way / name / f"{CASE}.nii.gz" for way in ("free", "kept"))
        assert free.read_bytes() == kept.read_bytes()
    assert measured(tmp_path / "free") == measured(tmp_path / "kept")


def calibrated(run: Path, copy: Path, **facts: str) -> Path:
    """A copy of a run with a calibration by which every Dice is 0.8 of what is promised."""
    shutil.copytree(run, copy)
    promised = np.linspace(0.05, 1, 20)
    names = Predictor.from_run(copy).label_set.foreground
    known = {"model_sha256": origin_of(copy).model, "postprocessing_sha256": ""} | facts
    write_calibrations(copy / "expected_dice.json", {name: DiceCalibration.fit(promised, 0.8 * promised)
                                                     for name in names}, **known)  # fmt: skip
    return copy


def test_the_calibration_of_the_run_gives_the_expected_dice(
    run_folder: Path, held_out_image: Path, tmp_path: Path
) -> None:
    run = calibrated(run_folder, tmp_path / "run")

    predict(run, held_out_image, tmp_path / "out", uncertainty=True)

    found = [each for each in measured(tmp_path / "out").values() if each.promised_dice is not None]
    assert found
    assert all(each.expected_dice == pytest.approx(0.8 * each.promised_dice, abs=1e-3) for each in found)  # type: ignore[operator]
    rows = list(csv.DictReader((tmp_path / "out/measurements.csv").read_text().splitlines()))
    assert float(next(row for row in rows if row["promised_dice"])["expected_dice"]) > 0


@pytest.mark.parametrize(
    ("facts", "said"),
    [({"model_sha256": "ab" * 32}, "another checkpoint or rater"), ({"postprocessing_sha256": "ab"}, "other postproc")],
)
def test_a_calibration_of_something_else_is_left_out_and_said(
    run_folder: Path, held_out_image: Path, tmp_path: Path, facts: dict[str, str], said: str
) -> None:
    run = calibrated(run_folder, tmp_path / "run", **facts)
    outcomes: list[Any] = []

    predict(run, held_out_image, tmp_path / "out", uncertainty=True, on_done=outcomes.extend)

    assert any(said in note for note in outcomes[0].result.notes)
    assert all(each.expected_dice is None for each in measured(tmp_path / "out").values())


def test_a_damaged_calibration_is_an_error(run_folder: Path, held_out_image: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(run_folder, tmp_path / "run"))
    (run / "expected_dice.json").write_text("{}")

    with pytest.raises(FileReadError, match=r"expected_dice\.json"):
        predict(run, held_out_image, tmp_path / "out", uncertainty=True)
