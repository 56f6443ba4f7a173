"""The progress line, and which watchers a recipe asks for."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from medseg.errors import UsageError
from medseg.training.events import StepEvent, ValidationEvent
from medseg.workflows import train
from medseg.workflows.watching_line import ProgressLine
from medseg.workflows.watching_slices import read_pictures


def step_event(step: int, steps: int = 40, loss: float = 0.5) -> StepEvent:
    return StepEvent(step, steps, loss, 1e-3, 4.0, 12.345, 0.031, 1.0)


def notes_of(*calls: tuple[str, object]) -> list[tuple[int, str]]:
    """What a line shows of ticks and events."""
    shown: list[tuple[int, str]] = []
    line = ProgressLine(40, lambda what, done, total, note: shown.append((done, note)))
    for name, told in calls:
        getattr(line, name)(*(told if isinstance(told, tuple) else (told,)))
    return shown


def test_before_the_first_event_a_step_shows_its_own_loss() -> None:
    assert notes_of(("tick", (3, 1.23456))) == [(3, "loss 1.235")]


def test_the_line_tells_loss_speed_waiting_and_dice_by_structure() -> None:
    validation = ValidationEvent(10, {"liver": 0.914, "spleen": 0.5}, 0.707, {})

    ((_, note),) = notes_of(("step", step_event(10)), ("validation", validation), ("tick", (11, 9.0)))

    assert note == "loss 0.500, 12.3 patches/s, waiting 3%, Dice 0.707 (liver 0.91, spleen 0.50)"


def test_the_last_step_is_shown_once_and_with_the_last_loss() -> None:
    shown = notes_of(("tick", (39, 0.7)), ("tick", (40, 0.6)), ("step", step_event(40)))

    assert [(step, note.split(",")[0]) for step, note in shown] == [(39, "loss 0.700"), (40, "loss 0.500")]


def test_a_training_leaves_curves_pictures_and_a_page(run_folder: Path) -> None:
    found = {path.relative_to(run_folder).as_posix() for path in run_folder.rglob("*") if path.is_file()}

    assert found >= {"log.jsonl", "curves.svg", "report.html", "pictures.npz",
                     "tensorboard/events.out.tfevents.0000000001.medseg"}  # fmt: skip


def test_tracking_can_be_switched_off_and_pictures_hold_no_grey_values(recipe_file: Path, tmp_path: Path) -> None:
    train(recipe_file, ["tracking={tensorboard: false, images: false}", "training.steps=1"], out=tmp_path / "run")

    _, slices, _ = read_pictures(tmp_path / "run" / "pictures.npz")
    assert not (tmp_path / "run" / "tensorboard").exists()
    assert slices and all(seen.hu is None for seen in slices)
    assert "no images (outlines only)" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_no_file_of_a_run_names_a_folder_outside_or_the_machine(run_folder: Path, tmp_path: Path) -> None:
    import socket

    out = Path(shutil.copytree(run_folder, tmp_path / "run"))
    (out / "recipe.yaml").unlink()  # it names the data set, as the user did

    texts = {
        path.name: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.suffix != ".safetensors"
    }
    secrets = [socket.gethostname().encode(), str(run_folder.parent).encode(), str(Path.home()).encode() + b"/"]
    assert not [
        (name, secret) for name, text in texts.items() for secret in secrets if len(secret) > 5 and secret in text
    ]


def test_a_training_that_was_stopped_and_goes_on_has_every_point_once(recipe_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = [f"tracking.mlflow={(tmp_path / 'store').as_posix()}", "training.checkpoint_every=9"]

    def stop_at_two(what: str, done: int, total: int, note: str) -> None:
        if (what, done) == ("Training", 2):
            os.kill(os.getpid(), signal.SIGTERM)

    assert not train(recipe_file, options, out=out, progress=stop_at_two).finished
    assert "Stopped after 2 of 4 steps" in (out / "report.html").read_text(encoding="utf-8")
    assert train(recipe_file, options, out=out, resume=True).finished

    board = EventAccumulator(str(out / "tensorboard"))
    board.Reload()
    assert [event.step for event in board.Scalars("training/loss")] == [1, 2, 3, 4]
    (metrics,) = (tmp_path / "store").glob("*/*/metrics/loss")
    assert [line.split()[2] for line in metrics.read_text().splitlines()] == ["1", "2", "3", "4"]


def test_a_missing_mlflow_is_told_before_anything_is_written(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)  # an import of it fails

    with pytest.raises(UsageError, match=r"tracking\.mlflow: MLflow is not installed\. pip install 'medseg\[mlflow\]'"):
        train(recipe_file, [f"tracking.mlflow={tmp_path / 'store'}"], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_log_holds_dice_by_case(run_folder: Path) -> None:
    rows = [json.loads(line) for line in (run_folder / "log.jsonl").read_text().splitlines()]

    (validated,) = [row for row in rows if "cases" in row]
    assert len(validated["cases"]) == 2
