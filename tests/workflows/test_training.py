"""`train`: what it refuses, what it says, and that an interrupted run ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.errors import (
    CheckpointError,
    ConfigError,
    FileReadError,
    InputError,
    LabelError,
    OutputExistsError,
    TrainingError,
    UsageError,
)
from medseg.io.manifest import read_dataset, write_dataset
from medseg.training.checkpoint import read_checkpoint
from medseg.training.logbook import read_log
from medseg.workflows import augmenting, train, training_validation
from medseg.workflows.run import open_run

LONG = ("training.steps=40", "training.validate_every=20", "training.checkpoint_every=1", "training.ema=0.9",
        "training.batch=2", "training.accumulate=2", "raters=conditioned")  # fmt: skip


def digest(run: Path, which: str = "last") -> str:
    return read_checkpoint(run / "checkpoints" / f"{which}.safetensors").facts["sha256"]


@pytest.fixture
def own_data(phantoms: Path, tmp_path: Path) -> Path:
    """A copy of the data set that may be changed."""
    return Path(shutil.copytree(phantoms, tmp_path / "data"))


def test_training_validates_logs_and_tells_how_it_ended(recipe_file: Path, tmp_path: Path) -> None:
    training = train(recipe_file, out=tmp_path / "run")

    rows = read_log(tmp_path / "run" / "log.jsonl")
    assert (training.finished, training.step) == (True, 4)
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4]
    (validated,) = [row for row in rows if "mean_dice" in row]
    assert training.best_dice == pytest.approx(np.mean(list(validated["validation_dice"].values())), abs=1e-4)
    assert set(validated["validation_dice"]) <= {"liver", "spleen", "kidney_left", "kidney_right", "lesion", "lungs",
                                                 "bone"}  # fmt: skip


def test_the_same_recipe_gives_the_same_weights(run_folder: Path, recipe_file: Path, tmp_path: Path) -> None:
    train(recipe_file, out=tmp_path / "again")

    assert digest(tmp_path / "again") == digest(run_folder)


def test_another_seed_gives_other_weights(run_folder: Path, recipe_file: Path, tmp_path: Path) -> None:
    train(recipe_file, ["training.seed=1"], out=tmp_path / "other")

    assert digest(tmp_path / "other") != digest(run_folder)


def test_the_test_split_is_never_trained_or_validated_on(run_folder: Path) -> None:
    folds = json.loads((run_folder / "folds.json").read_text())["folds"]

    assert sorted(case for fold in folds for case in fold) == ["c001", "c002", "c003", "c004"]


@pytest.mark.parametrize(
    "overrides",
    [
        ["raters=random"],
        ["raters=majority", "folds.fold=all"],
        ["model={name: unetr, hidden: 16, mlp: 16, heads: 2, features: 4, dropout: 0.1}"],
        ["training.optimizer={name: sgd}", "training.schedule={name: poly}", "sampling.workers=1"],
        ["transforms={preset: ct_default}", "preprocessing.crop_to_body=false"],
        ["training.ema=0.99", "training.validate_on=1", "training.early_stopping={patience: 1}"],
        ["transforms={preset: nnunet_da5}", "training.augment_on=device", "sampling.workers=1"],
    ],
)
def test_every_way_of_training_ends_with_a_best_checkpoint(
    recipe_file: Path, tmp_path: Path, overrides: list[str]
) -> None:
    training = train(recipe_file, [*overrides, "training.steps=1"], out=tmp_path / "run")

    assert training.finished
    assert digest(tmp_path / "run", "best") == digest(tmp_path / "run", "last")
    assert (training.best_dice is None) == ("folds.fold=all" in overrides)


def test_augmented_on_the_device_a_run_ends_with_the_same_weights(
    run_folder: Path, recipe_file: Path, tmp_path: Path
) -> None:
    train(recipe_file, ["training.augment_on=device"], out=tmp_path / "run")

    assert digest(tmp_path / "run") == digest(run_folder)  # of a run that augmented in the loader


def test_the_share_of_time_spent_waiting_for_data_is_logged_and_said_where_it_means_something(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    train(recipe_file, ["training.steps=1"], out=tmp_path / "short", say=said.append)
    monkeypatch.setattr(augmenting, "TELLING_S", 0.0)
    train(recipe_file, ["training.steps=1"], out=tmp_path / "run", say=said.append)

    (line,) = [line for line in said if line.startswith("Share of each step spent waiting for data: ")]
    assert 0 <= int(line.split(": ")[1].split("%")[0]) <= 100
    assert 0 <= read_log(tmp_path / "run" / "log.jsonl")[0]["wait_share"] <= 1


@pytest.mark.parametrize("declared", [True, False])
def test_left_and_right_are_flipped_only_if_they_are_declared_as_a_pair(
    own_data: Path, recipe_file: Path, tmp_path: Path, declared: bool
) -> None:
    if not declared:
        dataset = read_dataset(own_data)
        write_dataset(replace(dataset, labels=replace(dataset.labels, mirror_pairs=())))
    said: list[str] = []
    flip = "transforms={preset: none, steps: [{name: flip, axes: [0, 1]}]}"

    train(recipe_file, [f"data={own_data}", flip, "training.steps=1"], out=tmp_path / "run", say=said.append)

    told = [line for line in said if "Left and right are not flipped" in line and "mirror_pairs" in line]
    assert len(told) == (0 if declared else 1)


def test_tissue_of_another_patient_needs_another_patient(own_data: Path, recipe_file: Path, tmp_path: Path) -> None:
    dataset = read_dataset(own_data)
    write_dataset(replace(dataset, cases=dataset.cases[:1]))
    tissue = "transforms={preset: none, steps: [{name: occlusion, fills: [tissue]}]}"

    with pytest.raises(ConfigError, match=r"tissue of another patient needs two training cases; got 1"):
        train(recipe_file, [f"data={own_data}", "folds.fold=all", tissue], out=tmp_path / "run")


def test_a_patch_larger_than_the_images_is_padded_and_said(recipe_file: Path, tmp_path: Path) -> None:
    said: list[str] = []

    train(recipe_file, ["plan.patch=[16, 16, 64]", "training.steps=1"], out=tmp_path / "run", say=said.append)

    (line,) = [line for line in said if "padded" in line]
    assert "16 x 16 x 64" in line and "larger than 2 of 2" in line and "plan.patch=[16, 16, " in line


def test_a_patch_that_fits_is_not_said_to_be_padded(recipe_file: Path, tmp_path: Path) -> None:
    said: list[str] = []

    train(recipe_file, ["training.steps=1"], out=tmp_path / "run", say=said.append)

    assert not any("padded" in line for line in said)


def test_a_folder_that_holds_a_run_is_refused_and_left_alone(run_folder: Path, recipe_file: Path) -> None:
    before = digest(run_folder)

    with pytest.raises(OutputExistsError, match=r"run: a run is there already.*--resume.*--overwrite"):
        train(recipe_file, out=run_folder)
    assert digest(run_folder) == before


def test_overwrite_replaces_a_run(run_folder: Path, recipe_file: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(run_folder, tmp_path / "run"))
    (out / "old.txt").write_text("old")

    train(recipe_file, ["training.steps=1"], out=out, overwrite=True)

    assert not (out / "old.txt").exists()
    assert read_checkpoint(out / "checkpoints" / "last.safetensors").facts["step"] == 1


def test_resume_and_overwrite_exclude_each_other(recipe_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--resume and --overwrite exclude each other"):
        train(recipe_file, out=tmp_path, resume=True, overwrite=True)


def test_resuming_with_another_recipe_is_refused_by_the_parts_that_changed(run_folder: Path, recipe_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"--resume: .*not the one.*got other raters, training"):
        train(recipe_file, ["raters=random", "training.steps=9"], out=run_folder, resume=True)


def test_resuming_a_finished_run_changes_nothing(run_folder: Path, recipe_file: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(run_folder, tmp_path / "run"))

    training = train(recipe_file, out=out, resume=True)

    assert (training.finished, training.step) == (True, 4)
    assert digest(out) == digest(run_folder)


def test_resuming_removes_what_a_killed_run_was_writing_and_nothing_else(
    run_folder: Path, recipe_file: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(run_folder, tmp_path / "run"))
    left = [out / ".log-0123abcd.jsonl", out / "checkpoints" / ".last-89abcdef.safetensors"]
    own = [out / ".notes", out / "checkpoints" / "last-89abcdef.safetensors", out / ".my-notes.txt"]
    for path in (*left, *own):
        path.write_text("x")

    train(recipe_file, out=out, resume=True)

    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in own)


def test_a_corrupted_checkpoint_is_not_resumed_from(run_folder: Path, recipe_file: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(run_folder, tmp_path / "run"))
    last = out / "checkpoints" / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-100])

    with pytest.raises(CheckpointError, match=r"last\.safetensors: the checkpoint is corrupted"):
        train(recipe_file, out=out, resume=True)


@pytest.mark.parametrize(
    "old, new, error, expected",
    [
        ("id: c002", "id: c902", InputError, r"lost cases.*got c002"),
        ("spleen: 2", "spleen: 12", UsageError, r"labels are not those of the run"),
    ],
)
def test_resuming_on_a_changed_data_set_is_refused(
    own_data: Path, recipe_file: Path, tmp_path: Path, old: str, new: str, error: Any, expected: str
) -> None:
    data, manifest = f"data={own_data.as_posix()}", own_data / "dataset.yaml"
    train(recipe_file, [data, "training.steps=1"], out=tmp_path / "run")
    manifest.write_text(manifest.read_text().replace(old, new))

    with pytest.raises(error, match=expected):
        train(recipe_file, [data, "training.steps=1"], out=tmp_path / "run", resume=True)


def test_a_split_without_cases_is_refused_before_a_folder_is_made(recipe_file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no case to train on; expected cases of split 'tarin'"):
        train(recipe_file, ["split=tarin"], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_case_without_a_rater_is_refused_by_its_id(own_data: Path, recipe_file: Path, tmp_path: Path) -> None:
    dataset = read_dataset(own_data)
    unread = replace(dataset.entry("c001"), raters={})
    write_dataset(replace(dataset, cases=(unread, *dataset.cases[1:])))

    with pytest.raises(LabelError, match=r"case c001: no rater has read this case"):
        train(recipe_file, [f"data={own_data.as_posix()}", "folds.fold=all"], out=tmp_path / "run")


def test_a_loss_that_explodes_names_step_and_case_and_keeps_the_checkpoint(recipe_file: Path, tmp_path: Path) -> None:
    wild = ["training.optimizer={name: sgd, learning_rate: 1.0e+30}", "training.checkpoint_every=1"]

    with pytest.raises(TrainingError, match=r"step \d, cases c00\d: the loss is not finite"):
        train(recipe_file, wild, out=tmp_path / "run")
    assert read_checkpoint(tmp_path / "run" / "checkpoints" / "last.safetensors").facts["step"] >= 1


def test_what_is_advised_after_a_loss_that_exploded_can_be_done(recipe_file: Path, tmp_path: Path) -> None:
    wild = ["training.optimizer={name: sgd, learning_rate: 1.0e+30}", "training.checkpoint_every=99"]

    with pytest.raises(TrainingError, match=r"--resume training\.learning_rate_scale=0\.1"):
        train(recipe_file, wild, out=tmp_path / "run")
    training = train(recipe_file, [*wild, "training.learning_rate_scale=1.0e-33"], out=tmp_path / "run", resume=True)

    assert training.finished


def stop_at_two(what: str, done: int, total: int, note: str) -> None:
    if (what, done) == ("Training", 2):
        os.kill(os.getpid(), signal.SIGTERM)


def test_another_learning_rate_on_resume_is_said_and_written_down(recipe_file: Path, tmp_path: Path) -> None:
    out, said = tmp_path / "run", []

    train(recipe_file, out=out, progress=stop_at_two)
    train(recipe_file, ["training.learning_rate_scale=0.5"], out=out, resume=True, say=said.append)

    config = open_run(out).recipe.training
    rates = [row["learning_rate"] for row in read_log(out / "log.jsonl") if "loss" in row]
    full = [config.optimizer.learning_rate * config.schedule.factor(step, 4) for step in range(4)]
    assert rates == pytest.approx([full[0], full[1], full[2] / 2, full[3] / 2])
    assert json.loads((out / "run.json").read_text())["training"]["learning_rate_scales"] == [[0, 1.0], [2, 0.5]]
    assert any(line.startswith("From step 2 on the learning rate is 0.5 times what it was") for line in said)


def test_dropout_and_random_raters_go_on_where_they_stopped(recipe_file: Path, tmp_path: Path) -> None:
    network = "model={name: unetr, hidden: 16, mlp: 16, heads: 2, features: 4, dropout: 0.3}"
    overrides = [network, "raters=random", "sampling.workers=1", "training.checkpoint_every=9"]

    train(recipe_file, overrides, out=tmp_path / "straight")
    stopped = train(recipe_file, overrides, out=tmp_path / "stopped", progress=stop_at_two)
    resumed = train(recipe_file, overrides, out=tmp_path / "stopped", resume=True)

    assert (stopped.finished, stopped.step) == (False, 2)
    assert (resumed.finished, resumed.step) == (True, 4)
    assert digest(tmp_path / "stopped") == digest(tmp_path / "straight")


def test_along_the_way_a_subset_is_validated_and_at_the_end_every_case(recipe_file: Path, tmp_path: Path) -> None:
    wishes = ["training.steps=2", "training.validate_every=1", "training.validate_on=1"]

    train(recipe_file, wishes, out=tmp_path / "run")

    held_out = json.loads((tmp_path / "run" / "folds.json").read_text())["folds"][0]
    first, last = [row["cases"] for row in read_log(tmp_path / "run" / "log.jsonl") if "cases" in row]
    assert len(first) == 1
    assert sorted(last) == sorted(held_out)


def test_a_run_predicts_with_the_average_of_its_weights(recipe_file: Path, tmp_path: Path) -> None:
    train(recipe_file, ["training.steps=2", "training.ema=0.9"], out=tmp_path / "run")

    stored = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.safetensors")
    weights = open_run(tmp_path / "run").load_model("last").state_dict()

    assert all(np.array_equal(weights[name], tensor) for name, tensor in stored.part("ema").items())
    assert any(not np.array_equal(weights[name], tensor) for name, tensor in stored.part("model").items())


def test_whom_a_training_tells_may_change_on_resume(recipe_file: Path, tmp_path: Path) -> None:
    train(recipe_file, ["tracking={tensorboard: false}"], out=tmp_path / "run")

    train(recipe_file, ["tracking={tensorboard: false, images: false}"], out=tmp_path / "run", resume=True)

    assert open_run(tmp_path / "run").recipe.tracking.images is False


def test_a_finished_run_is_not_read_again(run_folder: Path, recipe_file: Path, tmp_path: Path) -> None:
    out, read = Path(shutil.copytree(run_folder, tmp_path / "run")), []
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    said: list[str] = []

    again = train(recipe_file, out=out, resume=True, say=said.append, progress=lambda *told: read.append(told))

    assert again.finished and (said, read) == (
        [f"Finished before, after {again.step} steps; nothing is left to do."],
        [],
    )
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before


def test_less_memory_is_a_matter_of_how_and_may_change_on_resume(recipe_file: Path, tmp_path: Path) -> None:
    train(recipe_file, ["training.batch=2"], out=tmp_path / "run")

    train(recipe_file, ["training.batch=2", "training.accumulate=2"], out=tmp_path / "run", resume=True)

    assert open_run(tmp_path / "run").recipe.training.accumulate == 2


# ---- interrupted from outside


def start(recipe: Path, out: Path, environment: dict[str, str], *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "medseg", "train", str(recipe), *LONG, "--out", str(out), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def wait_for_step(process: subprocess.Popen[str], out: Path, step: int) -> None:
    """Returns when the log tells of this step, or when the process has ended."""
    log = out / "log.jsonl"
    while process.poll() is None and not (log.exists() and any(row["step"] >= step for row in read_log(log))):
        time.sleep(0.02)


@pytest.fixture(scope="module")
def uninterrupted(recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("long") / "run"
    train(recipe_file, LONG, out=out)
    return out


def test_ctrl_c_saves_says_how_to_go_on_and_resume_ends_bit_identical(
    recipe_file: Path, tmp_path: Path, uninterrupted: Path, one_thread: dict[str, str]
) -> None:
    out = tmp_path / "run"
    process = start(recipe_file, out, one_thread)
    wait_for_step(process, out, 3)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=300)

    assert process.returncode == 130
    assert "Stopped at step" in text.splitlines()[-1]
    assert "same command with --resume goes on" in text.splitlines()[-1]
    assert "Traceback" not in text
    stopped = read_checkpoint(out / "checkpoints" / "last.safetensors").facts["step"]
    assert 3 <= stopped < 40

    train(recipe_file, LONG, out=out, resume=True)

    assert digest(out) == digest(uninterrupted)
    assert digest(out, "best") == digest(uninterrupted, "best")
    steps = [row["step"] for row in read_log(out / "log.jsonl") if "loss" in row]
    assert steps == list(range(1, 41))


ATTEMPTS = 5
BEFORE_STEP_1 = (".medseg", "recipe.yaml", "run.json", "log.jsonl")  # in the order in which they come to be


def wait_for_file(process: subprocess.Popen[str], path: Path) -> None:
    """Returns when the file is there, or when the process has ended."""
    while process.poll() is None and not path.exists():
        time.sleep(0.001)


def is_killed_and_resumed(
    recipe: Path, out: Path, environment: dict[str, str], early: Sequence[str], late: int, seed: int
) -> bool:
    """Kills and resumes at so many moments; False when the run ended before one of them."""
    rng = np.random.default_rng(seed)
    moments: list[str | int] = [*early, *sorted(rng.choice(np.arange(1, 26), late, replace=False).tolist())]
    for moment in moments:
        process = start(recipe, out, environment, "--resume")
        if isinstance(moment, str):
            wait_for_file(process, out / moment)
        else:
            wait_for_step(process, out, moment)
            time.sleep(float(rng.uniform(0, 0.05)))  # somewhere in the next step, validation or checkpoint
        process.kill()
        text, _ = process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0), text
        if process.returncode == 0:
            return False
    return True


def killed_and_resumed(
    recipe: Path, out: Path, environment: dict[str, str], early: Sequence[str], late: int
) -> None:  # fmt: skip
    """A test that stood still while the run went on has missed a moment, and begins with another seed."""
    for seed in range(11, 11 + ATTEMPTS):
        if is_killed_and_resumed(recipe, out, environment, early, late, seed):
            return
        shutil.rmtree(out)
    pytest.fail(f"{ATTEMPTS} runs ended before they could be killed")


@pytest.mark.parametrize(
    "early, late", [(BEFORE_STEP_1[1:2], 2), pytest.param(BEFORE_STEP_1, 16, marks=pytest.mark.slow)]
)
def test_a_killed_run_resumes_to_bit_identical_weights(
    recipe_file: Path, tmp_path: Path, uninterrupted: Path, one_thread: dict[str, str], early: Sequence[str], late: int
) -> None:  # fmt: skip
    out = tmp_path / "run"

    killed_and_resumed(recipe_file, out, one_thread, early, late)
    training = train(recipe_file, LONG, out=out, resume=True)

    assert training.finished
    assert digest(out) == digest(uninterrupted)
    assert digest(out, "best") == digest(uninterrupted, "best")
    assert [path.name for path in out.rglob(".*")] == [".medseg"]


def test_a_run_whose_last_checkpoint_is_lost_is_not_started_over_in_silence(
    run_folder: Path, recipe_file: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(run_folder, tmp_path / "run"))
    for path in (out / "checkpoints").glob("last.*"):
        path.unlink()

    with pytest.raises(FileReadError, match=r"^last\.safetensors: no such checkpoint"):
        train(recipe_file, out=out, resume=True)
    assert (out / "checkpoints" / "best.safetensors").exists()


def test_a_case_that_does_not_fit_into_memory_is_told_by_its_size_and_not_by_its_name(
    recipe_file: Path, tmp_path: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any, **named: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch, pytest.raises(TrainingError) as refused:
        patch.setattr(training_validation, "predict_probabilities", fail)
        train(recipe_file, out=tmp_path / "run")
    train(recipe_file, out=tmp_path / "run", resume=True)

    told = str(refused.value)
    assert re.search(r"a whole case was validated; got \d+ x \d+ x \d+ voxels and 7 structures.*--resume", told)
    assert not re.search(r"c00\d", told)
    assert [digest(tmp_path / "run", name) for name in ("last", "best")] == [
        digest(run_folder, name) for name in ("last", "best")
    ]


def test_early_stopping_without_a_case_held_out_is_said_to_do_nothing(recipe_file: Path, tmp_path: Path) -> None:
    said: list[str] = []

    train(recipe_file, ["training.early_stopping={patience: 1}", "training.steps=1"], out=tmp_path / "run",
          fold="all", say=said.append)  # fmt: skip

    assert any(line.startswith("training.early_stopping does nothing: no case is held out") for line in said)


def test_a_patch_that_had_to_be_rounded_is_said(recipe_file: Path, tmp_path: Path) -> None:
    said: list[str] = []

    train(recipe_file, ["plan.patch=[30, 31, 32]"], out=tmp_path / "run", say=said.append)

    assert any("plan.patch [30, 31, 32] became [32, 32, 32]" in line for line in said)
