"""Event files: read back with TensorBoard's own reader, after kills and resumes too."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from medseg.training.events import StepEvent, ValidationEvent
from medseg.workflows.watching_slices import Slices
from medseg.workflows.watching_tensorboard import TensorBoard, event_files

CASES = {"c1": {"liver": 0.5}}


def write(folder: Path, first: int, last: int, resumed_at: int = 0) -> TensorBoard:
    """The points of these steps, with a loss that is the step."""
    board = TensorBoard(folder, resumed_at)
    for step in range(first, last + 1):
        board.step(StepEvent(step, 9, float(step), 1e-3, 1.0, 2.0, 0.1, 1.0))
        board.validation(ValidationEvent(step, {"liver": 0.5}, 0.5, CASES))
    return board


def read(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    return found


def losses(folder: Path) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(folder).Scalars("training/loss")]


def test_tensorboard_reads_curves_of_loss_rate_speed_waiting_and_dice(tmp_path: Path) -> None:
    write(tmp_path, 1, 3)

    assert losses(tmp_path) == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert set(read(tmp_path).Tags()["scalars"]) == {
        "training/loss", "training/learning_rate", "training/gradient_norm", "speed/patches_per_second",
        "speed/waiting_share", "dice/mean", "dice/liver",
    }  # fmt: skip


def test_a_resumed_run_has_every_point_once(tmp_path: Path) -> None:
    write(tmp_path, 1, 5)

    write(tmp_path, 4, 9, resumed_at=3)  # steps 4 and 5 were lost

    assert [step for step, _ in losses(tmp_path)] == list(range(1, 10))
    assert [event.step for event in read(tmp_path).Scalars("dice/liver")] == list(range(1, 10))


def test_a_tensorboard_that_is_open_forgets_what_was_lost(tmp_path: Path) -> None:
    write(tmp_path, 1, 5)
    watching = EventAccumulator(str(tmp_path))
    watching.Reload()

    write(tmp_path, 4, 6, resumed_at=3)

    watching.Reload()
    assert [event.step for event in watching.Scalars("training/loss")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("lost_bytes", range(1, 60, 7))
def test_a_record_cut_short_by_a_kill_is_dropped_on_resume(tmp_path: Path, lost_bytes: int) -> None:
    board = write(tmp_path, 1, 5)
    board.path.write_bytes(board.path.read_bytes()[:-lost_bytes])

    write(tmp_path, 4, 5, resumed_at=3)

    assert [step for step, _ in losses(tmp_path)] == [1, 2, 3, 4, 5]


def test_a_run_that_died_before_its_first_checkpoint_begins_anew(tmp_path: Path) -> None:
    write(tmp_path, 1, 5)

    write(tmp_path, 1, 2, resumed_at=0)

    assert [step for step, _ in losses(tmp_path)] == [1, 2]


def test_files_are_named_by_number_and_not_by_the_machine(tmp_path: Path) -> None:
    write(tmp_path, 1, 1)
    write(tmp_path, 2, 2, resumed_at=1)

    assert [path.name for path in event_files(tmp_path)] == [
        "events.out.tfevents.0000000001.medseg", "events.out.tfevents.0000000002.medseg"
    ]  # fmt: skip


def test_a_followed_case_is_a_picture_with_reference_and_prediction(tmp_path: Path) -> None:
    slices = Slices(tmp_path, ("background", "liver"), (1.0, 1.0, 1.0))
    labels = np.zeros((16, 16, 4), np.int16)
    labels[4:12, 4:12, 2] = 1
    slices.look("c1", np.zeros(labels.shape), labels, 0 * labels)

    TensorBoard(tmp_path / "board", 0, slices).validation(ValidationEvent(7, {"liver": 0.0}, 0.0, CASES))

    (event,) = read(tmp_path / "board").Tensors("slices/c1")
    width, height, encoded = event.tensor_proto.string_val
    pixels = imread(io.BytesIO(encoded))
    assert pixels.shape == (int(height), int(width), 3) and event.step == 7
    left, right = np.ptp(pixels, axis=2)[:, : int(width) // 2], np.ptp(pixels, axis=2)[:, int(width) // 2 :]
    assert left.any() and not right.any()  # a coloured outline in the reference alone
